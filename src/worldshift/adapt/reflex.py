"""RWM's reflex, paper mode: a controller on the latent, one Adam step an episode, driven by the tracking error alone.

Reflexive World Models (arXiv 2505.15589), eq. 2-4 and horizon 3. The gradient of the multi-step prediction loss with
respect to the *base* action reaches the controller negated; nothing else learns and no reward is read.
Deviation: corrections that would leave the authority limit get no gradient outwards (anti-windup, not in the paper).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

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
from worldshift.models.latent import WorldModel
from worldshift.models.onestep import InSteps


@dataclass(frozen=True)
class ReflexConfig:
    """The paper's settings but for the step size, which does not carry over from one latent size to another."""

    hidden: int = 512
    """Units in each of the two hidden ReLU layers."""
    output_gain: float = 1e-3
    """Xavier gain of the last layer: the correction starts at almost nothing."""
    learning_rate: float = 1e-3
    """The paper has 3e-4 for a latent of 512."""
    epsilon: float = 1e-8
    """Adam's own. 1e-5 of the first author's code is of the size of its gradients, which shrink with the latent."""
    horizon: int = 3
    rho: float = 0.5
    authority: float = 2.0
    """Bound on the total command, in units of the base range."""
    sees: Literal["latent", "latent and action", "action"] = "latent"
    """What the correction is a function of: the latent (as published), the base action as well, or the base action
    alone, k * a0 + b, which is exact for gains."""
    every: int | None = None
    """Agent steps between Adam steps, each on the last `window` transitions; None: one at an episode's end."""
    window: int = 16
    ridge: float | None = None
    """Gauss-Newton: the gradient of a step is divided by JᵀJ, with this share of its mean on the diagonal; None: the
    plain gradient, whose slowest direction is as slow as J is badly conditioned."""


PUBLISHED = ReflexConfig(learning_rate=3e-4, epsilon=1e-5)
"""The constants of the paper and of its first author's code."""


class Controller(eqx.Module):
    """Two hidden ReLU layers and a linear output: the correction as a function of the latent."""

    weights: tuple[Float[Array, "I O"], ...]
    biases: tuple[Float[Array, " O"], ...]

    def __init__(self, latent: int, actions: int, config: ReflexConfig, *, key: PRNGKeyArray):
        sizes = (latent, config.hidden, config.hidden, actions)
        gains = (None, None, config.output_gain)
        self.weights = tuple(
            0.02 * jax.random.truncated_normal(k, -2, 2, (i, o))
            if gain is None
            else gain * jax.random.uniform(k, (i, o), minval=-1, maxval=1) * jnp.sqrt(6 / (i + o))
            for k, i, o, gain in zip(jax.random.split(key, 3), sizes[:-1], sizes[1:], gains, strict=True)
        )
        self.biases = tuple(jnp.zeros(o) for o in sizes[1:])

    def __call__(self, z: Float[Array, "*B Z"]) -> Float[Array, "*B A"]:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            z = jax.nn.relu(z @ weight + bias)
        return z @ self.weights[-1] + self.biases[-1]


class Gains(eqx.Module):
    """k * a0 + b: two numbers an actuator."""

    gain: Float[Array, " A"]
    offset: Float[Array, " A"]

    def __call__(self, base: Float[Array, "*B A"]) -> Float[Array, "*B A"]:
        return self.gain * base + self.offset


class ReflexState(NamedTuple):
    """Controller, its optimiser, and the episode so far."""

    controller: Controller | Gains
    optimiser: optax.OptState
    memory: Float[Array, "1 H A"]
    latents: Float[Array, "T1 Z"]
    bases: Float[Array, "T A"]
    steps: Int[Array, ""]
    seen: Float[Array, "T1 S"] | None
    """The episode so far where errors are measured, if that is not in the agent's latent."""


def action_gradient(
    model: WorldModel | InSteps,
    latents: Float[Array, "T1 Z"],
    bases: Float[Array, "T A"],
    steps: Int[Array, ""] | int,
    horizon: int,
    rho: float,
) -> tuple[Float[Array, ""], Float[Array, "T A"]]:
    """Multi-step tracking loss of an episode and its gradient with respect to each base action.

    Window s starts at the visited latent z_s and rolls `horizon` predictions under the recorded base actions; windows
    that reach beyond `steps` do not count.
    """
    count = bases.shape[0] - horizon + 1

    def loss(delta: Float[Array, "T A"]) -> Float[Array, ""]:
        z, total = latents[:count], jnp.zeros(())
        whole = (jnp.arange(count) + horizon <= steps)[:, None]
        for i in range(horizon):
            z = model.predict(z, bases[i : i + count] + delta[i : i + count])
            error = jnp.where(whole, (z - latents[i + 1 : i + 1 + count]) ** 2, 0.0)
            total += rho**i * jnp.sum(error) / (jnp.maximum(jnp.sum(whole), 1) * latents.shape[-1])
        return total / horizon

    return jax.value_and_grad(loss)(jnp.zeros_like(bases))


