"""Rapid motor adaptation (RMA, Kumar et al., arXiv 2107.04034): the latest steps say which body this is.

An encoder that was trained on bodies whose gains were known reads the last steps and says what the actuators do; the
policy acts on that. Deviations: the context is the gains themselves, and in place of a policy that is trained on them
stands the best that there is, the frozen policy with the gains undone, as the oracle does it. What is compared with a
reflex is then how the change is found out: by an encoder that has seen its kind before, or by a tracking error.
"""

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PRNGKeyArray, PyTree

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
from worldshift.nn import Linear


@dataclass(frozen=True)
class ContextConfig:
    """The encoder's size and its training; the bodies that it learns from are the caller's.

    Tuned on a walker with ten draws of gains that no study uses, eight settings (window 16, 32, 64; features 32, 64,
    128, but for the largest of both), by the reward under the fault.
    """

    window: int = 32
    """Agent steps that it reads (RMA: 50, half a second)."""
    features: int = 128
    updates: int = 8_000
    batch: int = 256
    learning_rate: float = 1e-3
    seed: int = 0


class Rehearsal(NamedTuple):
    """Steps of N bodies side by side, in time order, whose gains are known."""

    obs: Float[np.ndarray, "N T O"]
    action: Float[np.ndarray, "N T A"]  # the command
    next_obs: Float[np.ndarray, "N T O"]
    gains: Float[np.ndarray, "N T A"]


Layers = tuple[Linear, Linear, Linear, Linear]


