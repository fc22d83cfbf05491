"""The fast reflex on a linear plant that its model knows: it must find what is wrong, and only that."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.adapt.contract import Command, Transition
from worldshift.adapt.fast_reflex import (
    MATCHED_WINDOW,
    STRUCTURES,
    FastReflex,
    FastReflexConfig,
    FastReflexState,
    detection_level,
)

GAINS, OFFSET = np.array([0.6, 1.3, 0.8]), np.array([0.1, -0.15, 0.05])
EYE = np.eye(3)
TURN = np.array([[np.cos(1.0), -np.sin(1.0), 0], [np.sin(1.0), np.cos(1.0), 0], [0, 0, 1]])
BEFORE = 40  # healthy steps


def reflex(agent, calibration, structure="gain+bias", **config) -> FastReflex:
    return FastReflex(agent, calibration, FastReflexConfig(structure=structure, **config))


def onset(matrix, steps, before=BEFORE):
    """Healthy, then `matrix`."""
    return np.concatenate([np.broadcast_to(EYE, (before, 3, 3)), np.broadcast_to(matrix, (steps - before, 3, 3))])


def estimate(adapter, state):
    """M and d as the reflex has them."""
    return tuple(map(np.asarray, adapter.action_map(state.theta)))


def test_gains_and_bias_are_found_within_seconds(linear_agent, exact, live):
    adapter = reflex(linear_agent(), exact(threshold=4.0))
    offset = np.concatenate([np.zeros((BEFORE, 3)), np.broadcast_to(OFFSET, (60, 3))])
    life = live(adapter, onset(np.diag(GAINS), 100), offset, steps=100)
    matrix, found = estimate(adapter, life.last)
    np.testing.assert_allclose(np.diagonal(matrix), GAINS, atol=0.05)
    np.testing.assert_allclose(found, OFFSET, atol=0.03)
    error = life.actuation_error(life.base[BEFORE:] @ np.diag(GAINS) + OFFSET - life.base[BEFORE:])
    assert error[BEFORE : BEFORE + 3].mean() > 0.5, "the fault must be felt at first"
    assert error[BEFORE + 30 :].mean() < 0.1


@pytest.mark.parametrize("structure", ["gain", "gain+bias"])
def test_known_gains_are_undone_exactly(linear_agent, exact, live, structure):
    """Without noise the command is base / gain, up to the model's own error."""
    life = live(reflex(linear_agent(), exact(threshold=4.0), structure), np.diag(GAINS), steps=150, noise=0.0)
    np.testing.assert_allclose(life.action[100:], life.base[100:] / GAINS, atol=0.01)


@pytest.mark.parametrize("signs", [(-1.0, 1.0, 1.0), (-1.0, -1.0, -1.0)], ids=["one flipped", "all flipped"])
def test_reversed_actuators_are_gains_like_any_other(linear_agent, exact, live, signs):
    life = live(reflex(linear_agent(), exact(threshold=4.0), "gain"), onset(np.diag(signs), 200), steps=200)
    wrong = life.base[BEFORE:] @ (np.diag(signs) - EYE)
    assert life.actuation_error(wrong)[150:].mean() < 0.1
    matrix, _ = estimate(reflex(linear_agent(), exact(), "gain"), life.last)
    np.testing.assert_allclose(np.diagonal(matrix), signs, atol=0.1)


def test_a_dead_actuator_is_not_shaken(linear_agent, exact, live):
    """What is hardly there is asked for less and less, never for the bound of the command."""
    dead = np.diag([0.0, 1.0, 1.0])
    life = live(reflex(linear_agent(), exact(threshold=4.0), "gain"), onset(dead, 200), steps=200)
    assert np.abs(life.action[150:, 0]).mean() < np.abs(life.base[150:, 0]).mean()
    np.testing.assert_allclose(life.action[150:, 1:], life.base[150:, 1:], atol=0.1)


