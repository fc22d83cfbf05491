"""The two ends of a comparison: nothing is corrected, or everything that an action can correct."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.adapt.bounds import Frozen, Oracle, invert

WANTED = jnp.array([0.5, -0.8, 0.2])
ROTATION = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    "matrix", [np.diag([0.5, 1.5, 0.8]), ROTATION, np.diag([-1.0, 1.0, -1.0]), ROTATION @ np.diag([0.5, 2.0, 1.0])]
)
def test_inverse_of_an_action_map(matrix):
    offset = np.array([0.1, 0.0, -0.2])
    command = invert(jnp.asarray(matrix, jnp.float32), jnp.asarray(offset, jnp.float32), WANTED)
    np.testing.assert_allclose(matrix @ command + offset, WANTED, atol=5e-3)


def test_inverse_of_a_dead_actuator_asks_for_nothing_unbounded():
    command = invert(jnp.diag(jnp.array([0.0, 1.0, 1.0])), jnp.zeros(3), WANTED)
    np.testing.assert_allclose(command, WANTED, atol=2e-3)


def test_frozen_is_the_agent_and_learns_nothing(agent, live):
    life = live(Frozen(agent), np.diag([0.5, 1.0, 1.0]), steps=30)
    np.testing.assert_array_equal(life.action, life.base)
    observations, key = jax.random.normal(jax.random.key(0), (5, 6)), jax.random.key(1)
    state = Frozen(agent).init(key)
    for obs in observations:
        command, state = Frozen(agent).act(state, obs, key)
        np.testing.assert_array_equal(command.action, agent.act(state, obs[None], key)[0][0])


def test_the_oracle_undoes_what_it_is_told(linear_agent, live):
    matrix, offset = jnp.diag(jnp.array([0.6, 1.4, -0.9])), jnp.array([0.1, -0.1, 0.0])
    oracle = Oracle(linear_agent())
    told = oracle.tell(oracle.init(jax.random.key(0)), matrix, offset)
    life = live(oracle, matrix, offset, steps=50, state=told)
    np.testing.assert_allclose(life.plant, life.base, atol=5e-3)
    np.testing.assert_allclose(life.telemetry.gain[-1], np.diagonal(matrix), rtol=1e-6)


def test_the_oracle_respects_the_authority_limit(linear_agent, live):
    weak = jnp.diag(jnp.array([0.2, 1.0, 1.0]))
    oracle = Oracle(linear_agent(lean=0.6), authority=1.2)
    life = live(oracle, weak, steps=50, state=oracle.tell(oracle.init(jax.random.key(0)), weak, jnp.zeros(3)))
    assert np.abs(life.action).max() == pytest.approx(1.2)


def test_an_untold_oracle_is_the_frozen_agent(linear_agent, live):
    life = live(Oracle(linear_agent()), np.eye(3), steps=20)
    np.testing.assert_allclose(life.action, life.base, atol=1e-6)