class Reflex(eqx.Module):
    """RWM as published, behind the online-adapter contract."""

    agent: Agent
    episode_steps: int = eqx.field(static=True)
    config: ReflexConfig = eqx.field(static=True, default=ReflexConfig())
    reference: InSteps | None = None
    """Errors are measured against its predictions; by default against those of the agent's own world model."""

    def _adam(self) -> optax.GradientTransformation:
        return optax.adam(self.config.learning_rate, eps=self.config.epsilon)

    def init(self, key: PRNGKeyArray) -> ReflexState:
        """A controller whose correction is almost zero."""
        model, steps, actions = self.agent.model, self.episode_steps, self.agent.model.action_dim
        if self.config.sees == "action":
            controller: Controller | Gains = Gains(jnp.zeros(actions), jnp.zeros(actions))
        else:
            inputs = model.latent_dim + (actions if self.config.sees == "latent and action" else 0)
            controller = Controller(inputs, actions, self.config, key=key)
        return ReflexState(
            controller,
            self._adam().init(eqx.filter(controller, eqx.is_array)),
            self.agent.init_memory(1),
            jnp.zeros((steps + 1, model.latent_dim)),
            jnp.zeros((steps, model.action_dim)),
            jnp.zeros((), jnp.int32),
            None if self.reference is None else jnp.zeros((steps + 1, self.reference.latent_dim)),
        )

    def act(self, state: ReflexState, obs: Float[Array, " O"], key: PRNGKeyArray) -> tuple[Command, ReflexState]:
        """Base action plus the controller's correction, within the authority limit; the base action if not finite."""
        base, memory = base_action(self.agent, state.memory, obs, key)
        total = base + self._correct(state.controller, self.agent.model.encode(obs), base)
        action = jnp.clip(jnp.where(finite(total), total, base), -self.config.authority, self.config.authority)
        return Command(action, base), state._replace(memory=memory)

    def observe(self, state: ReflexState, transition: Transition) -> tuple[ReflexState, Telemetry]:
        """Remembers the step; nothing is learned before the episode ends, unless `every` asks for it."""
        encode, t = self.agent.model.encode, state.steps
        z, next_z = encode(transition.obs), encode(transition.next_obs)
        usable = transition.valid & finite(z) & finite(next_z)
        keep = lambda new, old: jnp.where(usable, new, old)  # noqa: E731
        state = state._replace(
            latents=keep(state.latents.at[t].set(z).at[t + 1].set(next_z), state.latents),
            bases=keep(state.bases.at[t].set(transition.command.base), state.bases),
            steps=keep(t + 1, t),
            seen=self._see(state, transition, usable),
        )
        if self.config.every is not None:
            state = self._learn_on_the_way(state, self.config.every)
        command = transition.command
        telemetry = quiet(len(command.base))._replace(
            error=control_error(self.agent.model, transition),
            correction=correction_share(command),
            guarded=~(finite(transition.obs) & finite(transition.next_obs)),
        )
        return state, telemetry

    def finish(self, state: ReflexState) -> ReflexState:
        """The episode's one Adam step (RWM eq. 4)."""
        if self.config.every is None:
            state = self._learn(state, state.latents, state.seen, state.bases, state.steps)
        return state._replace(memory=jnp.zeros_like(state.memory), steps=jnp.zeros_like(state.steps))

    def _see(self, state: ReflexState, transition: Transition, usable: Bool[Array, ""]) -> Float[Array, "T1 S"] | None:
        """Remembers the step where errors are measured."""
        if self.reference is None or state.seen is None:
            return None
        here, there = self.reference.encode(transition.obs), self.reference.encode(transition.next_obs)
        return jnp.where(usable, state.seen.at[state.steps].set(here).at[state.steps + 1].set(there), state.seen)

    def _correct(self, controller: PyTree, z: Float[Array, "*B Z"], base: Float[Array, "*B A"]) -> Float[Array, "*B A"]:
        if self.config.sees == "latent":
            return controller(z)
        return controller(base if self.config.sees == "action" else jnp.concatenate([z, base], -1))

    def _learn_on_the_way(self, state: ReflexState, every: int) -> ReflexState:
        """An Adam step on the last window, where it is time for one."""
        window = min(self.config.window, self.episode_steps)

        def learn(state: ReflexState) -> ReflexState:
            begin = jnp.maximum(state.steps - window, 0)
            stretch = lambda x, length: jax.lax.dynamic_slice_in_dim(x, begin, length)  # noqa: E731
            latents, bases = stretch(state.latents, window + 1), stretch(state.bases, window)
            seen = None if state.seen is None else stretch(state.seen, window + 1)
            return self._learn(state, latents, seen, bases, jnp.minimum(state.steps, window))

        return where_due(learn, (state.steps > 0) & (state.steps % every == 0), state)

    def _learn(
        self,
        state: ReflexState,
        latents: Float[Array, "T1 Z"],
        seen: Float[Array, "T1 S"] | None,
        bases: Float[Array, "T A"],
        steps: Int[Array, ""],
    ) -> ReflexState:
        """One Adam step of the controller against the negated gradient of the base actions."""
        config, model = self.config, self.reference or self.agent.model
        felt = latents if seen is None else seen
        _, gradient = action_gradient(model, felt, bases, steps, config.horizon, config.rho)
        if config.ridge is not None:
            gradient = precondition(model, felt[:-1], bases, gradient, config.ridge)

        def surrogate(controller: PyTree) -> Float[Array, ""]:
            correction = self._correct(controller, latents[:-1], bases)
            total = bases + correction
            outwards = (jnp.abs(total) >= config.authority) & (gradient * total > 0)
            return -jnp.sum(jax.lax.stop_gradient(jnp.where(outwards, 0.0, gradient)) * correction)

        grads = eqx.filter_grad(surrogate)(state.controller)
        updates, optimiser = self._adam().update(grads, state.optimiser)
        controller = eqx.apply_updates(state.controller, updates)
        learned = (steps >= config.horizon) & finite(*jax.tree.leaves(controller))
        pick = lambda new, old: jax.tree.map(lambda n, o: jnp.where(learned, n, o), new, old)  # noqa: E731
        return state._replace(controller=pick(controller, state.controller), optimiser=pick(optimiser, state.optimiser))