@pytest.mark.parametrize("matrix", [TURN], ids=["turn"])
def test_coupled_actuators_need_the_matrix(linear_agent, exact, live, matrix):
    lives = {
        structure: live(reflex(linear_agent(), exact(threshold=4.0), structure), onset(matrix, 200), steps=200)
        for structure in ("gain+bias", "matrix")
    }
    wrong = lives["matrix"].base[BEFORE:] @ (matrix - EYE).T
    assert lives["matrix"].actuation_error(wrong)[150:].mean() < 0.1
    assert lives["gain+bias"].actuation_error(wrong)[150:].mean() > 0.3
    found, _ = estimate(reflex(linear_agent(), exact(), "matrix"), lives["matrix"].last)
    np.testing.assert_allclose(found, matrix, atol=0.1)


def test_with_a_model_of_the_wrong_sign_it_diverges(linear_agent, exact, live):
    """The sign test: the same law pushes the other way where the model's Jacobian is negated."""
    truth = exact(threshold=4.0)
    push = truth.model.push
    backwards = truth._replace(model=eqx.tree_at(lambda m: m.push, truth.model, -push))
    healthy = live(reflex(linear_agent(), truth), EYE, steps=100)
    assert np.abs(healthy.action - healthy.base)[50:].max() < 0.1
    astray = live(reflex(linear_agent(), backwards, gate=(-1.0, 0.0)), EYE, steps=100)
    assert np.abs(astray.action - astray.base)[50:].mean() > 0.5


def test_before_the_first_step_it_is_the_frozen_agent(linear_agent, exact):
    agent = linear_agent()
    z = jnp.linspace(-1, 1, 6)
    for structure in STRUCTURES:
        adapter = reflex(agent, exact(), structure)
        command, _ = adapter.act(adapter.init(jax.random.key(0)), z, jax.random.key(1))
        base = agent.model.mean_action(z)
        np.testing.assert_array_equal(command.base, base)
        if structure == "matrix":
            np.testing.assert_allclose(command.action, base, atol=1e-6)
        else:
            np.testing.assert_array_equal(command.action, base)


def test_commands_at_the_limit_do_not_wind_up(linear_agent, exact, live):
    """A motor too weak to be made good: its gain is known all the same, and forgotten as fast as any other."""
    weak = np.diag([0.35, 1.0, 1.0])
    matrices = np.concatenate([onset(weak, 400), np.broadcast_to(EYE, (100, 3, 3))])
    bounded = live(reflex(linear_agent(), exact(threshold=4.0), authority=1.0), matrices, steps=500)
    assert (np.abs(bounded.action[BEFORE + 30 : 400, 0]) == 1.0).mean() > 0.3, "the limit must be in the way"
    gain = np.asarray(bounded.telemetry.gain)[:, 0]
    np.testing.assert_allclose(gain[BEFORE + 40 : 400], 0.35, atol=0.06)
    np.testing.assert_allclose(gain[440:], 1.0, atol=0.06)


def test_across_a_reset_nothing_is_learned(linear_agent, exact):
    adapter = reflex(linear_agent(), exact())
    state, zero = adapter.init(jax.random.key(0)), jnp.zeros(())
    obs = jnp.ones(6)
    command, state = adapter.act(state, obs, jax.random.key(0))
    across = Transition(obs, command, obs + 5.0, jnp.asarray(False), zero, zero > 1)
    new, telemetry = adapter.observe(state, across)
    assert eqx.tree_equal(new, state)
    assert telemetry.score == 0 and telemetry.error == 0 and not telemetry.guarded


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("where", ["obs", "next_obs"])
def test_anything_non_finite_leaves_the_estimate_alone(linear_agent, exact, live, bad, where):
    adapter = reflex(linear_agent(), exact(threshold=4.0), "matrix")
    state = live(adapter, TURN, steps=50).last
    obs, action, zero = jnp.linspace(-1, 1, 6), jnp.full(3, 0.2), jnp.zeros(())
    good = Transition(obs, Command(action, action), obs + 0.1, zero < 1, zero, zero > 1)
    transition = good._replace(**{where: getattr(good, where).at[1].set(bad)})
    assert not eqx.tree_equal(adapter.observe(state, good)[0], state)
    new, telemetry = adapter.observe(state, transition)
    assert eqx.tree_equal(new, state)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(telemetry))


