"""RWM's reflex, paper mode: a controller on the latent, one Adam step an episode, driven by the tracking error alone.

Reflexive World Models (arXiv 2505.15589), eq. 2-4 and horizon 3. The gradient of the multi-step prediction loss with
respect to the *base* action reaches the controller negated; nothing else learns and no reward is read.
Deviation: corrections that would leave the authority limit get no gradient outwards (anti-windup, not in the paper).
"""

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from worldshift.adapt.contract import Command, Telemetry, Transition, control_error, correction_share, finite, quiet
from worldshift.agents.agent import Agent
from worldshift.models.latent import WorldModel


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


class ReflexState(NamedTuple):
    """Controller, its optimiser, and the episode so far."""

    controller: Controller
    optimiser: optax.OptState
    memory: Float[Array, "1 H A"]
    latents: Float[Array, "T1 Z"]
    bases: Float[Array, "T A"]
    steps: Int[Array, ""]


def action_gradient(
    model: WorldModel,
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

    def _adam(self) -> optax.GradientTransformation:
        return optax.adam(self.config.learning_rate, eps=self.config.epsilon)

    def init(self, key: PRNGKeyArray) -> ReflexState:
        """A controller whose correction is almost zero."""
        model, steps = self.agent.model, self.episode_steps
        controller = Controller(model.latent_dim, model.action_dim, self.config, key=key)
        return ReflexState(
            controller,
            self._adam().init(eqx.filter(controller, eqx.is_array)),
            self.agent.init_memory(1),
            jnp.zeros((steps + 1, model.latent_dim)),
            jnp.zeros((steps, model.action_dim)),
            jnp.zeros((), jnp.int32),
        )

    def act(self, state: ReflexState, obs: Float[Array, " O"], key: PRNGKeyArray) -> tuple[Command, ReflexState]:
        """Base action plus the controller's correction, within the authority limit; the base action if not finite."""
        base, memory = self.agent.act(state.memory, obs[None], key)
        base = jnp.where(jnp.isfinite(base[0]), base[0], 0.0)
        total = base + state.controller(self.agent.model.encode(obs))
        action = jnp.clip(jnp.where(finite(total), total, base), -self.config.authority, self.config.authority)
        return Command(action, base), state._replace(memory=memory)

    def observe(self, state: ReflexState, transition: Transition) -> tuple[ReflexState, Telemetry]:
        """Remembers the step; nothing is learned before the episode ends."""
        encode, t = self.agent.model.encode, state.steps
        z, next_z = encode(transition.obs), encode(transition.next_obs)
        usable = transition.valid & finite(z) & finite(next_z)
        keep = lambda new, old: jnp.where(usable, new, old)  # noqa: E731
        state = state._replace(
            latents=keep(state.latents.at[t].set(z).at[t + 1].set(next_z), state.latents),
            bases=keep(state.bases.at[t].set(transition.command.base), state.bases),
            steps=keep(t + 1, t),
        )
        command = transition.command
        telemetry = quiet(len(command.base))._replace(
            error=control_error(self.agent.model, transition),
            correction=correction_share(command),
            guarded=~(finite(transition.obs) & finite(transition.next_obs)),
        )
        return state, telemetry

    def finish(self, state: ReflexState) -> ReflexState:
        """The episode's one Adam step (RWM eq. 4)."""
        config = self.config
        _, gradient = action_gradient(
            self.agent.model, state.latents, state.bases, state.steps, config.horizon, config.rho
        )

        def surrogate(controller: PyTree) -> Float[Array, ""]:
            correction = controller(state.latents[:-1])
            total = state.bases + correction
            outwards = (jnp.abs(total) >= config.authority) & (gradient * total > 0)
            return -jnp.sum(jax.lax.stop_gradient(jnp.where(outwards, 0.0, gradient)) * correction)

        grads = eqx.filter_grad(surrogate)(state.controller)
        updates, optimiser = self._adam().update(grads, state.optimiser)
        controller = eqx.apply_updates(state.controller, updates)
        learned = (state.steps >= config.horizon) & finite(*jax.tree.leaves(controller))
        pick = lambda new, old: jax.tree.map(lambda n, o: jnp.where(learned, n, o), new, old)  # noqa: E731
        return state._replace(
            controller=pick(controller, state.controller),
            optimiser=pick(optimiser, state.optimiser),
            memory=jnp.zeros_like(state.memory),
            steps=jnp.zeros_like(state.steps),
        )
