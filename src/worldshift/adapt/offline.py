"""Offline adaptation: frozen encoder and heads, corrected latent dynamics, and a policy trained in what they dream.

ReDRAW (arXiv 2504.02252) and its baselines as one loop: a method is a choice of what trains (`trains`) and of where
actor and critic start. No reward of the target is read. Deviations: posteriors are computed once (`encoded`); drawing
windows, dreams and both updates are one compiled call, many updates to a dispatch.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from worldshift.adapt import residual
from worldshift.adapt.encoded import Target, Windows, draw_windows
from worldshift.adapt.residual import Corrected, ResidualConfig
from worldshift.agents import draw, imagination
from worldshift.agents.draw import DrawConfig, pick
from worldshift.agents.draw_agent import DrawAgent
from worldshift.agents.imagination import ActorCritic, ActorCriticConfig, ActorCriticState, Dream
from worldshift.data.replay import Batch
from worldshift.maths import categorical_entropy, categorical_kl, log_unimix, sample_one_hot
from worldshift.models.draw import Draw, Latent
from worldshift.models.rssm import Rssm
from worldshift.nn import Precision, stepped, with_precision

Trains = Literal["residual", "replacement", "dynamics", "everything", "nothing"]


@dataclass(frozen=True)
class OfflineConfig:
    """What trains, from what, and how; the defaults are for `tiny` networks on two cores."""

    trains: Trains = "residual"
    """`residual`: a correction (ReDRAW); `replacement`: the same network instead of the dynamics; `dynamics`: finetune
    of the dynamics (of a recurrent model: of memory, prior and posterior, with the model's losses); `everything`: of
    encoder, dynamics and decoder with the model's own losses, but for the heads of reward and end, which reward-free
    data cannot train; `nothing`: the policy alone, in the dreams of the old model."""
    actor: Literal["fresh", "head", "warm"] = "head"
    """A policy from scratch (as published); the source's with a new output layer, so that it knows what to look at but
    not what to do; or the source's as it is."""
    critic: Literal["fresh", "warm"] = "warm"
    """A critic from scratch (as published), or the source's: what a moment is worth changes less than what to do
    about it."""
    residual: ResidualConfig = field(default_factory=ResidualConfig)
    batch: int = 16
    length: int = 32
    learning_rate: float = 1e-3
    epsilon: float = 1e-8
    grad_clip: float = 1000.0
    free_nats: float = 0.0
    lead: int = 500
    """Updates of the dynamics alone, before the policy's begin (0: both from the start, as published): what a policy
    learns in dreams that are still wrong, it does not easily forget."""
    lead_rate: float = 10.0
    """Factor on the learning rate meanwhile: what has to be turned round is turned at once, and then refined."""
    starts: int = 64
    """Latents of a batch that dreams start from."""
    starts_from: Literal["unpaid", "all"] = "unpaid"
    """From all latents alike (as published); or only half of the dreams from all alike, and half from latents in
    proportion to what their reward lacks. Recordings of an expert hardly show how it got where it is paid, and that is
    what a policy has to learn."""
    held_out: float = 0.1
    """Share of the episodes that is only measured on."""
    policy: ActorCriticConfig = field(default_factory=lambda: ActorCriticConfig(discount=None))
    anneal: float = 0.5
    """Last share of the updates over which the learning rates fall linearly to a tenth (0: never)."""
    average: float = 0.005
    """Rate at which the policy that is deployed follows the one that trains (1: it is that one); single policies on
    the way swing much more than their average."""
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        """Refuses numbers that cannot be worked with."""
        for name, least in (("batch", 1), ("starts", 1), ("length", 2), ("lead", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}.")
        if not 0 <= self.anneal <= 1 or not 0 < self.average <= 1 or self.lead_rate <= 0:
            raise ValueError(
                "anneal is a share of the updates, between 0 and 1; average a rate above 0, at most 1; "
                "lead_rate above 0."
            )


PAPER = OfflineConfig(
    actor="fresh",
    critic="fresh",
    residual=residual.PAPER,
    length=64,
    learning_rate=1e-2,
    lead=0,
    starts=341,
    starts_from="all",
    policy=draw.PAPER.task,
    anneal=0.0,
    average=1.0,
)
"""The published numbers (for networks of the size `paper`); there the policy then trains for millions of updates."""


class OfflineState(NamedTuple):
    """What an adaptation changes."""

    dynamics: Any  # Draw or Corrected: whatever can be advanced
    optimiser: optax.OptState
    policy: ActorCriticState
    averaged: ActorCritic
    """What is deployed."""
    updates: Int[Array, ""]


def init(agent: DrawAgent, config: OfflineConfig, *, key: PRNGKeyArray) -> OfflineState:
    """An adaptation that has not begun."""
    k_dynamics, k_policy = jax.random.split(key)
    model = agent.model
    if config.trains in ("residual", "replacement"):
        if isinstance(model, Rssm):
            raise ValueError(f"a {config.trains} needs DRAW's model, whose latents mean the same in source and target.")
        dynamics: Any = Corrected(model, config.residual, replace=config.trains == "replacement", key=k_dynamics)
    else:
        dynamics = model
    counting = agent.policy.discount if config.policy.discount is None else config.policy.discount
    policy = imagination.init(model, replace(config.policy, discount=counting), key=k_policy)
    if config.actor != "fresh":
        known = agent.policy.actor
        if config.actor == "head":
            known = eqx.tree_at(lambda actor: actor.last, known, policy.nets.actor.last)
        policy = policy._replace(nets=eqx.tree_at(lambda n: n.actor, policy.nets, known))
    if config.critic == "warm":
        critic = agent.policy.critic
        policy = policy._replace(nets=eqx.tree_at(lambda n: n.critic, policy.nets, critic), slow=critic)
    trained, _ = split(dynamics, config.trains)
    return OfflineState(dynamics, _adam(config).init(trained), policy, policy.nets, jnp.zeros((), jnp.int32))


def split(dynamics: Any, trains: Trains) -> tuple[Any, Any]:
    """What trains, and what is frozen: two trees of the same structure."""
    frozen = jax.tree.map(lambda _: False, dynamics)
    where: dict[str, Callable[[Any], Any]] = {
        "residual": lambda d: d.network,
        "replacement": lambda d: d.network,
        "dynamics": lambda d: (*d.transition, d.posterior) if isinstance(d, Rssm) else d.transition,
        "everything": lambda d: (d.encoder, d.posterior, d.decoder, *d.transition),
    }
    if trains == "nothing":
        return eqx.partition(dynamics, frozen)
    chosen = jax.tree.map(eqx.is_inexact_array, where[trains](dynamics))
    return eqx.partition(dynamics, eqx.tree_at(where[trains], frozen, chosen))


def _adam(config: OfflineConfig) -> optax.GradientTransformation:
    clip = optax.clip_by_global_norm(config.grad_clip)
    return optax.chain(clip, optax.adam(config.learning_rate, eps=config.epsilon))


def predicted(
    dynamics: Any, log_posterior: Float[Array, "T B G C"], action: Float[Array, "T1 B A"], key: PRNGKeyArray
) -> tuple[Float[Array, "T1 B G C"], Latent]:
    """Log-probabilities that each step of windows is given, and the latents with the beliefs carried along."""
    model = model_of(dynamics)
    z = model.flat(sample_one_hot(jnp.exp(log_posterior), key))
    first = jnp.broadcast_to(model.first_belief(), z[0].shape)

    def carry(belief: Array, row: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        logits = model.grouped(dynamics.predict(Latent(row[0], belief), row[1]))
        after = model.flat(jax.nn.softmax(logits))
        return after, (after, logits)

    _, (after, logits) = jax.lax.scan(carry, first, (z[:-1], action))
    return log_unimix(logits, dynamics.unimix), Latent(z, jnp.concatenate([first[None], after]))


def update(
    state: OfflineState,
    model: Draw,
    windows: Windows,
    key: PRNGKeyArray,
    config: OfflineConfig,
    rate: Float[Array, ""] | float = 1.0,
    dreams: bool = True,
) -> tuple[OfflineState, dict[str, Array]]:
    """One step of what trains, and with `dreams` one of the policy in what the corrected dynamics dreams.

    `rate` is a factor on all learning rates.
    """
    k_sample, k_starts, k_dream = jax.random.split(key, 3)
    trained, frozen = split(state.dynamics, config.trains)

    def loss(trained: Any) -> tuple[Array, tuple[Array, Latent]]:
        dynamics = with_precision(eqx.combine(trained, frozen), config.precision)
        if config.trains == "everything" or windows.log_posterior is None:
            return _whole_loss(dynamics, windows, config, k_sample)
        log_prior, latent = predicted(dynamics, windows.log_posterior, windows.action, k_sample)
        kl = categorical_kl(windows.log_posterior[1:], log_prior)
        return jnp.mean(jnp.maximum(kl, config.free_nats)), (jnp.mean(kl), latent)

    if config.trains == "nothing":
        (_, (kl, latent)), dynamics, optimiser = loss(trained), state.dynamics, state.optimiser
    else:
        (_, (kl, latent)), grad = eqx.filter_value_and_grad(loss, has_aux=True)(trained)
        step, optimiser = _adam(config).update(grad, state.optimiser)
        dynamics = eqx.combine(stepped(trained, step, rate), frozen)
    state = state._replace(dynamics=dynamics, optimiser=optimiser, updates=state.updates + 1)
    if not dreams:
        return state, {"kl": kl}
    heads = with_precision(model, config.precision)

    def paid(dream: Dream) -> Array:
        return heads.reward(dream.latent.z[1:])

    weight = _unpaid(heads.reward(latent.z)) if config.starts_from == "unpaid" else None
    start = pick(jax.lax.stop_gradient(latent), config.starts, k_starts, weight)
    policy, logs = imagination.improve(
        state.policy,
        with_precision(dynamics, config.precision),
        start,
        paid,
        heads.goes_on,
        config.policy,
        config.precision,
        k_dream,
        rate,
    )
    averaged = imagination.follow(state.averaged, policy.nets, config.average, state.policy.updates)
    return state._replace(policy=policy, averaged=averaged), {"kl": kl} | logs


def _unpaid(reward: Float[Array, "T B"]) -> Float[Array, " R"]:
    """Weights of latents: half of it alike, half by what each lacks to the best paid one of the batch."""
    lacking = jax.lax.stop_gradient(jnp.max(reward) - reward).reshape(-1)
    return 1 / lacking.size + lacking / jnp.maximum(jnp.sum(lacking), 1e-6)


def _whole_loss(
    model: Draw, windows: Windows, config: OfflineConfig, key: PRNGKeyArray
) -> tuple[Array, tuple[Array, Latent]]:
    """The world model's losses without those of the heads."""
    unknown = jnp.zeros(windows.action.shape[:2])
    learner = DrawConfig(heads_weight=0.0, free_nats=config.free_nats)
    loss, (seen, logs) = draw.model_loss(model, Batch(windows.obs, windows.action, unknown, unknown), learner, key)
    return loss, (logs["kl"], seen.latent)


@eqx.filter_jit
def update_many(
    state: OfflineState,
    target: Target,
    key: PRNGKeyArray,
    model: Draw,
    config: OfflineConfig,
    count: int,
    rate: Float[Array, ""] | float = 1.0,
    dreams: bool = True,
) -> tuple[OfflineState, dict[str, Array]]:
    """`count` updates in one dispatch, at `rate` times the learning rates; the policy's too, with `dreams`.

    Logs are means.
    """
    arrays, static = eqx.partition(state, eqx.is_array)

    def body(arrays: Any, key: PRNGKeyArray) -> tuple[Any, dict[str, Array]]:
        k_windows, k_update = jax.random.split(key)
        windows = draw_windows(target, config.batch, config.length, k_windows)
        state, logs = update(eqx.combine(arrays, static), model, windows, k_update, config, rate, dreams)
        return eqx.filter(state, eqx.is_array), logs

    arrays, logs = jax.lax.scan(body, arrays, jax.random.split(key, count))
    return eqx.combine(arrays, static), jax.tree.map(jnp.mean, logs)


class HeldOut(NamedTuple):
    """What a world model is off by on episodes that nothing was trained on, in nats a step."""

    kl: Float[Array, ""]
    """KL(posterior || predicted): whether the correction can express the change."""
    expected: Float[Array, ""]
    """The same, if the predictions were right: their entropy less that of the posteriors. Of the source's model, before
    it is adapted, this is the yardstick: what it would be off by where nothing had changed."""


@eqx.filter_jit
def held_out(dynamics: Any, target: Target, key: PRNGKeyArray, length: int, windows: int = 256) -> HeldOut:
    """Means over windows of held-out episodes."""
    k_windows, k_sample = jax.random.split(key)
    drawn = draw_windows(target, windows, length, k_windows)
    log_posterior = drawn.log_posterior
    if log_posterior is None:
        assert drawn.obs is not None
        seen = model_of(dynamics).see(drawn.obs, drawn.action, k_sample)
        log_posterior, log_prior = seen.log_posterior, seen.log_prior[1:]
    else:
        if drawn.obs is not None:  # its own encoder's, which may have been finetuned
            log_posterior = model_of(dynamics).infer(model_of(dynamics).embed(drawn.obs))
        log_prior, _ = predicted(dynamics, log_posterior, drawn.action, k_sample)
    after = log_posterior[1:]
    expected = categorical_entropy(log_prior) - categorical_entropy(after)
    return HeldOut(jnp.mean(categorical_kl(after, log_prior)), jnp.mean(expected))


def model_of(dynamics: Any) -> Draw:
    """The world model behind what can be advanced."""
    return dynamics.model if isinstance(dynamics, Corrected) else dynamics


def agent_of(state: OfflineState) -> DrawAgent:
    """What is deployed: the encoder and the adapted policy. The dynamics is not needed to act."""
    return DrawAgent(model_of(state.dynamics), state.averaged)
