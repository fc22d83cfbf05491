"""The fast reflex: an action map u = M a + d, estimated at every step from the tracking error, and undone.

The same signal as RWM (arXiv 2505.15589, eq. 2-4): what the base action should have led to, against what happened,
through the Jacobian of a frozen model with respect to the action. Deviations, each because it is what makes seconds
suffice: the correction is structured (a few numbers that every step informs) instead of a network; the step is a Kalman
gain instead of Adam; the model is a calibrated one-step model with a state-dependent noise instead of F; the score's
bias on the healthy body is subtracted; a calibrated change detector re-opens the estimate.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from worldshift.adapt.bounds import invert
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
from worldshift.agents.agent import Agent
from worldshift.models.onestep import OneStep

Structure = Literal["gain", "gain+bias", "matrix"]
STRUCTURES: tuple[Structure, ...] = ("gain", "gain+bias", "matrix")


@dataclass(frozen=True)
class FastReflexConfig:
    """What the estimate may be, how fast it may move, and how far it may act."""

    structure: Structure = "gain"
    """`gain`: one gain per actuator; `gain+bias`: and an offset; `matrix`: full M and d, for coupled actuators."""
    gain_std: float = 0.3
    """Prior standard deviation of a gain, and what a detected change re-opens it to."""
    bias_std: float = 0.1
    coupling_std: float = 0.1
    drift_std: float = 0.003
    """Random walk of a gain per agent step: what is tracked without a detected change."""
    authority: float = 2.0
    """Bound on the total command, in units of the base range."""
    gain_limits: tuple[float, float] = (-1.5, 2.0)
    """The estimate of a diagonal gain stays inside (a full matrix is free); below 0 a motor is reversed."""
    outlier: float = 2.0
    """A step whose normalised innovation is this many times the healthy mean is weighed down (contacts, resets)."""
    detector: bool = True
    debias: bool = True
    """Subtract the healthy body's mean score."""
    caution: float = 0.0
    """What is estimated is acted on less, the more doubt there is about it: not at all below so many of its standard
    deviations, which count the error that is left unexplained, too. 0: acted on as it is."""
    credit: float = 0.5
    """Of an error far beyond a healthy body's, the share that an estimate may leave and still be credited for the rest.
    A fit to noise, or to a push, takes a part of it away, too."""
    gate: tuple[float, float] = (0.1, 0.3)
    """The correction is faded out between these matched fractions: an error that no action explains is not acted on."""


class Calibration(NamedTuple):
    """What minutes on the healthy body taught; stored with the agent."""

    model: OneStep
    whitening: Float[Array, "S S"]
    """Turns innovations of the healthy body into white noise of unit variance."""
    score_bias: Float[Array, "A A1"]
    """Mean score of the healthy body with respect to each entry of [M, d]."""
    healthy_level: Float[Array, ""]
    """Mean squared whitened innovation per channel on the healthy body."""
    inflation: Float[Array, ""]
    """How much more uncertain an estimate is than white noise would say; from estimates on the healthy body."""
    threshold: Float[Array, " 3"]
    """Detector level that the healthy body passes once in a thousand steps, for each of `STRUCTURES`."""

    def against(
        self, transition: Transition, action: Float[Array, " A"]
    ) -> tuple[Float[Array, " S"], Float[Array, "S A"]]:
        """What happened less what `action` should have led to, whitened; and how the prediction follows the action,
        in units of the model's own standard deviation (to be whitened still).
        """
        predicted, pull, log_std = self.model.linearise(transition.obs, action)
        scale = jnp.exp(-log_std)
        happened = self.model.happened(transition.obs, transition.next_obs)
        return self.whitening @ ((happened - predicted) * scale), scale[:, None] * pull


