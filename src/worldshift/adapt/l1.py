"""A classical add-on: L1 adaptive control with the piecewise-constant law, on the calibrated model made affine in u.

Cao and Hovakimyan's architecture as it is added to learned policies today: a state predictor with an estimate of the
disturbance at the actuators, an update that cancels the last prediction error, and a low-pass filter between the
estimate and the command. Deviations: the predictor is the learned one-step model, linearised in the action at each
step and whitened; the inverse of its input matrix is regularised, since more is observed than is actuated.
"""

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from worldshift.adapt.contract import (
    Command,
    Telemetry,
    Transition,
    base_action,
    control_error,
    correction_share,
    finite,
    quiet,
)
from worldshift.adapt.fast_reflex import Calibration
from worldshift.agents.agent import Agent


@dataclass(frozen=True)
class L1Config:
    """The two numbers that such a controller is tuned by, and its limits.

    Tuned on a walker with ten draws of gains that no study uses, nine settings (ridge 3, 30, 300; bandwidth 0.05, 0.3,
    1), by the reward under the fault, among those that cost the healthy body less than 1 %.
    """

    bandwidth: float = 1.0
    """Share of the way from the filtered estimate to the new one in an agent step (1: no filter)."""
    ridge: float = 300.0
    """Pull of an update towards no change, in units of what a step informs about an action (tens to hundreds)."""
    disturbance: float = 1.0
    """Bound on the estimate, in units of the base range."""
    authority: float = 2.0
    """Bound on the total command."""
    outlier: float = 2.0
    """A step whose normalised error is this many times the healthy mean is weighed down (contacts, resets)."""


class L1State(NamedTuple):
    """The estimated disturbance, what has passed the filter, and the planner's memory."""

    disturbance: Float[Array, " A"]
    filtered: Float[Array, " A"]
    memory: Float[Array, "1 H A"]


class L1Adaptive(eqx.Module):
    """u = a0 - C(s) sigma, behind the online-adapter contract."""

    agent: Agent
    calibration: Calibration
    config: L1Config = eqx.field(static=True, default=L1Config())

    def init(self, key: PRNGKeyArray) -> L1State:
        """Nothing disturbs."""
        zero = jnp.zeros(self.agent.model.action_dim)
        return L1State(zero, zero, self.agent.init_memory(1))

    def act(self, state: L1State, obs: Float[Array, " O"], key: PRNGKeyArray) -> tuple[Command, L1State]:
        """The base action without what is believed to be added to it, within the authority limit."""
        base, memory = base_action(self.agent, state.memory, obs, key)
        action = jnp.clip(base - state.filtered, -self.config.authority, self.config.authority)
        return Command(action, base), state._replace(memory=memory)

    def observe(self, state: L1State, transition: Transition) -> tuple[L1State, Telemetry]:
        """Predicts with the estimate, and moves it so that the error would have been cancelled; then filters."""
        config, known, command = self.config, self.calibration, transition.command
        error, pull = known.against(transition, command.action + state.disturbance)
        design = known.whitening @ pull
        weight = jnp.minimum(1.0, config.outlier / jnp.maximum(jnp.mean(error**2), 1e-6))
        score = weight * (design.T @ error - known.score_bias[:, -1])
        gram = weight * design.T @ design + config.ridge * jnp.eye(len(score))
        disturbance = state.disturbance + jnp.linalg.solve(gram, score)
        disturbance = jnp.clip(disturbance, -config.disturbance, config.disturbance)
        filtered = state.filtered + config.bandwidth * (disturbance - state.filtered)
        usable = transition.valid & finite(disturbance, filtered)
        new = state._replace(disturbance=disturbance, filtered=filtered)
        new = jax.tree.map(lambda n, o: jnp.where(usable, n, o), new, state)
        telemetry = quiet(len(score))._replace(
            error=control_error(self.agent.model, transition),
            score=jnp.where(usable, jnp.mean(error**2), 0.0),
            correction=correction_share(command),
            guarded=~finite(transition.obs, transition.next_obs),
        )
        return new, telemetry

    def finish(self, state: L1State) -> L1State:
        """What was learned is kept over a reset; the planner starts from scratch."""
        return state._replace(memory=jnp.zeros_like(state.memory))
