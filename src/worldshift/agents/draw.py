"""DRAW's learner: the world model's losses, and one update of everything. What acts is `draw_agent`.

ReDRAW (arXiv 2504.02252) and its published code: reconstruction, two-hot reward, masked and balanced KL with a
floor; two policies, one for the task and one that explores (Plan2Explore), trained side by side in the same dreams'
model. Time comes first in sequences. Deviation: windows never cross an episode, so the mask is just the first moment.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from worldshift.agents import imagination
from worldshift.agents.imagination import ActorCritic, ActorCriticConfig, ActorCriticState, Dream
from worldshift.agents.plan2explore import Ensemble
from worldshift.data.replay import Batch
from worldshift.maths import categorical_kl, soft_cross_entropy
from worldshift.models.draw import SIZES, Draw, Latent, Seen
from worldshift.models.vision import SIDE, coarse_error
from worldshift.nn import Precision, stepped, with_precision


@dataclass(frozen=True)
class DrawConfig:
    """The defaults are for `tiny` networks on two cores; `PAPER` has the published numbers."""

    batch: int = 16
    length: int = 32
    learning_rate: float = 1e-3
    epsilon: float = 1e-8
    grad_clip: float = 1000.0
    reconstruction_weight: float = 10.0
    """Of the vector; squared errors are summed over its numbers."""
    image_weight: float = 3.0
    image_grain: int = 16
    """Images are compared by means over squares of so many pixels a side. Pixel by pixel a thin pole that is a tenth of
    a radian off is as wrong as one that is anywhere else, and latents spend all they hold on where it is exactly."""
    image_detail: float = 0.01
    """Weight of the error pixel by pixel beside it, so that pictures are sharp. (`paper`: grain 1, no detail.)"""
    image_share: float = 0.25
    """Share of a window's moments that are decoded where there are images: nearly all the work is in their pixels."""
    heads_weight: float = 1.0
    """Of reward and continue; 0 where there are no rewards to learn from."""
    dynamics_weight: float = 1.5
    representation_weight: float = 0.5
    free_nats: float = 0.125
    """Floor of the KL of a step, over all groups; the published 1 nat is for 256 groups, `tiny` has 32."""
    starts: int = 128
    """Latents of a batch that dreams start from."""
    ensemble: int = 5
    ensemble_units: int = 64
    ensemble_lr: float = 1e-3
    explore: bool = True
    """Train an explorer, and collect with it; without, the task's own policy collects."""
    average: float = 0.005
    """Rate at which the deployed policy follows the one that trains (1: it is that one)."""
    task: ActorCriticConfig = field(default_factory=ActorCriticConfig)
    explorer: ActorCriticConfig = field(default_factory=lambda: ActorCriticConfig(spread_floor=0.01))
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        """Refuses squares that images cannot be cut into."""
        if self.image_grain < 1 or SIDE % self.image_grain:
            raise ValueError(f"image_grain must divide {SIDE}, the pixels of a side; {self.image_grain} does not.")


_BEHAVIOUR = ActorCriticConfig(horizon=40, discount=1 - 1 / 333, actor_lr=3e-5, critic_lr=3e-5, spread_floor=0.01)
PAPER = DrawConfig(
    length=64,
    learning_rate=1e-4,
    reconstruction_weight=1.0,
    image_weight=1.0,
    image_grain=1,
    image_detail=0.0,
    image_share=1.0,
    free_nats=1.0,
    starts=1024,
    ensemble=8,
    ensemble_units=512,
    ensemble_lr=1e-4,
    average=1.0,
    task=_BEHAVIOUR,
    explorer=_BEHAVIOUR,
)


class DrawState(NamedTuple):
    """Everything that training changes."""

    model: Draw
    model_opt: optax.OptState
    task: ActorCriticState
    averaged: ActorCritic
    """The task's policy as it is deployed."""
    explorer: ActorCriticState | None
    ensemble: Ensemble | None
    ensemble_opt: optax.OptState
    updates: Int[Array, ""]


def init(model: Draw, config: DrawConfig, *, key: PRNGKeyArray) -> DrawState:
    """An untrained learner around `model`."""
    k_task, k_explorer, k_ensemble = jax.random.split(key, 3)
    ensemble = Ensemble(model, config.ensemble, config.ensemble_units, key=k_ensemble) if config.explore else None
    task = imagination.init(model, config.task, key=k_task)
    return DrawState(
        model,
        _model_adam(config).init(eqx.filter(model, eqx.is_array)),
        task,
        task.nets,
        imagination.init(model, config.explorer, key=k_explorer) if config.explore else None,
        ensemble,
        _ensemble_adam(config).init(eqx.filter(ensemble, eqx.is_array)),
        jnp.zeros((), jnp.int32),
    )


def _model_adam(config: DrawConfig) -> optax.GradientTransformation:
    clip = optax.clip_by_global_norm(config.grad_clip)
    return optax.chain(clip, optax.adam(config.learning_rate, eps=config.epsilon))


def _ensemble_adam(config: DrawConfig) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(100.0), optax.adam(config.ensemble_lr, eps=1e-5))