class FastReflexState(NamedTuple):
    """The estimate, its covariance, and the detector's window."""

    theta: Float[Array, " P"]
    cov: Float[Array, "P P"]
    evidence: Float[Array, " P"]
    information: Float[Array, "P P"]
    since_change: Int[Array, ""]
    memory: Float[Array, "1 H A"]
    explained: Float[Array, " 2"]
    """Forgetting sums: excess error that the estimate explains, and all excess error over the healthy level."""


WINDOW = 12
"""Agent steps over which the detector forgets; and for which it rests after a detection."""
MATCHED_WINDOW = 60
"""Agent steps over which the matched fraction forgets."""
MOST = 10.0
"""Healthy levels that one step may count for in it: a stumble must not drown the rest."""
DOUBT = 5.0
"""Excess error (in healthy channels x steps) below which the matched fraction is given the benefit of the doubt."""


DEAD = 0.2
"""A motor weaker than this is asked for ever less: dividing by what is hardly there would only shake it."""


class FastReflex(eqx.Module):
    """Adaptation inside an episode, behind the online-adapter contract."""

    agent: Agent
    calibration: Calibration
    config: FastReflexConfig = eqx.field(static=True, default=FastReflexConfig())

    def init(self, key: PRNGKeyArray) -> FastReflexState:
        """A healthy body: nothing is wrong, and a tenth of the prior's doubt about it."""
        prior = self._prior()
        n = len(prior)
        return FastReflexState(
            jnp.zeros(n),
            jnp.diag(jnp.asarray(0.1 * prior) ** 2),
            jnp.zeros(n),
            jnp.zeros((n, n)),
            jnp.zeros((), jnp.int32),
            self.agent.init_memory(1),
            jnp.zeros(2),
        )

    def act(
        self, state: FastReflexState, obs: Float[Array, " O"], key: PRNGKeyArray
    ) -> tuple[Command, FastReflexState]:
        """The command whose estimated effect is the base action, within the authority limit."""
        base, memory = base_action(self.agent, state.memory, obs, key)
        return Command(self.reach(state, base), base), state._replace(memory=memory)

    def reach(self, state: FastReflexState, wanted: Float[Array, " A"]) -> Float[Array, " A"]:
        """The command whose estimated effect is `wanted`, within the authority limit."""
        matrix, offset = self.action_map(self._believed(state))
        if self.config.structure == "matrix":
            action = invert(matrix, offset, wanted)
        else:
            gain = jnp.diagonal(matrix)
            action = (wanted - offset) * jnp.where(jnp.abs(gain) < DEAD, gain / DEAD**2, 1 / gain)
        action = wanted + self._gate(state) * (action - wanted)
        return jnp.clip(jnp.where(finite(action), action, wanted), -self.config.authority, self.config.authority)

    def observe(self, state: FastReflexState, transition: Transition) -> tuple[FastReflexState, Telemetry]:
        """One Kalman step on the tracking error; skipped across resets and on anything non-finite."""
        action = transition.command.action
        matrix, offset = self.action_map(state.theta)
        innovation, design = self._linearise(transition, matrix @ action + offset)
        weight = jnp.minimum(1.0, self.config.outlier / jnp.maximum(jnp.mean(innovation**2), 1e-6))
        score = design.T @ innovation - self._score_bias()
        information = design.T @ design

        cov = state.cov + jnp.diag((self._prior() * (self.config.drift_std / self.config.gain_std)) ** 2)
        evidence, seen, changed = self._detect(state, weight * score, weight * information)
        cov = jnp.where(changed, jnp.diag(jnp.asarray(self._prior()) ** 2) + cov, cov)
        cov = _posterior(cov, design, self.calibration.inflation / weight)
        theta = self._limit(state.theta + cov @ score * weight / self.calibration.inflation)

        explained = self._explain(state, transition, innovation)
        usable = transition.valid & finite(theta, cov, explained, jnp.mean(innovation**2))
        new = state._replace(
            theta=theta,
            cov=0.5 * (cov + cov.T),
            evidence=jnp.where(changed, 0.0, evidence),
            information=jnp.where(changed, 0.0, seen),
            since_change=jnp.where(changed, 0, state.since_change + 1),
            explained=explained,
        )
        new = jax.tree.map(lambda n, o: jnp.where(usable, n, o), new, state)
        return new, self._telemetry(new, transition, innovation, usable)

    def finish(self, state: FastReflexState) -> FastReflexState:
        """What was learned is kept over a reset; the planner starts from scratch."""
        return state._replace(memory=jnp.zeros_like(state.memory))

    def plant(self, state: FastReflexState) -> tuple[Float[Array, "A A"], Float[Array, " A"]]:
        """The estimated action map: u = M a + d."""
        return self.action_map(state.theta)

    def doubt(self, state: FastReflexState) -> FastReflexState:
        """The state of a reflex that no longer trusts what it has learned: nothing is wrong, and anything may be."""
        return state._replace(
            theta=jnp.zeros_like(state.theta),
            cov=jnp.diag(jnp.asarray(self._prior()) ** 2),
            evidence=jnp.zeros_like(state.evidence),
            information=jnp.zeros_like(state.information),
            since_change=jnp.zeros_like(state.since_change),
            explained=jnp.zeros_like(state.explained),
        )

    def action_map(self, theta: Float[Array, " P"]) -> tuple[Float[Array, "A A"], Float[Array, " A"]]:
        """The estimated plant: u = M a + d."""
        rows, columns = self.entries()
        actions = self.agent.model.action_dim
        whole = jnp.zeros((actions, actions + 1)).at[rows, columns].set(theta)
        return jnp.eye(actions) + whole[:, :actions], whole[:, actions]

    def entries(self) -> tuple[np.ndarray, np.ndarray]:
        """Which entries of [M - I, d] are estimated; the first A are the gains."""
        n = self.agent.model.action_dim
        gains = [(i, i) for i in range(n)]
        bias = [(i, n) for i in range(n)]
        coupling = [(i, j) for i in range(n) for j in range(n) if i != j]
        kinds = {"gain": gains, "gain+bias": gains + bias, "matrix": gains + bias + coupling}
        rows, columns = zip(*kinds[self.config.structure], strict=True)
        return np.asarray(rows), np.asarray(columns)

    def _prior(self) -> np.ndarray:
        rows, columns = self.entries()
        c, n = self.config, self.agent.model.action_dim
        return np.where(rows == columns, c.gain_std, np.where(columns == n, c.bias_std, c.coupling_std))

    def _score_bias(self) -> Float[Array, " P"]:
        known = self.calibration.score_bias[self.entries()]
        return known if self.config.debias else jnp.zeros_like(known)

    def _linearise(
        self, transition: Transition, effective: Float[Array, " A"]
    ) -> tuple[Float[Array, " S"], Float[Array, "S P"]]:
        """Whitened tracking error at the estimated effective action, and its derivative in the parameters."""
        innovation, pull = self.calibration.against(transition, effective)
        rows, columns = self.entries()
        inputs = jnp.append(transition.command.action, 1.0)
        return innovation, self.calibration.whitening @ (pull[:, rows] * inputs[columns])

    def _detect(
        self, state: FastReflexState, score: Float[Array, " P"], information: Float[Array, "P P"]
    ) -> tuple[Float[Array, " P"], Float[Array, "P P"], Bool[Array, ""]]:
        """Score test over a forgetting window: is the remaining mismatch more than the healthy body ever shows?"""
        keep = 1 - 1 / WINDOW
        evidence, seen = keep * state.evidence + score, keep * state.information + information
        level = detection_level(evidence, seen)
        rested = state.since_change >= WINDOW
        threshold = self.calibration.threshold[STRUCTURES.index(self.config.structure)]
        return evidence, seen, self.config.detector & rested & (level > threshold)

    def _explain(
        self, state: FastReflexState, transition: Transition, innovation: Float[Array, " S"]
    ) -> Float[Array, " 2"]:
        """Adds this step to the account of what "nothing is wrong" leaves unexplained, and what the estimate does.

        A step counts for at most `MOST` healthy levels. Of an error beyond that, however large, an estimate that leaves
        less than `credit` of it is credited in proportion.
        """
        model, level = self.calibration.model, self.calibration.healthy_level
        unmoved = self.calibration.whitening @ model.innovation(
            transition.obs, transition.command.action, transition.next_obs
        )
        without, left = (jnp.mean(e**2) / level for e in (unmoved, innovation))
        left = jnp.minimum(left * jnp.minimum(1.0, MOST / (self.config.credit * jnp.maximum(without, MOST))), MOST)
        step = jnp.minimum(without, MOST) - jnp.stack([left, jnp.ones(())])
        return (1 - 1 / MATCHED_WINDOW) * state.explained + step

    def _matched(self, state: FastReflexState) -> Float[Array, ""]:
        """Share of the excess error that the estimated action map explains; 1 while there is no excess."""
        explained, excess = state.explained
        return jnp.clip((explained + DOUBT) / jnp.maximum(excess + DOUBT, DOUBT), 0.0, 1.0)

    def _gate(self, state: FastReflexState) -> Float[Array, ""]:
        return faded_in(self._matched(state), self.config.gate)

    def _believed(self, state: FastReflexState) -> Float[Array, " P"]:
        """The estimate, each number of it shrunk towards nothing-is-wrong as far as its own doubt reaches."""
        explained, excess = state.explained
        left = jnp.maximum(excess - explained, 0.0) / MATCHED_WINDOW  # over the healthy level, in healthy levels
        doubt = self.config.caution**2 * (1 + left) * jnp.diagonal(state.cov)
        return state.theta * jnp.clip(1 - doubt / jnp.maximum(state.theta**2, 1e-9), 0.0, 1.0)

    def _limit(self, theta: Float[Array, " P"]) -> Float[Array, " P"]:
        if self.config.structure == "matrix":
            return jnp.clip(theta, -3.0, 3.0)
        n, (low, high) = self.agent.model.action_dim, self.config.gain_limits
        return theta.at[:n].set(jnp.clip(theta[:n], low - 1, high - 1)).at[n:].set(jnp.clip(theta[n:], -0.5, 0.5))

    def _telemetry(
        self, state: FastReflexState, transition: Transition, innovation: Float[Array, " S"], usable: Bool[Array, ""]
    ) -> Telemetry:
        n, command = self.agent.model.action_dim, transition.command
        return quiet(n)._replace(
            error=control_error(self.agent.model, transition),
            score=jnp.where(usable, jnp.mean(innovation**2), 0.0),
            gain=1 + state.theta[:n],
            gain_std=jnp.sqrt(jnp.maximum(jnp.diagonal(state.cov)[:n], 0.0)),
            matched=self._matched(state),
            correction=correction_share(command),
            guarded=~finite(transition.obs, transition.next_obs),
        )


def faded_in(x: Float[Array, ""], between: tuple[float, float]) -> Float[Array, ""]:
    """0 below the first bound, 1 above the second, and linear between them."""
    low, high = between
    return jnp.clip((x - low) / (high - low), 0.0, 1.0)


def detection_level(evidence: Float[Array, " P"], information: Float[Array, "P P"]) -> Float[Array, ""]:
    """Windowed score statistic per parameter: about 1 when nothing has changed."""
    ridge = 1e-3 * jnp.trace(information) / len(evidence) + 1e-9
    return evidence @ jnp.linalg.solve(information + ridge * jnp.eye(len(evidence)), evidence) / len(evidence)


def _posterior(cov: Float[Array, "P P"], design: Float[Array, "S P"], noise: Float[Array, ""]) -> Float[Array, "P P"]:
    """Covariance after a measurement with white noise of variance `noise`."""
    projected = design @ cov
    innovation_cov = projected @ design.T + noise * jnp.eye(len(design))
    return cov - projected.T @ jnp.linalg.solve(innovation_cov, projected)
