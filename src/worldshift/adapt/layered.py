"""The layered reflex: a slow network over the fast reflex, for what no map of the actions alone can express.

The base target a0 becomes a0 + c(z), with RWM's controller network c (arXiv 2505.15589, eq. 2-4), and the fast reflex
undoes its estimated gains for that target. Deviations: the tracking error is the calibrated one-step model's instead of
F's, each remembered step is asked what its error would have been under today's c (so that old steps stay good and many
Adam steps fit into seconds), nothing is learned while the fast estimate explains all that happens, or while the error
lies where no action reaches, as sensors' do, and nothing is sent that has not proven itself on steps before they were
learned from: an error of chance no network foresees.
"""

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from worldshift.adapt.contract import Command, Telemetry, Transition, finite
from worldshift.adapt.fast_reflex import Calibration, FastReflex, FastReflexConfig, FastReflexState, faded_in
from worldshift.adapt.reflex import Controller, ReflexConfig


@dataclass(frozen=True)
class LayeredConfig:
    """How much the network may do, how fast it learns, and when it may at all."""

    hidden: int = 128
    """Units in each of the two hidden layers: small, since one Adam step is taken at every agent step."""
    learning_rate: float = 1e-3
    window: int = 600
    """Agent steps remembered."""
    batch: int = 64
    """Remembered steps in one Adam step."""
    limit: float = 0.5
    """Bound on each entry of the network's correction, in units of the base range."""
    ridge: float = 1.0
    """Pull towards no correction, in units of what a step informs about an action (tens to hundreds)."""
    gate: tuple[float, float] = (0.8, 1.2)
    """Excess error left unexplained, in healthy levels, between which the correction is faded in."""
    span: int = 100
    """Agent steps over which that excess, its reach and the correction's proof are averaged."""
    reach: tuple[float, float] = (0.18, 0.23)
    """Share of the error that lies where actions reach, 0 by chance and 1 if all of it does, between which the
    correction is faded in: an error elsewhere is one of sensors, and no action takes it away."""
    proof: tuple[float, float] = (0.05, 0.1)
    """Of what lies there, the share that the correction took off steps not learned from yet, or would have, between
    which it is faded in: 0.1 where motors stick by chance, 0.7 and more under a load."""


BENEATH = FastReflexConfig(credit=0.1)
"""Of the fast reflex beneath the network: gains that take half of a push away would stand in its way."""
CAP = 4.0
"""Healthy levels that one step may count for: a stumble alone must not open the gate."""
CEILING = 1.6
"""Of the averaged excess, so that the gate closes within `span` steps when a fault ends."""
OUTLIER = 10.0
"""Mean squared whitened error beyond which a remembered step is weighed down: a fall must not drown the rest."""
LEAST = 20
"""Remembered steps below which nothing is learned."""


class Memory(NamedTuple):
    """The last steps, each as a quadratic in the correction: its tracking error would have been e + G (c - sent)."""

    latent: Float[Array, "W Z"]
    sent: Float[Array, "W A"]
    slope: Float[Array, "W A"]
    curvature: Float[Array, "W A A"]


class LayeredState(NamedTuple):
    """The fast reflex's state, the network's, and the account of what the estimate leaves unexplained."""

    fast: FastReflexState
    controller: Controller
    optimiser: optax.OptState
    memory: Memory
    count: Int[Array, ""]
    excess: Float[Array, ""]
    reach: Float[Array, " 3"]
    """Averages of the squared error, of that where actions reach, and of what would be there by chance."""
    proof: Float[Array, " 2"]
    """Averages of the squared error without a correction, and of what the network's takes off it."""
    key: PRNGKeyArray


class Learned(NamedTuple):
    """What learning changes of a state."""

    controller: Controller
    optimiser: optax.OptState
    count: Int[Array, ""]


