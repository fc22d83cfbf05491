"""Actor-critic in imagination: DreamerV3's, with the REINFORCE gradient, for any dynamics that can be advanced.

DreamerV3 (arXiv 2301.04104) as used by ReDRAW (arXiv 2504.02252): lambda-returns bootstrapped from the online critic,
a slow critic as regulariser, percentile-normalised advantages, a Gaussian actor that is not squashed. The dynamics may
be a world model or a corrected one: the policy of an adapted model is trained by the same code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from worldshift.maths import gaussian_log_prob, lambda_returns, soft_cross_entropy, two_hot_inverse
from worldshift.models.draw import SIZES, Draw, Latent, mlp
from worldshift.nn import MLP, Precision, stepped, with_precision


@runtime_checkable
class Dynamics(Protocol):
    """What can be imagined with."""

    def advance(self, latent: Latent, action: Float[Array, "*B A"], key: PRNGKeyArray) -> Latent:
        """Imagines one step."""
        ...


@dataclass(frozen=True)
class ActorCriticConfig:
    """ReDRAW's numbers are the preset `paper` of the learner; these are for small networks."""

    horizon: int = 15
    discount: float | None = 0.99
    """None, in an adaptation alone: what the source's critic counts with."""
    lam: float = 0.95
    entropy_weight: float = 3e-4
    actor_lr: float = 6e-4
    critic_lr: float = 1e-3
    epsilon: float = 1e-5
    grad_clip: float = 100.0
    slow_rate: float = 0.02
    slow_weight: float = 1.0
    spread_rate: float = 0.01
    """How fast the percentiles of returns are followed."""
    spread_floor: float = 1.0
    """The least that advantages are divided by."""


class ActorCritic(eqx.Module):
    """Policy and value of a latent."""

    actor: MLP
    critic: MLP
    span: float = eqx.field(static=True)
    action_dim: int = eqx.field(static=True)
    discount: float = eqx.field(static=True)
    """What the critic counts with."""

    def __init__(self, model: Draw, *, discount: float = 0.99, key: PRNGKeyArray):
        k_actor, k_critic = jax.random.split(key)
        s, z = SIZES[model.size], model.latent_dim
        layers = max(s.head_layers, 2)
        self.actor = mlp(z, s.units, layers, 2 * model.action_dim, key=k_actor)
        self.critic = mlp(z, s.units, layers, s.bins, key=k_critic, last_scale=0.0)
        self.span, self.action_dim, self.discount = s.span, model.action_dim, discount

    def policy(self, z: Float[Array, "*B Z"]) -> tuple[Float[Array, "*B A"], Float[Array, "*B A"]]:
        """Mean, in (-1, 1), and standard deviation, from 0.1 to 1."""
        mean, raw = jnp.split(self.actor(z), 2, axis=-1)
        return jnp.tanh(mean), 0.9 * jax.nn.sigmoid(raw + 2) + 0.1

    def act(self, z: Float[Array, "*B Z"], key: PRNGKeyArray) -> Float[Array, "*B A"]:
        """A sampled action; may lie beyond the bounds, where it acts like the bounds."""
        mean, std = self.policy(z)
        return mean + std * jax.random.normal(key, mean.shape)

    def value(self, z: Float[Array, "*B Z"]) -> Float[Array, "*B"]:
        """Expected return."""
        return two_hot_inverse(self.critic(z), -self.span, self.span)


class ActorCriticState(NamedTuple):
    """What training the policy carries along."""

    nets: ActorCritic
    slow: MLP
    actor_opt: optax.OptState
    critic_opt: optax.OptState
    spread: Float[Array, " 2"]
    """5th and 95th percentile of returns, followed slowly."""
    updates: Int[Array, ""]


class Dream(NamedTuple):
    """Imagined trajectories: H actions, and the H+1 latents around them."""

    latent: Latent  # leading axes (H+1, N)
    action: Float[Array, "H N A"]


def init(model: Draw, config: ActorCriticConfig, *, key: PRNGKeyArray) -> ActorCriticState:
    """An untrained policy.

    Raises:
        ValueError: the discount is left open.
    """
    if config.discount is None:
        raise ValueError("discount: only an adaptation can leave it to the agent; give a number, as 0.99.")
    nets = ActorCritic(model, discount=config.discount, key=key)
    actor_opt, critic_opt = optimisers(config)
    return ActorCriticState(
        nets,
        nets.critic,
        actor_opt.init(eqx.filter(nets.actor, eqx.is_array)),
        critic_opt.init(eqx.filter(nets.critic, eqx.is_array)),
        jnp.zeros(2),
        jnp.zeros((), jnp.int32),
    )