def where_due(learn: Callable[[PyTree], PyTree], due: Bool[Array, ""], state: PyTree) -> PyTree:
    """`learn(state)` if it is due, else the state. Bodies side by side skip it together while it is due for none.

    Under a plain vmap a conditional is a choice between two results, and both would be worked out at every step.
    """

    @jax.custom_batching.custom_vmap
    def alone(due: Array, state: PyTree) -> PyTree:
        return jax.lax.cond(due, learn, lambda state: state, state)

    @alone.def_vmap
    def _(size: int, batched: PyTree, due: Array, state: PyTree) -> tuple[PyTree, PyTree]:
        spread = lambda x, own: x if own else jnp.broadcast_to(x, (size, *x.shape))  # noqa: E731
        due, state = jax.tree.map(spread, (due, state), tuple(batched))
        chosen = jax.vmap(lambda d, s: jax.tree.map(lambda new, old: jnp.where(d, new, old), learn(s), s))
        learned = jax.lax.cond(due.any(), chosen, lambda _, state: state, due, state)
        return learned, jax.tree.map(lambda _: True, learned)

    return alone(due, state)


def precondition(
    model: WorldModel | InSteps,
    latents: Float[Array, "T Z"],
    bases: Float[Array, "T A"],
    gradient: Float[Array, "T A"],
    ridge: float,
) -> Float[Array, "T A"]:
    """(JᵀJ + ridge mean(diag JᵀJ) I)⁻¹ gradient, J = dF/da at each step: every direction is corrected as fast."""

    def one(z: Array, base: Array, g: Array) -> Array:
        jacobian = jax.jacfwd(lambda a: model.predict(z, a))(base)
        gram = jacobian.T @ jacobian
        return jnp.linalg.solve(gram + (ridge * jnp.trace(gram) / len(g) + 1e-12) * jnp.eye(len(g)), g)

    return jax.vmap(one)(latents, bases, gradient)
