"""Delays, undone: which of the last commands the body obeys is told by the tracking error, and the base acts ahead.

A Smith predictor with an identified lag, around any reflex. If a command takes k agent steps to arrive, the calibrated
one-step model says where the k commands under way will have led, the agent acts on that, and what is observed is held
against the command that arrived. Not in RWM (arXiv 2505.15589), whose corrections have no way to act sooner.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from worldshift.adapt.contract import Command, OnlineAdapter, Telemetry, Transition, finite
from worldshift.adapt.fast_reflex import Calibration


@dataclass(frozen=True)
class DelayConfig:
    """Which lags are thought of, and when one is believed."""

    longest: int = 5
    """Agent steps."""
    span: int = 10
    """Agent steps over which the errors under each lag are averaged."""
    margin: float = 0.5
    """By how much lower another lag must bring the log of the squared error to be believed, unless it is 0."""
    enough: float = 5.0
    """Healthy levels that it may leave at most, unless it is 0: under noise of sensors some lag always seems a little
    better."""


FLOOR = 0.1
"""Healthy levels below which all lags are as good."""


class Mapped(OnlineAdapter, Protocol):
    """A reflex that says what it believes the actuators do."""

    @property
    def calibration(self) -> Calibration:
        """What is known of the healthy body."""
        ...

    def plant(self, state: Any) -> tuple[Float[Array, "A A"], Float[Array, " A"]]:
        """u = M a + d."""
        ...

    def doubt(self, state: Any) -> Any:
        """The state of one that no longer trusts what it has learned."""
        ...


class DelayState(NamedTuple):
    """The reflex's own, the latest commands (newest first), and how well each lag has explained what happened."""

    inner: Any
    commands: Command
    cost: Float[Array, "2 L"]
    """With the actuators as they are believed to be, and with healthy ones."""
    lag: Int[Array, ""]


class DelayCompensated(eqx.Module):
    """A reflex that also finds out that its commands arrive late, behind the online-adapter contract.

    Raises:
        ValueError: the calibration measures errors in a latent, where an agent cannot be told what it will see.
    """

    inner: Mapped
    config: DelayConfig = eqx.field(static=True, default=DelayConfig())

    def __check_init__(self) -> None:
        if self.inner.calibration.model.encoder is not None:
            raise ValueError("delays are undone with a one-step model of the observation, and this one is of a latent.")

    def init(self, key: PRNGKeyArray) -> DelayState:
        """Nothing is late."""
        lags = self.config.longest + 1
        none = jnp.zeros((lags, len(self.inner.calibration.score_bias)))
        level = jnp.zeros((2, lags)).at[:, 1:].set(1.0)
        return DelayState(self.inner.init(key), Command(none, none, none), level, jnp.zeros((), jnp.int32))

    def act(self, state: DelayState, obs: Float[Array, " O"], key: PRNGKeyArray) -> tuple[Command, DelayState]:
        """The reflex's command for where the commands under way will have led."""
        command, inner = self.inner.act(state.inner, self._ahead(state, obs), key)
        command = command._replace(target=command.base) if command.target is None else command
        commands = jax.tree.map(lambda ring, new: jnp.roll(ring, 1, 0).at[0].set(new), state.commands, command)
        return command, state._replace(inner=inner, commands=commands)

    def observe(self, state: DelayState, transition: Transition) -> tuple[DelayState, Telemetry]:
        """The reflex learns from the command that arrived; each lag is charged with the error it would have left."""
        arrived = jax.tree.map(lambda ring: ring[state.lag], state.commands)
        inner, telemetry = self.inner.observe(state.inner, transition._replace(command=arrived))
        cost = state.cost + (self._costs(state, transition) - state.cost) / self.config.span
        each = jnp.min(cost, 0)
        best = jnp.argmin(each)
        late = (each[best] < each[state.lag] - self.config.margin) & (each[best] < jnp.log(self.config.enough))
        usable = transition.valid & finite(cost)
        moved = usable & (best != state.lag) & jnp.where(best == 0, each[best] < cost[0, state.lag], late)
        inner = jax.tree.map(lambda new, old: jnp.where(moved, new, old), self.inner.doubt(inner), inner)
        lag = jnp.where(moved, best, state.lag).astype(jnp.int32)
        return state._replace(inner=inner, cost=jnp.where(usable, cost, state.cost), lag=lag), telemetry

    def finish(self, state: DelayState) -> DelayState:
        """What was learned is kept over a reset; nothing is under way."""
        return state._replace(
            inner=self.inner.finish(state.inner), commands=jax.tree.map(jnp.zeros_like, state.commands)
        )

    def _ahead(self, state: DelayState, obs: Float[Array, " O"]) -> Float[Array, " O"]:
        """The observation when the next command will arrive."""
        matrix, offset = self.inner.plant(state.inner)
        model = self.inner.calibration.model

        def step(seen: Float[Array, " O"], age: Int[Array, ""]) -> tuple[Float[Array, " O"], None]:
            change, _ = model.change(seen, matrix @ state.commands.action[age] + offset)
            return jnp.where(age < state.lag, seen + change * model.change_std, seen), None

        ahead, _ = jax.lax.scan(step, obs, jnp.arange(self.config.longest)[::-1])
        return jnp.where(finite(ahead), ahead, obs)

    def _costs(self, state: DelayState, transition: Transition) -> Float[Array, "2 L"]:
        """Log squared whitened error of this step had the command arrived 0, 1, 2, ... steps late."""
        matrix, offset = self.inner.plant(state.inner)
        sent = state.commands.action
        effects = jnp.stack([sent @ matrix.T + offset, sent])
        errors = jax.vmap(jax.vmap(lambda u: self.inner.calibration.against(transition, u)[0]))(effects)
        return jnp.log(jnp.mean(errors**2, -1) / self.inner.calibration.healthy_level + FLOOR)
