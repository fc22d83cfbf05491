"""An untrained agent that moves, and a linear plant with an agent, a model and a calibration that know it exactly."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.adapt.contract import Transition
from worldshift.adapt.fast_reflex import STRUCTURES, Calibration
from worldshift.agents.agent import Agent
from worldshift.models.latent import Policy, WorldModel
from worldshift.models.onestep import OneStep

OBS, ACTIONS, NOISE = 6, 3, 0.02
PUSH = jnp.asarray(0.3 * np.random.default_rng(0).normal(size=(ACTIONS, OBS)), jnp.float32)


class LinearModel(WorldModel):
    """Latent = observation, z' = z + a @ push; the policy swings, about `lean`."""

    push: jax.Array
    lean: float = eqx.field(static=True)

    def __init__(self, push: jax.Array, lean: float = 0.0):
        super().__init__(push.shape[1], push.shape[0], size=1, key=jax.random.key(0))
        self.latent_dim, self.push, self.lean = push.shape[1], push, lean

    def encode(self, obs):
        return obs

    def predict(self, z, action):
        return z + action @ self.push

    def mean_action(self, z):
        x = z @ jnp.linalg.pinv(self.push)
        return self.lean + (0.9 - abs(self.lean)) * jnp.sin(7.0 * x + jnp.arange(self.action_dim))

    def policy(self, z, key):
        mean = self.mean_action(z)
        return Policy(mean, mean, jnp.zeros(z.shape[:-1]))


class ExactOneStep(OneStep):
    """Knows z' = z + a @ push + noise, but for a constant that it is wrong by."""

    push: jax.Array
    wrong: jax.Array
    log_std: float = eqx.field(static=True)

    def __init__(self, push: jax.Array, wrong: jax.Array | float, noise: float):
        blank = jnp.zeros((2, push.shape[1]))
        super().__init__(blank, blank, push.shape[0], width=8, key=jax.random.key(0))
        self.push, self.wrong = push, jnp.broadcast_to(jnp.asarray(wrong), push.shape[1])
        self.change_std, self.log_std = jnp.ones(push.shape[1]), float(np.log(noise))

    def change(self, obs, action):
        mean = action @ self.push + self.wrong
        return mean, jnp.full_like(mean, self.log_std)

    def linearise(self, obs, action):
        mean, log_std = self.change(obs, action)
        return mean, self.push.T, log_std


class Life(NamedTuple):
    """What a body lived through, time first."""

    action: np.ndarray
    base: np.ndarray
    target: np.ndarray
    plant: np.ndarray
    after: np.ndarray
    telemetry: Any
    states: Any
    last: Any
    """The state after the last step."""

    def actuation_error(self, wrong: np.ndarray) -> np.ndarray:
        """Norm of the action still wrong at the plant over the norm of `wrong`, the wrong that the fault does."""
        return np.linalg.norm(self.plant - self.base, axis=-1) / np.linalg.norm(wrong, axis=-1).mean()


def _live(
    adapter: Any,
    matrix: Any,
    offset: Any = 0.0,
    *,
    steps: int,
    state: Any = None,
    noise: float = NOISE,
    seed: int = 0,
    push: jax.Array = PUSH,
    invalid: Any = (),
    along: Life | None = None,
) -> Life:
    """Steps of the plant z' = z + (M a + d) @ push + noise; `matrix` and `offset` may change in time.

    `along`: the plant goes where it went in that life, whatever is commanded. What two adapters answer to the same
    can be compared so; on paths of their own, the last bit of a rounding grows without bound.
    """
    actions = push.shape[0]
    matrices = jnp.broadcast_to(jnp.asarray(matrix, jnp.float32), (steps, actions, actions))
    offsets = jnp.broadcast_to(jnp.asarray(offset, jnp.float32), (steps, actions))
    valid = jnp.ones(steps, bool).at[jnp.asarray(invalid, jnp.int32)].set(False)
    keys = jax.random.split(jax.random.key(seed), steps)
    start = adapter.init(jax.random.key(seed)) if state is None else state
    path = jnp.full((steps, push.shape[1]), jnp.nan) if along is None else jnp.asarray(along.after[:steps])

    @jax.jit
    def whole(start, matrices, offsets, valid, path, keys):
        def step(carry, inputs):
            state, z = carry
            m, d, ok, led, key = inputs
            command, state = adapter.act(state, z, key)
            plant = jnp.clip(command.action, -2, 2) @ m.T + d
            after = z + plant @ push + noise * jax.random.normal(key, z.shape)
            after = jnp.where(jnp.isnan(led), after, led)
            zero = jnp.zeros(())
            state, telemetry = adapter.observe(state, Transition(z, command, after, ok, zero, zero > 1))
            command = command._replace(target=command.base if command.target is None else command.target)
            return (state, after), (command, plant, after, telemetry, state)

        return jax.lax.scan(step, (start, jnp.zeros(push.shape[1])), (matrices, offsets, valid, path, keys))

    (last, _), (command, plant, after, telemetry, states) = whole(start, matrices, offsets, valid, path, keys)
    return Life(*map(np.asarray, (*command, plant, after)), telemetry, states, last)


@pytest.fixture(scope="session")
def live() -> Callable[..., Life]:
    """Lets an adapter live on the linear plant."""
    return _live


@pytest.fixture(scope="session")
def linear_agent() -> Callable[..., Agent]:
    """Agents of the linear plant; `lean` is their mean action."""
    return lambda lean=0.0, push=PUSH: Agent(LinearModel(push, lean))


@pytest.fixture(scope="session")
def exact() -> Callable[..., Calibration]:
    """Calibrations that know the linear plant: `wrong` is the model's constant error."""

    def build(threshold=1e9, wrong=0.0, score_bias=None, noise=NOISE, push=PUSH) -> Calibration:
        actions, obs = push.shape
        return Calibration(
            model=ExactOneStep(push, wrong, noise),
            whitening=jnp.eye(obs),
            score_bias=jnp.zeros((actions, actions + 1)) if score_bias is None else jnp.asarray(score_bias),
            healthy_level=jnp.ones(()),
            inflation=jnp.ones(()),
            threshold=jnp.full(len(STRUCTURES), threshold),
        )

    return build


@pytest.fixture(scope="session")
def agent() -> Agent:
    """An untrained agent of size 1 (6 observations, 3 actions) whose actions are anything but zero."""
    model = WorldModel(OBS, ACTIONS, size=1, key=jax.random.key(3))
    return Agent(eqx.tree_at(lambda m: m.policy_head.last.weight, model, replace_fn=lambda w: 8 * w))