def model_loss(model: Draw, batch: Batch, config: DrawConfig, key: PRNGKeyArray) -> tuple[Array, tuple[Seen, dict]]:
    """Reconstruction, reward, continue, and both directions of the KL; mean over time and batch."""
    seen = model.see(batch.obs, batch.action, key)
    z, span, sg = seen.latent.z, SIZES[model.size].span, jax.lax.stop_gradient
    dynamics = categorical_kl(sg(seen.log_posterior), seen.log_prior)[1:]
    representation = categorical_kl(seen.log_posterior, sg(seen.log_prior))[1:]
    floor = lambda kl: jnp.mean(jnp.maximum(kl, config.free_nats))  # noqa: E731
    pictured, true = z, batch.obs
    if model.pixels:
        few = jax.random.permutation(jax.random.fold_in(key, 1), len(z))[: max(1, round(config.image_share * len(z)))]
        pictured, true = z[few], true[few]
    error = model.decoder(pictured) - model.standard(true)
    pixels, vector = (jnp.mean(jnp.sum(x**2, -1)) for x in jnp.split(error, [model.image_dim], axis=-1))
    image = coarse_error(error[..., : model.image_dim], config.image_grain) if model.pixels else jnp.zeros(())
    reward = jnp.mean(soft_cross_entropy(model.reward_head(z[1:]), batch.reward, -span, span))
    ends = jnp.zeros(())
    if model.continue_head is not None:
        logits = model.continue_head(z[1:])[..., 0]
        ends = jnp.mean(optax.sigmoid_binary_cross_entropy(logits, 1 - batch.terminated))
    loss = (
        config.reconstruction_weight * vector
        + config.image_weight * image
        + config.image_detail * pixels
        + config.heads_weight * (reward + ends)
        + config.dynamics_weight * floor(dynamics)
        + config.representation_weight * floor(representation)
    )
    logs = {"reconstruction": vector, "reward": reward, "kl": jnp.mean(dynamics), "continue": ends}
    if model.pixels:
        logs["image"] = image
    return loss, (seen, logs)


def update(
    state: DrawState, batch: Batch, key: PRNGKeyArray, config: DrawConfig, rate: Float[Array, ""] | float = 1.0
) -> tuple[DrawState, dict[str, Array]]:
    """One update of the model, the ensemble, and both policies, at `rate` times the learning rates.

    `batch` has one observation more than actions: obs (T, B, O), action (T-1, B, A), reward (T-1, B) of arriving.
    """
    k_model, k_starts, k_task, k_explorer = jax.random.split(key, 4)

    def loss(model: Draw) -> tuple[Array, tuple[Seen, dict]]:
        return model_loss(with_precision(model, config.precision), batch, config, k_model)

    (_, (seen, logs)), grad = eqx.filter_value_and_grad(loss, has_aux=True)(state.model)
    step, model_opt = _model_adam(config).update(grad, state.model_opt)
    model = stepped(state.model, step, rate)
    frozen = with_precision(model, config.precision)
    start = pick(jax.lax.stop_gradient(seen.latent), config.starts, k_starts)

    def paid(dream: Dream) -> Array:
        return frozen.reward(dream.latent.z[1:])

    dream_with = (frozen, start)
    task, told = imagination.improve(
        state.task, *dream_with, paid, frozen.goes_on, config.task, config.precision, k_task, rate
    )
    logs |= {f"task_{name}": value for name, value in told.items()}
    ensemble, ensemble_opt, explorer = state.ensemble, state.ensemble_opt, state.explorer
    if ensemble is not None and explorer is not None:
        before = jax.tree.map(lambda x: x[:-1], seen.latent)

        def ensemble_loss(members: Ensemble) -> Array:
            return with_precision(members, config.precision).loss(before, batch.action, seen.embedding[1:])

        spread, grad = eqx.filter_value_and_grad(ensemble_loss)(ensemble)
        step, ensemble_opt = _ensemble_adam(config).update(grad, state.ensemble_opt)
        ensemble = stepped(ensemble, step, rate)
        judges = with_precision(ensemble, config.precision)

        def curious(dream: Dream) -> Array:
            return judges.disagreement(jax.tree.map(lambda x: x[:-1], dream.latent), dream.action)

        explorer, told = imagination.improve(
            explorer, *dream_with, curious, frozen.goes_on, config.explorer, config.precision, k_explorer, rate
        )
        logs |= {f"explorer_{name}": value for name, value in told.items()} | {"ensemble": spread}
    averaged = imagination.follow(state.averaged, task.nets, config.average, state.updates)
    return DrawState(model, model_opt, task, averaged, explorer, ensemble, ensemble_opt, state.updates + 1), logs


@eqx.filter_jit
def update_many(
    state: DrawState,
    batches: Batch,
    key: PRNGKeyArray,
    config: DrawConfig,
    rate: Float[Array, ""] | float = 1.0,
) -> tuple[DrawState, dict[str, Array]]:
    """Many updates in one dispatch, at `rate` times the learning rates; `batches` lead with their number.

    Logs are means.
    """
    arrays, static = eqx.partition(state, eqx.is_array)
    batches = jax.tree.map(jnp.asarray, batches)

    def body(arrays: Any, row: tuple[Batch, PRNGKeyArray]) -> tuple[Any, dict[str, Array]]:
        state, logs = update(eqx.combine(arrays, static), *row, config, rate)
        return eqx.filter(state, eqx.is_array), logs

    keys = jax.random.split(key, len(batches.action))
    arrays, logs = jax.lax.scan(body, arrays, (batches, keys))
    return eqx.combine(arrays, static), jax.tree.map(jnp.mean, logs)


def pick(latent: Latent, count: int, key: PRNGKeyArray, weight: Float[Array, " R"] | None = None) -> Latent:
    """`count` of the latents of a window as starts of dreams, (count, Z); all of them where there are not more.

    Drawn alike, or in proportion to `weight`: a number for each of the R latents, time after time.
    """
    rows = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), latent)
    total = len(rows.z)
    if count >= total:
        return rows
    if weight is None:
        index = jax.random.randint(key, (count,), 0, total)
    else:
        index = jax.random.categorical(key, jnp.log(weight), shape=(count,))
    return jax.tree.map(lambda x: x[index], rows)
