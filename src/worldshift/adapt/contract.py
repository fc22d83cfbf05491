"""The contract of online adapters: three verbs, so that every method meets the same protocol.

DESIGN: init -> state; act(state, obs) -> action; observe(state, transition) -> state, telemetry. All are pure functions
of one body, without a batch axis: a runner vmaps over bodies and jits. The agent is bound when the adapter is built.
Reward is in the transition only for methods that say `uses_reward` (online finetuning); a reflex never reads it.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from worldshift.agents.agent import Agent, Memory
from worldshift.models.latent import WorldModel


class Command(NamedTuple):
    """What an adapter decides for one agent step."""

    action: Float[Array, " A"]
    """Total command: base action plus correction, inside the authority limit, never NaN."""
    base: Float[Array, " A"]
    """The frozen agent's own action, in [-1, 1]."""
    target: Float[Array, " A"] | None = None
    """What the action is meant to have the effect of, where that is not the base action itself."""


class Transition(NamedTuple):
    """One agent step as the body lived it."""

    obs: Float[Array, " O"]
    command: Command
    next_obs: Float[Array, " O"]
    valid: Bool[Array, ""]
    """False where `next_obs` does not follow from `obs`: across a reset."""
    reward: Float[Array, ""]
    terminated: Bool[Array, ""]


class Telemetry(NamedTuple):
    """What an adapter says about itself at each agent step; NaN-free, zeros where a method has no such thing."""

    error: Float[Array, ""]
    """Control error: mean over latent dimensions of (z' - F(z, a0))^2, the paper's metric (RWM eq. 3)."""
    score: Float[Array, ""]
    """Evidence of mismatch: normalised innovation squared per dimension (1 on the healthy body)."""
    gain: Float[Array, " A"]
    """Estimated actuator gains 1 + p."""
    gain_std: Float[Array, " A"]
    """Their standard deviations."""
    matched: Float[Array, ""]
    """Share of the excess error that an action can correct (facts: matched fraction), in [0, 1]."""
    correction: Float[Array, ""]
    """Correction share: |a - a0| / |a0| of this step."""
    guarded: Bool[Array, ""]
    """True where a non-finite input made the adapter fall back to the base action."""


@runtime_checkable
class OnlineAdapter(Protocol):
    """Frozen, oracle, reflex (paper and fast), finetune: the same verbs."""

    def init(self, key: PRNGKeyArray) -> Any:
        """State of one body."""
        ...

    def act(self, state: Any, obs: Float[Array, " O"], key: PRNGKeyArray) -> tuple[Command, Any]:
        """The command for this agent step."""
        ...

    def observe(self, state: Any, transition: Transition) -> tuple[Any, Telemetry]:
        """Learns from what followed."""
        ...

    def finish(self, state: Any) -> Any:
        """An episode has ended (once for each, before the next reset)."""
        ...


def base_action(
    agent: Agent, memory: Memory, obs: Float[Array, " O"], key: PRNGKeyArray
) -> tuple[Float[Array, " A"], Memory]:
    """The frozen agent's own action for one body, 0 where it is not finite, and its planner's new memory."""
    action, memory = agent.act(memory, obs[None], key)
    return jnp.where(jnp.isfinite(action[0]), action[0], 0.0), memory


def control_error(model: WorldModel, transition: Transition) -> Float[Array, ""]:
    """Mean over latent dimensions of (z' - F(z, a0))^2: reality against what the base action should have done."""
    reference = model.predict(model.encode(transition.obs), transition.command.base)
    error = jnp.mean((model.encode(transition.next_obs) - reference) ** 2)
    return jnp.where(transition.valid & jnp.isfinite(error), error, 0.0)


def quiet(actions: int) -> Telemetry:
    """Telemetry of a method that has nothing to say."""
    zero = jnp.zeros(())
    return Telemetry(zero, zero, jnp.ones(actions), jnp.zeros(actions), zero, zero, jnp.zeros((), bool))


def correction_share(command: Command) -> Float[Array, ""]:
    """|a - a0| / |a0|."""
    return jnp.linalg.norm(command.action - command.base) / jnp.maximum(jnp.linalg.norm(command.base), 1e-6)


def finite(*arrays: Array) -> Bool[Array, ""]:
    """Whether every number in all of them is finite."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(a)) for a in arrays]))