class LayeredReflex(eqx.Module):
    """A fast structured estimate and a slow network, behind the online-adapter contract."""

    fast: FastReflex
    config: LayeredConfig = eqx.field(static=True, default=LayeredConfig())

    @property
    def calibration(self) -> Calibration:
        """What is known of the healthy body."""
        return self.fast.calibration

    def _adam(self) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(self.config.learning_rate))

    def init(self, key: PRNGKeyArray) -> LayeredState:
        """The fast reflex, and a network whose correction is zero."""
        model, n = self.fast.agent.model, self.config.window
        actions = model.action_dim
        controller = _silent(Controller(model.latent_dim, actions, ReflexConfig(hidden=self.config.hidden), key=key))
        return LayeredState(
            self.fast.init(key),
            controller,
            self._adam().init(eqx.filter(controller, eqx.is_array)),
            Memory(
                jnp.zeros((n, model.latent_dim)),
                jnp.zeros((n, actions)),
                jnp.zeros((n, actions)),
                jnp.zeros((n, actions, actions)),
            ),
            jnp.zeros((), jnp.int32),
            jnp.zeros(()),
            jnp.zeros(3),
            jnp.zeros(2),
            key,
        )

    def act(self, state: LayeredState, obs: Float[Array, " O"], key: PRNGKeyArray) -> tuple[Command, LayeredState]:
        """The command whose estimated effect is base action plus correction, within the authority limit."""
        command, fast = self.fast.act(state.fast, obs, key)
        correction = self.openness(state) * self._correction(state.controller, self.fast.agent.model.encode(obs))
        correction = jnp.where(finite(correction), correction, 0.0)
        target = command.base + correction
        return Command(self.fast.reach(fast, target), command.base, target), state._replace(fast=fast)

    def observe(self, state: LayeredState, transition: Transition) -> tuple[LayeredState, Telemetry]:
        """The fast reflex's step; then one Adam step on remembered ones, if there is something left to explain."""
        fast, telemetry = self.fast.observe(state.fast, transition)
        level, config = self.fast.calibration.healthy_level, self.config
        step = jnp.minimum(telemetry.score / level, CAP) - 1
        excess = jnp.minimum(state.excess + (step - state.excess) / config.span, CEILING)
        latent = self.fast.agent.model.encode(transition.obs)
        base, target = transition.command.base, transition.command.target
        sent = jnp.zeros_like(base) if target is None else target - base
        square, slope, curvature = self._quadratic(transition)
        row = Memory(latent, sent, slope, curvature)
        reach = state.reach + (self._reach(state, transition) - state.reach) / config.span
        proof = state.proof + (self._prove(state, row, square) - state.proof) / config.span
        usable, place = transition.valid & finite(*row, excess, reach, proof), state.count % config.window
        keep = lambda ring, new: ring.at[place].set(jnp.where(usable, new, ring[place]))  # noqa: E731 - no whole copy
        new = state._replace(
            memory=jax.tree.map(keep, state.memory, row),
            count=state.count + 1,
            excess=excess,
            reach=reach,
            proof=proof,
        )
        return _pick(usable, self._learn(new), state._replace(memory=new.memory))._replace(fast=fast), telemetry

    def finish(self, state: LayeredState) -> LayeredState:
        """What was learned is kept over a reset."""
        return state._replace(fast=self.fast.finish(state.fast))

    def plant(self, state: LayeredState) -> tuple[Float[Array, "A A"], Float[Array, " A"]]:
        """The estimated action map: u = M a + d."""
        return self.fast.plant(state.fast)

    def doubt(self, state: LayeredState) -> LayeredState:
        """The state of a reflex that no longer trusts what it has learned: the gate is closed, gains are open."""
        return state._replace(
            fast=self.fast.doubt(state.fast),
            excess=jnp.zeros_like(state.excess),
            proof=jnp.zeros_like(state.proof),
        )

    def openness(self, state: LayeredState) -> Float[Array, ""]:
        """Share of the network's correction that is sent: 0 while there is nothing to learn, or nothing proven."""
        square, reached, by_chance = state.reach
        within = (reached - by_chance) / jnp.maximum(square, 1e-6)
        without, taken = state.proof
        proven = taken / jnp.maximum(within * without, 1e-6)
        return self._room(state) * faded_in(proven, self.config.proof)

    def _room(self, state: LayeredState) -> Float[Array, ""]:
        """How far there is something to learn: 0 while the fast estimate explains what happens, and where no action
        would take the error away.
        """
        square, reached, by_chance = state.reach
        share = (reached - by_chance) / jnp.maximum(square - by_chance, 1e-6)
        return faded_in(state.excess, self.config.gate) * faded_in(share, self.config.reach)

    def _correction(self, controller: PyTree, latent: Float[Array, "*B Z"]) -> Float[Array, "*B A"]:
        return jnp.clip(controller(latent), -self.config.limit, self.config.limit)

    def _reach(self, state: LayeredState, transition: Transition) -> Float[Array, " 3"]:
        """Squared error of this step that the fast estimate leaves, the part that the best action would have taken off,
        and what that would be of as large an error in any direction.
        """
        matrix, offset = self.fast.action_map(state.fast.theta)
        error, pull = self.fast.calibration.against(transition, matrix @ transition.command.action + offset)
        design = self.fast.calibration.whitening @ pull
        gram, score = design.T @ design, design.T @ error
        best = jnp.linalg.solve(gram + jnp.eye(len(gram)), jnp.column_stack([gram, score]))
        square, cap = jnp.mean(error**2), CAP * self.fast.calibration.healthy_level
        weight = jnp.minimum(1.0, cap / jnp.maximum(square, 1e-6))
        shares = jnp.stack([square, score @ best[:, -1] / len(error), square * jnp.trace(best[:, :-1]) / len(error)])
        return weight * shares

    def _prove(self, state: LayeredState, row: Memory, square: Float[Array, ""]) -> Float[Array, " 2"]:
        """Squared error of a step without a correction, and what today's, which has not seen the step, takes off it."""
        change = lambda more: 2 * row.slope @ more + more @ row.curvature @ more  # noqa: E731 - of the squared error
        without, left = change(-row.sent), change(self._correction(state.controller, row.latent) - row.sent)
        return jnp.stack([square + without, without - left])

    def _quadratic(self, transition: Transition) -> tuple[Float[Array, ""], Float[Array, " A"], Float[Array, "A A"]]:
        """Whitened squared error against a0's effect; gradient and curvature of half of it in the effective action."""
        known = self.fast.calibration
        error, pull = known.against(transition, transition.command.base)
        design = known.whitening @ pull
        weight = jnp.minimum(1.0, OUTLIER / jnp.maximum(jnp.mean(error**2), 1e-6))
        slope = design.T @ error - known.score_bias[:, -1]
        return weight * jnp.sum(error**2), weight * slope, weight * design.T @ design

    def _learn(self, state: LayeredState) -> LayeredState:
        """One Adam step where the gate is open; where it is closed the network falls silent and its memory empties."""
        improved = lambda s: self._improved(s)  # noqa: E731 - a module's own method cannot be hashed, which cond wants
        return state._replace(**jax.lax.cond(self._room(state) > 0, improved, _forgotten, state)._asdict())

    def _improved(self, state: LayeredState) -> Learned:
        config, key = self.config, jax.random.fold_in(state.key, state.count)
        pick = jax.random.randint(key, (config.batch,), 0, jnp.clip(state.count, 1, config.window))
        latent, sent, slope, curvature = (x[pick] for x in state.memory)

        def loss(controller: PyTree) -> Float[Array, ""]:
            # Not bounded like what is sent: at the bound there would be no gradient back.
            correction = controller(latent)
            more = correction - sent
            bend = jnp.einsum("bi,bij,bj->b", more, curvature, more) + config.ridge * jnp.sum(correction**2, -1)
            return jnp.mean(jnp.sum(slope * more, -1) + 0.5 * bend)

        updates, optimiser = self._adam().update(eqx.filter_grad(loss)(state.controller), state.optimiser)
        controller = eqx.apply_updates(state.controller, updates)
        good = (state.count >= LEAST) & finite(*jax.tree.leaves(controller))
        before = Learned(state.controller, state.optimiser, state.count)
        return _pick(good, Learned(controller, optimiser, state.count), before)


def _forgotten(state: LayeredState) -> Learned:
    nothing = jax.tree.map(jnp.zeros_like, state.optimiser)
    return Learned(_silent(state.controller), nothing, jnp.zeros_like(state.count))


def _silent(controller: Controller) -> Controller:
    """The same features, and no correction."""
    last = lambda c: (c.weights[-1], c.biases[-1])  # noqa: E731
    return eqx.tree_at(last, controller, tuple(jnp.zeros_like(x) for x in last(controller)))


def _pick(which: Bool[Array, ""], yes: PyTree, no: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(which, a, b), yes, no)