def optimisers(config: ActorCriticConfig) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Of the actor, and of the critic."""

    def adam(rate: float) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(config.grad_clip), optax.adam(rate, eps=config.epsilon))

    return adam(config.actor_lr), adam(config.critic_lr)


def follow(averaged: ActorCritic, now: ActorCritic, rate: float, updates: Int[Array, ""]) -> ActorCritic:
    """An average over the policies on the way; a plain mean until 1 / `rate` of them have been."""
    share = jnp.maximum(rate, 1 / (updates + 1))
    return jax.tree.map(lambda old, new: old + share * (new - old) if eqx.is_array(old) else old, averaged, now)


def imagine(dynamics: Dynamics, nets: ActorCritic, start: Latent, horizon: int, key: PRNGKeyArray) -> Dream:
    """Dreams of `horizon` steps under the policy; without gradients."""

    def step(latent: Latent, key: PRNGKeyArray) -> tuple[Latent, tuple[Latent, Array]]:
        k_act, k_advance = jax.random.split(key)
        action = nets.act(latent.z, k_act)
        after = dynamics.advance(latent, action, k_advance)
        return after, (after, action)

    _, (after, action) = jax.lax.scan(step, start, jax.random.split(key, horizon))
    latent = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start, after)
    return jax.lax.stop_gradient(Dream(latent, action))


def improve(
    state: ActorCriticState,
    dynamics: Dynamics,
    start: Latent,
    reward: Callable[[Dream], Float[Array, "H N"]],
    goes_on: Callable[[Float[Array, "*B Z"]], Float[Array, "*B"]],
    config: ActorCriticConfig,
    precision: Precision,
    key: PRNGKeyArray,
    rate: Float[Array, ""] | float = 1.0,
) -> tuple[ActorCriticState, dict[str, Array]]:
    """One step of actor and critic on dreams from `start`.

    Arguments:
        dynamics: what is dreamt with; frozen here.
        reward: paid for each action of a dream.
        goes_on: probability that an episode does not end in a latent.
        rate: factor on both learning rates.
    """
    nets = with_precision(state.nets, precision)
    dream = imagine(dynamics, nets, start, config.horizon, key)
    z = dream.latent.z
    discount = nets.discount * goes_on(z)
    value = nets.value(z)
    paid = reward(dream)
    returns = lambda_returns(paid, discount[1:], value, config.lam)
    # A latent counts as much as it is likely to be reached.
    weight = jnp.cumprod(jnp.concatenate([jnp.ones_like(discount[:1]), discount[1:-1]]), axis=0)

    now = jnp.percentile(returns, jnp.array([5.0, 95.0]))
    share = jnp.where(state.updates == 0, 1.0, config.spread_rate)
    spread = state.spread + share * (now - state.spread)
    advantage = (returns - value[:-1]) / jnp.maximum(config.spread_floor, spread[1] - spread[0])

    def actor_loss(actor: MLP) -> tuple[Array, Array]:
        acting = eqx.tree_at(lambda n: n.actor, nets, with_precision(actor, precision))
        mean, std = acting.policy(z[:-1])
        log_prob = gaussian_log_prob((dream.action - mean) / std, jnp.log(std))
        entropy = jnp.sum(jnp.log(std) + 0.5 * jnp.log(2 * jnp.pi * jnp.e), axis=-1)
        return -jnp.mean(weight * (advantage * log_prob + config.entropy_weight * entropy)), jnp.mean(entropy)

    slow = two_hot_inverse(with_precision(state.slow, precision)(z[:-1]), -nets.span, nets.span)

    def critic_loss(critic: MLP) -> Array:
        logits = with_precision(critic, precision)(z[:-1])
        near = soft_cross_entropy(logits, returns, -nets.span, nets.span)
        return jnp.mean(weight * (near + config.slow_weight * soft_cross_entropy(logits, slow, -nets.span, nets.span)))

    actor_opt, critic_opt = optimisers(config)
    (_, entropy), actor_grad = eqx.filter_value_and_grad(actor_loss, has_aux=True)(state.nets.actor)
    critic_grad = eqx.filter_grad(critic_loss)(state.nets.critic)
    actor_step, actor_state = actor_opt.update(actor_grad, state.actor_opt)
    critic_step, critic_state = critic_opt.update(critic_grad, state.critic_opt)
    actor = stepped(state.nets.actor, actor_step, rate)
    critic = stepped(state.nets.critic, critic_step, rate)
    follow = lambda old, new: old + config.slow_rate * (new - old) if eqx.is_array(old) else old  # noqa: E731
    logs = {"return": jnp.mean(returns), "value": jnp.mean(value), "entropy": entropy, "paid": jnp.mean(paid)}
    new = ActorCriticState(
        eqx.tree_at(lambda n: (n.actor, n.critic), state.nets, (actor, critic)),
        jax.tree.map(follow, state.slow, critic),
        actor_state,
        critic_state,
        spread,
        state.updates + 1,
    )
    return new, logs