class ContextEncoder(eqx.Module):
    """The last steps in, the actuators' gains out: a map of each step, then convolutions over time, as in RMA."""

    layers: Layers
    obs_mean: Float[Array, " O"]
    obs_std: Float[Array, " O"]
    change_std: Float[Array, " O"]
    window: int = eqx.field(static=True)

    def __init__(
        self,
        obs: Float[Array, "N T O"],
        change: Float[Array, "N T O"],
        action_dim: int,
        config: ContextConfig,
        *,
        key: PRNGKeyArray,
    ):
        """Untrained, which says that nothing is wrong; normalised by the statistics of `obs` and of `change`.

        Raises:
            ValueError: the window is not a multiple of 4 steps, or less than 8.
        """
        if config.window % 4 or config.window < 8:
            raise ValueError(f"the window must be a multiple of 4 agent steps, at least 8, and is {config.window}.")
        n, keys = config.features, jax.random.split(key, 4)
        sizes = (
            (2 * obs.shape[-1] + action_dim + 1, n),
            (4 * n, n),
            (2 * n, n),
            ((config.window // 4 - 1) * n, action_dim),
        )
        embed, early, late, head = (
            Linear.create(*size, key=k, scale=None) for size, k in zip(sizes, keys, strict=True)
        )
        self.layers = embed, early, late, jax.tree.map(jnp.zeros_like, head)
        floor = lambda x: jnp.maximum(jnp.std(x, axis=(0, 1)), 1e-3)  # noqa: E731 - a constant channel
        self.obs_mean, self.obs_std, self.change_std = jnp.mean(obs, axis=(0, 1)), floor(obs), floor(change)
        self.window = config.window

    def row(self, obs: Float[Array, " O"], action: Float[Array, " A"], next_obs: Float[Array, " O"]) -> Array:
        """What it reads of one step; zeros stand for a step that was not."""
        seen = jnp.clip((obs - self.obs_mean) / self.obs_std, -10, 10)
        change = jnp.clip((next_obs - obs) / self.change_std, -10, 10)
        return jnp.concatenate([seen, change, action, jnp.ones(1)])

    def __call__(self, rows: Float[Array, "W R"]) -> Float[Array, " A"]:
        """Gains, from steps in time order."""
        embed, early, late, head = self.layers
        steps = jax.nn.silu(embed(rows))
        fours = jax.nn.silu(early(steps.reshape(len(steps) // 4, -1)))
        eights = jax.nn.silu(late(jnp.concatenate([fours[:-1], fours[1:]], -1)))
        return 1 + head(eights.reshape(-1))


class ContextState(NamedTuple):
    """The latest steps as the encoder reads them, what it made of them, and the planner's memory."""

    rows: Float[Array, "W R"]
    gain: Float[Array, " A"]
    memory: Float[Array, "1 H A"]


class ContextPolicy(eqx.Module):
    """The frozen policy, with the gains undone that an encoder reads from the last steps: an online adapter."""

    agent: Agent
    encoder: ContextEncoder
    limits: tuple[float, float] = eqx.field(static=True, default=(0.4, 2.0))
    """The gains that are believed."""
    authority: float = eqx.field(static=True, default=2.0)
    """Bound on the total command, in units of the base range."""

    def init(self, key: PRNGKeyArray) -> ContextState:
        """Nothing has been seen."""
        model = self.agent.model
        rows = jnp.zeros((self.encoder.window, 2 * model.obs_dim + model.action_dim + 1))
        return ContextState(rows, jnp.ones(model.action_dim), self.agent.init_memory(1))

    def act(self, state: ContextState, obs: Float[Array, " O"], key: PRNGKeyArray) -> tuple[Command, ContextState]:
        """The base action over the gains, within the authority limit."""
        base, memory = base_action(self.agent, state.memory, obs, key)
        action = jnp.clip(base / state.gain, -self.authority, self.authority)
        return Command(action, base), state._replace(memory=memory)

    def observe(self, state: ContextState, transition: Transition) -> tuple[ContextState, Telemetry]:
        """Reads one more step."""
        row = self.encoder.row(transition.obs, transition.command.action, transition.next_obs)
        rows = jnp.roll(state.rows, -1, 0).at[-1].set(row)
        gain = jnp.clip(self.encoder(rows), *self.limits)
        usable = transition.valid & finite(transition.obs, transition.next_obs, rows, gain)
        rows, gain = jnp.where(usable, rows, state.rows), jnp.where(usable, gain, state.gain)
        telemetry = quiet(len(gain))._replace(
            error=control_error(self.agent.model, transition),
            gain=gain,
            correction=correction_share(transition.command),
            guarded=~finite(transition.obs, transition.next_obs),
        )
        return state._replace(rows=rows, gain=gain), telemetry

    def finish(self, state: ContextState) -> ContextState:
        """What was seen is kept over a reset: it is the same body; the planner starts from scratch."""
        return state._replace(memory=jnp.zeros_like(state.memory))


def fit_context(
    rehearsal: Rehearsal, config: ContextConfig = ContextConfig(), encoder: ContextEncoder | None = None
) -> ContextEncoder:
    """An encoder trained by regression on the known gains, from scratch or going on from `encoder`.

    Some windows begin late, so that it learns to say little where it has seen little.
    """
    k_encoder, k_fit = jax.random.split(jax.random.key(config.seed))
    obs, action, next_obs, gains = (jnp.asarray(x, jnp.float32) for x in rehearsal)
    if encoder is None:
        encoder = ContextEncoder(obs, next_obs - obs, action.shape[-1], config, key=k_encoder)
    window = encoder.window
    rows = jnp.pad(jax.vmap(jax.vmap(encoder.row))(obs, action, next_obs), ((0, 0), (window - 1, 0), (0, 0)))
    adam = optax.adam(optax.cosine_decay_schedule(config.learning_rate, max(1, config.updates)))

    def loss(layers: Layers, key: PRNGKeyArray) -> Float[Array, ""]:
        bounds = jnp.asarray([*gains.shape[:2], 10, window])[:, None]
        body, time, tenth, start = jax.random.randint(key, (4, config.batch), 0, bounds)
        cut = jnp.where(tenth == 0, start, 0)
        read = jax.vmap(lambda n, t: jax.lax.dynamic_slice_in_dim(rows[n], t, window))(body, time)
        read = jnp.where((jnp.arange(window) >= cut[:, None])[..., None], read, 0.0)
        told = jax.vmap(_with(encoder, layers))(read)
        return jnp.mean((told - gains[body, time]) ** 2)

    @jax.jit
    def many(layers: Layers, state: optax.OptState, keys: Key[Array, " U"]) -> tuple[PyTree, optax.OptState]:
        def step(carry: PyTree, key: PRNGKeyArray) -> tuple[PyTree, None]:
            layers, state = carry
            updates, state = adam.update(jax.grad(loss)(layers, key), state)
            return (optax.apply_updates(layers, updates), state), None

        return jax.lax.scan(step, (layers, state), keys)[0]

    layers: PyTree = encoder.layers
    state = adam.init(layers)
    keys = jax.random.split(jax.random.fold_in(k_fit, obs.shape[1]), config.updates)
    for some in jnp.array_split(keys, -(-config.updates // 200)) if config.updates else ():
        layers, state = many(layers, state, some)
    return _with(encoder, layers)


def _with(encoder: ContextEncoder, layers: Layers) -> ContextEncoder:
    return eqx.tree_at(lambda e: e.layers, encoder, layers)