def test_the_detector_fires_after_a_change_and_rarely_before(linear_agent, exact, live):
    healthy = live(reflex(linear_agent(), exact()), EYE, steps=3000, seed=1)
    levels = jax.vmap(detection_level)(healthy.states.evidence, healthy.states.information)
    calibrated = exact(threshold=float(np.quantile(levels[20:], 0.999)))
    life = live(reflex(linear_agent(), calibrated), onset(np.diag(GAINS), 2000, 1500), steps=2000, seed=2)
    fired = np.flatnonzero(np.asarray(life.states.since_change) == 0)
    assert (fired < 1500).sum() < 0.02 * 1500, "one false alarm in fifty steps would be too many"
    assert ((fired >= 1500) & (fired < 1510)).any(), "a fault of this size shows within ten steps"


def test_the_detector_shortens_the_search(linear_agent, exact, live):
    def late(**config):
        life = live(reflex(linear_agent(), exact(threshold=4.0), **config), onset(np.diag(GAINS), 80), steps=80)
        return np.abs(np.asarray(life.telemetry.gain)[60:] - GAINS).mean()

    assert late(detector=True) < 0.5 * late(detector=False)


def test_the_score_of_the_healthy_body_is_subtracted(linear_agent, exact, live):
    """A model that is wrong by a constant looks like a gain to a body that leans; its mean score tells them apart."""
    agent, wrong, noise = linear_agent(lean=0.5), 0.05, 0.02
    seen = live(reflex(agent, exact()), EYE, steps=500).base
    pull = np.asarray(exact().model.push) / noise
    inputs = np.append(seen.mean(0), 1.0)
    bias = -np.outer(pull.sum(1) * wrong / noise, inputs)  # mean of d(innovation)/d[M, d] times the innovation
    calibration = exact(wrong=wrong, score_bias=bias)
    fooled = live(reflex(agent, calibration, "gain", debias=False, outlier=1e9), EYE, steps=500)
    clear = live(reflex(agent, calibration, "gain", outlier=1e9), EYE, steps=500)
    off = [np.abs(np.asarray(life.telemetry.gain)[250:] - 1).mean() for life in (fooled, clear)]
    assert off[0] > 0.06 and off[1] < 0.3 * off[0], off


def test_uncertainty_shrinks_with_evidence(linear_agent, exact, live):
    life = live(reflex(linear_agent(), exact(threshold=4.0)), onset(np.diag(GAINS), 100), steps=100)
    std = np.asarray(life.telemetry.gain_std)
    opened = BEFORE + int(np.argmax(std[BEFORE:, 0]))
    assert std[opened].min() > 3 * std[-1].max()
    off = np.abs(np.asarray(life.telemetry.gain)[-1] - GAINS)
    assert (off < 5 * std[-1]).all(), "what it claims to know, it knows"


@pytest.mark.parametrize("structure", ["gain+bias", "matrix"])
@pytest.mark.parametrize("lean", [0.0, 0.9], ids=["swinging", "a constant action"])
def test_covariance_stays_a_covariance_for_ten_thousand_steps(linear_agent, exact, live, structure, lean):
    """In single precision, with directions that are never excited (a constant action) and hardly any noise."""
    adapter = reflex(linear_agent(lean), exact(threshold=4.0, noise=1e-3), structure)
    life = live(adapter, np.diag(GAINS), steps=10_000, noise=1e-3)
    cov = np.asarray(life.states.cov)[::500].astype(np.float64)
    np.testing.assert_array_equal(cov, np.swapaxes(cov, 1, 2))
    values = np.linalg.eigvalsh(cov)
    assert (values[:, 0] > -1e-6 * values[:, -1]).all()
    assert np.isfinite(life.action).all() and np.abs(life.action).max() <= 2.0


