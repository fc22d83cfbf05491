"""The layered reflex on a linear plant: it learns what gains cannot say, and is the fast reflex where they say all."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.adapt.contract import Command, OnlineAdapter, Transition
from worldshift.adapt.fast_reflex import FastReflex
from worldshift.adapt.layered import BENEATH, LayeredConfig, LayeredReflex

EYE, GAINS = np.eye(3), np.diag([0.6, 1.3, 0.8])
OFFSET = np.array([0.4, -0.4, 0.3])
"""A push that no gain explains, and that an action can undo."""
BEFORE, AFTER = 50, 650  # the steps at which the fault begins and ends


@pytest.fixture(scope="module")
def fast(linear_agent, exact) -> FastReflex:
    return FastReflex(linear_agent(), exact(threshold=4.0), BENEATH)


@pytest.fixture(scope="module")
def pushed(fast, live):
    """Healthy, then under a push, then healthy: with the network and without."""
    offset = np.zeros((1000, 3))
    offset[BEFORE:AFTER] = OFFSET
    return {name: live(a, EYE, offset, steps=1000) for name, a in (("layered", LayeredReflex(fast)), ("fast", fast))}


@pytest.fixture(scope="module")
def observe(fast):
    adapter = LayeredReflex(fast)
    return eqx.filter_jit(lambda state, transition: adapter.observe(state, transition))


def openness(adapter, life) -> np.ndarray:
    return np.asarray(jax.vmap(adapter.openness)(life.states))


def test_it_meets_the_contract(fast):
    assert isinstance(LayeredReflex(fast), OnlineAdapter)


@pytest.mark.parametrize("matrix", [EYE, GAINS], ids=["healthy", "gains"])
def test_where_the_estimate_explains_everything_it_is_the_fast_reflex(fast, live, matrix):
    """Nothing is added, on a healthy body and on one whose gains are known."""
    adapter = LayeredReflex(fast)
    start = live(fast, matrix, steps=200).last
    layered = live(adapter, matrix, steps=500, state=adapter.init(jax.random.key(0))._replace(fast=start))
    alone = live(fast, matrix, steps=500, state=start, along=layered)
    assert openness(adapter, layered).max() == 0.0
    np.testing.assert_allclose(layered.action, alone.action, atol=1e-4)


def test_a_push_that_no_gain_explains_is_undone(pushed):
    error = {name: life.actuation_error(OFFSET[None])[500:AFTER].mean() for name, life in pushed.items()}
    assert error["fast"] > 0.7, "the push must be beyond what gains can do"
    assert error["layered"] < 0.35, error


def test_before_the_push_and_after_it_nothing_is_sent(fast, live, pushed):
    """The gate closes within the time over which it averages, and what was learned is dropped."""
    life, adapter = pushed["layered"], LayeredReflex(fast)
    command, _ = jax.vmap(adapter.act, (0, None, None))(life.states, jnp.linspace(-1, 1, 6), jax.random.key(0))
    idle = np.r_[0 : BEFORE - 1, AFTER + 150 : len(life.target)]
    np.testing.assert_array_equal(command.target[idle], command.base[idle])
    np.testing.assert_allclose(life.target[:BEFORE], life.base[:BEFORE], atol=1e-5)  # compiled: other roundings
    alone = live(fast, EYE, steps=BEFORE, along=life)
    np.testing.assert_allclose(life.action[:BEFORE], alone.action, atol=1e-4)
    assert (openness(adapter, life)[AFTER + 150 :] == 0.0).all()
    np.testing.assert_allclose(life.target[AFTER + 150 :], life.base[AFTER + 150 :], atol=1e-5)
    assert life.last.count == 0
    np.testing.assert_array_equal(life.last.controller.weights[-1], 0.0)


def test_the_correction_is_bounded(fast, live):
    adapter = LayeredReflex(fast, LayeredConfig(limit=0.1))
    life = live(adapter, EYE, OFFSET, steps=400)
    sent = np.abs(life.target - life.base)
    assert sent.max() <= 0.1 + 1e-6 and sent[-100:].mean() > 0.09


def test_the_best_correction_of_a_step_cancels_what_disturbed_it(fast):
    """Slope and curvature describe the error of another correction: their minimum is minus the disturbance."""
    disturbance, base, zero = jnp.asarray([0.2, -0.1, 0.3]), jnp.asarray([0.5, 0.1, -0.4]), jnp.zeros(())
    obs, push = jnp.linspace(-1, 1, 6), fast.calibration.model.push
    moved = Transition(obs, Command(base, base), obs + (base + disturbance) @ push, zero < 1, zero, zero > 1)
    square, slope, curvature = LayeredReflex(fast)._quadratic(moved)
    np.testing.assert_allclose(-np.linalg.solve(curvature, slope), -disturbance, atol=1e-4)
    np.testing.assert_allclose(square, slope @ np.linalg.solve(curvature, slope), rtol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("where", ["obs", "next_obs"])
def test_anything_non_finite_leaves_everything_alone(fast, pushed, observe, bad, where):
    adapter = LayeredReflex(fast)
    state = jax.tree.map(lambda x: x[500], pushed["layered"].states)
    obs, action, zero = jnp.linspace(-1, 1, 6), jnp.full(3, 0.2), jnp.zeros(())
    good = Transition(obs, Command(action, action), obs + 0.1, zero < 1, zero, zero > 1)
    assert not eqx.tree_equal(observe(state, good)[0].controller, state.controller)
    new, telemetry = observe(state, good._replace(**{where: getattr(good, where).at[1].set(bad)}))
    if not np.isfinite(bad):
        assert eqx.tree_equal(new, state)
    # A reading that is absurd but finite is a step like any other, weighed down until it does no harm.
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(eqx.filter(new, eqx.is_inexact_array)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(telemetry))
    across, _ = observe(state, good._replace(valid=zero > 1))
    assert eqx.tree_equal(across, state), "across a reset nothing is learned"
    command, _ = adapter.act(state, obs.at[1].set(bad), jax.random.key(0))
    assert np.isfinite(command.action).all() and np.abs(command.action).max() <= 2.0


@pytest.mark.parametrize("cause", ["push", "chance", "noise", "sensor"])
def test_only_what_takes_an_error_away_is_sent(fast, observe, cause):
    """Three of the plant's six directions are pushed by actions. A push that is always there is learned and taken away;
    one of chance cannot be foreseen; errors of sensors are in all six directions, or in the other three.
    """
    adapter, zero, push = LayeredReflex(fast), jnp.zeros(()), np.asarray(fast.calibration.model.push)
    rng, state = np.random.default_rng(0), adapter.init(jax.random.key(0))
    others = np.linalg.svd(push)[2][3:].T
    for _ in range(300):
        chance, noise, elsewhere = 0.4 * rng.normal(size=3), 0.1 * rng.normal(size=6), 0.1 * rng.normal(size=3)
        error = {"push": OFFSET @ push, "chance": chance @ push, "noise": noise, "sensor": others @ elsewhere}[cause]
        action, obs = (jnp.asarray(rng.uniform(-1, 1, n), jnp.float32) for n in (3, 6))
        after = obs + action @ push + jnp.asarray(error, jnp.float32)
        state, _ = observe(state, Transition(obs, Command(action, action), after, zero < 1, zero, zero > 1))
    learned = cause in ("push", "chance")
    assert (state.count > 100) == learned
    assert adapter.openness(state) == (1.0 if cause == "push" else 0.0)
    assert np.any(np.asarray(state.controller.weights[-1])) == learned
    seen = jnp.asarray(rng.uniform(-1, 1, (200, 6)), jnp.float32)
    answers = state.controller(jax.vmap(fast.agent.model.encode)(seen))
    answer, slack = (-OFFSET if cause == "push" else 0.0), (0.25 if learned else 1e-6)
    assert (np.abs(answers - answer).mean(0) < slack * np.abs(OFFSET)).all()
