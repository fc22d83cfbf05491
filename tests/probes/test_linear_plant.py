"""RWM's law where the answer is known: the linear plant z' = z + B (1 + p) a, with a model that knows B.

The correction must go to -p/(1+p) a0 and the error to zero; with the sign flipped it must diverge. The law without a
network is stable below 2 / λ_max of G^½ JᵀJ G^½ only, and leaves the share 1 - m of the error that no action reaches.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.adapt.contract import Transition
from worldshift.adapt.reflex import Reflex, ReflexConfig, action_gradient
from worldshift.agents.agent import Agent
from worldshift.models.latent import WorldModel

EPISODE, EPISODES = 24, 800
GAINS = jnp.array([0.6, 1.4])
RNG = np.random.default_rng(0)
PUSH = jnp.asarray(0.5 * np.linalg.qr(RNG.normal(size=(4, 2)))[0].T, jnp.float32)


class Linear(WorldModel):
    """Latent = observation, F(z, a) = z + a B. The base policy drives the plant round in circles."""

    push: jax.Array

    def __init__(self, push):
        super().__init__(push.shape[1], push.shape[0], size=1, key=jax.random.key(0))
        self.latent_dim, self.push = push.shape[1], push

    def encode(self, obs):
        return obs

    def predict(self, z, action):
        return z + action @ self.push

    def mean_action(self, z):
        x, y = jnp.moveaxis(z @ jnp.linalg.pinv(self.push), -1, 0)
        return 0.7 * jnp.stack([-y, x], -1) / jnp.sqrt(0.1 + x**2 + y**2)[..., None]


def adapted(learning_rate: float):
    """Lives through episodes with the gains `GAINS`; returns base and plant actions of each, (episodes, T, A)."""
    reflex = Reflex(
        Agent(Linear(PUSH)),
        EPISODE,
        ReflexConfig(hidden=64, learning_rate=learning_rate, epsilon=1e-8, authority=50.0),
    )

    def one_episode(state, key):
        def step(carry, _):
            state, z = carry
            command, state = reflex.act(state, z, key)
            after, zero = z + (GAINS * command.action) @ PUSH, jnp.zeros(())
            state, telemetry = reflex.observe(state, Transition(z, command, after, zero < 1, zero, zero > 1))
            return (state, after), (command, telemetry.error)

        z = jax.random.normal(key, (4,))
        (state, _), lived = jax.lax.scan(step, (state, z), length=EPISODE)
        return reflex.finish(state), lived

    keys = jax.random.split(jax.random.key(0), EPISODES)
    _, (command, error) = jax.jit(lambda s: jax.lax.scan(one_episode, s, keys))(reflex.init(jax.random.key(1)))
    return np.asarray(command.base), np.asarray(command.action), np.asarray(error).mean(1)


def test_the_correction_converges_and_the_error_vanishes():
    base, action, error = adapted(learning_rate=3e-3)
    correction, ideal = (action - base)[-20:], ((1 / GAINS - 1) * base)[-20:]
    assert np.linalg.norm(correction - ideal) < 0.15 * np.linalg.norm(ideal)
    assert error[-20:].mean() < 0.03 * error[0]


def test_with_the_sign_flipped_it_diverges():
    base, action, error = adapted(learning_rate=-3e-3)
    ideal = (1 / GAINS - 1) * base
    assert np.sum((action - base)[-20:] * ideal[-20:]) < 0, "the correction points the wrong way"
    assert error[-20:].mean() > 10 * error[0]


# The law without a network: the correction of a state is moved by -η Jᵀe.

MODEL = Linear(jnp.asarray(RNG.normal(size=(6, 32)) / np.sqrt(32), jnp.float32))
SPREAD = np.diag(RNG.uniform(0.5, 1.5, 6))
CURVATURE = SPREAD**0.5 @ np.asarray(MODEL.push @ MODEL.push.T) @ SPREAD**0.5
LARGEST = float(np.linalg.eigvalsh(CURVATURE)[-1])
BASE = jnp.asarray(RNG.uniform(-1, 1, 6), jnp.float32)


def integrated(eta: float, wind: np.ndarray | float = 0.0, steps: int = 2000):
    """Distance to the ideal correction and tracking error after each update, by the library's own gradient."""
    gains, ideal = jnp.diagonal(jnp.asarray(SPREAD, jnp.float32)), (1 / np.diagonal(SPREAD) - 1) * BASE

    def update(correction, _):
        z = jnp.zeros(32)
        after = MODEL.predict(z, gains * (BASE + correction)) + jnp.asarray(wind)
        _, gradient = action_gradient(MODEL, jnp.stack([z, after]), BASE[None], 1, 1, 0.5)
        new = correction + 0.5 * 32 * eta * gradient[0]  # the gradient is -2 Jᵀe / 32
        return new, (jnp.linalg.norm(correction - ideal), after - MODEL.predict(z, BASE))

    _, (distance, error) = jax.jit(lambda c: jax.lax.scan(update, c, length=steps))(jnp.zeros(6))
    return np.asarray(distance), np.asarray(error)


@pytest.mark.parametrize("share", [0.5, 1.0, 1.96])
def test_the_integral_law_is_stable_below_the_bound(share):
    distance, _ = integrated(share / LARGEST)
    assert distance[-1] < 1e-3 * distance[0]


def test_the_integral_law_diverges_above_the_bound():
    distance, _ = integrated(2.04 / LARGEST)
    assert distance[-1] > 100 * distance[0]


def test_the_matched_fraction_predicts_what_remains():
    wind = RNG.normal(size=32) * 0.1
    push = np.asarray(MODEL.push, np.float64)
    reach = np.linalg.pinv(push) @ push  # projection onto what actions move
    _, error = integrated(1.0 / LARGEST, wind)
    first = error[0].astype(np.float64)
    matched = np.sum((first @ reach) ** 2) / np.sum(first**2)
    assert 0.1 < matched < 0.9
    np.testing.assert_allclose(np.sum(error[-1] ** 2) / np.sum(first**2), 1 - matched, rtol=1e-3)
