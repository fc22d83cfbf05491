"""The two ends of every comparison: the frozen agent, and an oracle that is told what the actuators do.

Both meet the contract of `contract.py`. The oracle is the one adapter that a runner may tell about the shift: it bounds
what any additive correction can win back.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from worldshift.adapt.contract import Command, Telemetry, Transition, base_action, control_error, quiet
from worldshift.agents.agent import Agent


def invert(matrix: Float[Array, "A A"], offset: Float[Array, " A"], wanted: Float[Array, " A"]) -> Float[Array, " A"]:
    """The command a with M a + d = wanted; damped, so that a dead actuator asks for nothing unbounded."""
    gram = matrix.T @ matrix + 1e-3 * jnp.eye(len(wanted))
    return jnp.linalg.solve(gram, matrix.T @ (wanted - offset) + 1e-3 * wanted)


class Frozen(eqx.Module):
    """The agent as it was trained."""

    agent: Agent

    def init(self, key: PRNGKeyArray) -> Float[Array, "1 H A"]:
        """Only the planner's memory."""
        return self.agent.init_memory(1)

    def act(self, state: Array, obs: Float[Array, " O"], key: PRNGKeyArray) -> tuple[Command, Array]:
        """The base action."""
        base, state = base_action(self.agent, state, obs, key)
        return Command(base, base), state

    def observe(self, state: Array, transition: Transition) -> tuple[Array, Telemetry]:
        """Learns nothing; reports the control error, which is what the others are compared with."""
        error = control_error(self.agent.model, transition)
        return state, quiet(len(transition.command.base))._replace(error=error)

    def finish(self, state: Array) -> Array:
        """A new episode plans from scratch."""
        return jnp.zeros_like(state)


class OracleState(NamedTuple):
    """What the oracle has been told."""

    memory: Float[Array, "1 H A"]
    matrix: Float[Array, "A A"]
    offset: Float[Array, " A"]


class Oracle(eqx.Module):
    """Knows the plant's action map u = M a + d at every step, and undoes it within the authority limit."""

    agent: Agent
    authority: float = eqx.field(static=True, default=2.0)

    def init(self, key: PRNGKeyArray) -> OracleState:
        """Told nothing yet: a healthy plant."""
        actions = self.agent.model.action_dim
        return OracleState(self.agent.init_memory(1), jnp.eye(actions), jnp.zeros(actions))

    def tell(self, state: OracleState, matrix: Float[Array, "A A"], offset: Float[Array, " A"]) -> OracleState:
        """The truth about this step, from the runner."""
        return state._replace(matrix=matrix, offset=offset)

    def act(self, state: OracleState, obs: Float[Array, " O"], key: PRNGKeyArray) -> tuple[Command, OracleState]:
        """The command whose effect is the base action, as far as the limit allows."""
        base, memory = base_action(self.agent, state.memory, obs, key)
        action = jnp.clip(invert(state.matrix, state.offset, base), -self.authority, self.authority)
        return Command(action, base), state._replace(memory=memory)

    def observe(self, state: OracleState, transition: Transition) -> tuple[OracleState, Telemetry]:
        """Learns nothing."""
        telemetry = quiet(len(transition.command.base))._replace(
            error=control_error(self.agent.model, transition), gain=jnp.diagonal(state.matrix)
        )
        return state, telemetry

    def finish(self, state: OracleState) -> OracleState:
        """A new episode plans from scratch."""
        return state._replace(memory=jax.tree.map(jnp.zeros_like, state.memory))