def test_an_error_that_no_action_explains_is_not_acted_on(linear_agent, exact, live):
    """Wind from a side that no actuator pushes against: what is estimated from it must not reach the body."""
    push = jnp.asarray(np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0][:3] * 0.3, jnp.float32)
    agent, calibration = linear_agent(push=push), exact(threshold=4.0, push=push)
    across = np.linalg.svd(np.asarray(push))[2][-1]  # orthogonal to all that actions do
    windy = calibration._replace(model=eqx.tree_at(lambda m: m.wrong, calibration.model, jnp.asarray(0.2 * across)))
    life = live(reflex(agent, windy), EYE, steps=300, push=push)
    assert np.asarray(life.telemetry.matched)[100:].max() < 0.2
    np.testing.assert_allclose(life.action[100:], life.base[100:], atol=0.05)


def test_the_matched_fraction_of_a_fault_in_the_actuators_is_high(linear_agent, exact, live):
    life = live(reflex(linear_agent(), exact(threshold=4.0)), onset(np.diag([0.4, 0.4, 0.4]), 200), steps=200)
    assert np.asarray(life.telemetry.matched)[150:].min() > 0.8


@pytest.mark.parametrize(("levels", "acted_on"), [(20, True), (2000, False)])
def test_a_huge_error_is_acted_on_if_the_estimate_takes_most_of_it_away(linear_agent, exact, live, levels, acted_on):
    """A body far from where its model was trained: the fault's error is hundreds of healthy levels, and of `levels`
    more no action is the cause.
    """
    push = jnp.asarray(3 * np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0][:3], jnp.float32)
    across = np.linalg.svd(np.asarray(push))[2][-1]
    agent, calibration = linear_agent(push=push), exact(threshold=4.0, push=push)
    elsewhere = jnp.asarray(np.sqrt(levels * 6) * 0.02 * across)
    far = calibration._replace(model=eqx.tree_at(lambda m: m.wrong, calibration.model, elsewhere))
    life = live(reflex(agent, far, "gain"), onset(np.diag([0.5, 0.5, 0.5]), 300), steps=300, push=push)
    matched = np.asarray(life.telemetry.matched)[150:]
    assert matched.min() > 0.8 if acted_on else matched.max() < 0.1
    wanted = np.clip(2 * life.base, -2, 2) if acted_on else life.base
    np.testing.assert_allclose(life.action[200:], wanted[200:], atol=0.2)


def test_what_it_doubts_a_cautious_reflex_does_not_act_on(linear_agent, exact):
    wanted, ungated = jnp.array([0.5, -0.4, 0.2]), (-2.0, -1.0)
    plain, cautious = (reflex(linear_agent(), exact(), gate=ungated, caution=c) for c in (0.0, 2.0))
    state = plain.init(jax.random.key(0))
    n = len(state.theta)
    found = state._replace(theta=jnp.zeros(n).at[0].set(-0.3))

    def doubting(std: float, unexplained: float = 0.0) -> FastReflexState:
        return found._replace(cov=std**2 * jnp.eye(n), explained=jnp.array([0.0, unexplained * MATCHED_WINDOW]))

    sure, unsure, between, unexplained = (doubting(*x) for x in ((0.01,), (0.15,), (0.1,), (0.1, 3.0)))
    np.testing.assert_array_equal(plain.reach(sure, wanted), plain.reach(unsure, wanted))
    np.testing.assert_allclose(cautious.reach(sure, wanted), plain.reach(sure, wanted), rtol=5e-3)
    np.testing.assert_array_equal(cautious.reach(unsure, wanted), wanted)
    assert wanted[0] < cautious.reach(between, wanted)[0] < plain.reach(between, wanted)[0]
    np.testing.assert_array_equal(cautious.reach(unexplained, wanted), wanted)
