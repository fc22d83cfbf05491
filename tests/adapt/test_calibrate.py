"""Calibration on a cheap body, recorded for real: near zero where nothing is wrong, and a clear refusal elsewhere."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.adapt.calibrate import (
    MOST_INFLATION,
    TRUST,
    CalibrationConfig,
    CalibrationError,
    Recording,
    calibrate,
    load_calibration,
    replay,
    save_calibration,
    whiten,
)
from worldshift.adapt.fast_reflex import STRUCTURES, FastReflex, FastReflexConfig
from worldshift.agents.agent import Agent
from worldshift.checkpoint import CheckpointError
from worldshift.models.latent import WorldModel
from worldshift.models.onestep import MIN_LOG_STD

BODIES, STEPS, OBS, ACTIONS = 12, 240, 5, 2
SMALL = CalibrationConfig(width=32, updates=1000, batch=256)


@pytest.fixture(scope="module")
def wobbly() -> Agent:
    """An untrained agent of the body below whose actions are anything but zero."""
    model = WorldModel(OBS, ACTIONS, size=1, key=jax.random.key(3))
    return Agent(eqx.tree_at(lambda m: m.policy_head.last.weight, model, replace_fn=lambda w: 8 * w))


def record(agent: Agent, gain: float = 1.0) -> Recording:
    """A damped chain that two motors pull on, with noise; three quarters of the bodies are excited."""
    rng = np.random.default_rng(0)
    drift, push = 0.8 * np.linalg.qr(rng.normal(size=(OBS, OBS)))[0], 0.4 * rng.normal(size=(ACTIONS, OBS))
    obs, excited = rng.normal(size=(BODIES, OBS)), np.arange(BODIES) >= BODIES // 4
    gains, rows = np.ones((BODIES, ACTIONS)), []
    act = eqx.filter_jit(lambda obs: agent.model.mean_action(agent.model.encode(obs)))
    for t in range(STEPS):
        if t % 20 == 0:
            gains[excited] = rng.uniform(0.5, 1.5, (excited.sum(), ACTIONS))
        base = np.asarray(act(jnp.asarray(obs, jnp.float32)))
        sent = base * gains + excited[:, None] * 0.1 * rng.normal(size=base.shape)
        after = obs @ drift + 0.3 * np.tanh(obs) + gain * sent @ push + 0.05 * rng.normal(size=obs.shape)
        rows.append((obs, base, sent, after, gains.copy(), np.ones(BODIES)))
        obs = after
    fields = [np.stack(column, axis=1).astype(np.float32) for column in zip(*rows, strict=True)]
    return Recording(*fields, excited=excited)


@pytest.fixture(scope="module")
def recording(wobbly) -> Recording:
    return record(wobbly)


@pytest.fixture(scope="module")
def calibrated(wobbly, recording):
    done = []
    calibration, measured = calibrate(wobbly, recording, SMALL, key=jax.random.key(0), report=done.append)
    assert done[-1] == SMALL.updates and done == sorted(done)
    return calibration, measured


def test_the_healthy_body_looks_healthy(wobbly, recording, calibrated):
    calibration, measured = calibrated
    assert measured["healthy_gain_rms"] < 0.06
    assert 1.0 <= measured["inflation"] < 5.0
    assert measured["unexplained"] < 0.3
    plain = Recording(*(x[~recording.excited] for x in recording))
    for structure in STRUCTURES:
        states, _ = replay(FastReflex(wobbly, calibration, FastReflexConfig(structure)), plain, plain.base)
        assert np.abs(np.asarray(states.theta)[:, 50:].mean((0, 1))).max() < 0.06
        fired = np.asarray(states.since_change)[:, 20:] == 0
        assert fired.mean() < 0.02


@pytest.mark.parametrize("gain", [0.6, 1.4])
def test_a_fault_is_seen_by_what_the_healthy_body_taught(wobbly, calibrated, gain):
    faulty = record(wobbly, gain)
    plain = Recording(*(x[~faulty.excited] for x in faulty))
    states, _ = replay(FastReflex(wobbly, calibrated[0]), plain, plain.base)
    np.testing.assert_allclose(1 + np.asarray(states.theta)[:, 60:].mean((0, 1)), gain, atol=0.1)


def test_its_own_excitation_counts_as_a_known_fault(wobbly, recording, calibrated):
    """What was sent is known; believing that the base action was sent, the reflex must find the self-made gains."""
    excited = Recording(*(x[recording.excited] for x in recording))
    reflex = FastReflex(wobbly, calibrated[0], FastReflexConfig("gain", detector=False, drift_std=0.03))
    states, _ = replay(reflex, excited, excited.base)
    found, true = (np.asarray(x)[:, 19::20].ravel() for x in (1 + states.theta, excited.gains))
    assert np.corrcoef(found, true)[0, 1] > 0.8


def test_no_model_is_trusted_to_be_exact(recording, calibrated):
    """Where next observations are the model's own, errors are counted in the least noise that a model is granted."""
    model = calibrated[0].model
    last = lambda m: m.network.last.bias  # noqa: E731
    sure = eqx.tree_at(last, model, replace_fn=lambda b: b.at[OBS:].set(-100.0))
    mean, log_std = sure.change(jnp.asarray(recording.obs), jnp.asarray(recording.action))
    assert float(jnp.max(log_std)) == MIN_LOG_STD
    foretold = recording._replace(next_obs=np.asarray(recording.obs + mean * sure.change_std))
    whitening = whiten(sure, foretold, TRUST)
    off = 3 * TRUST * sure.change_std  # three times the least noise, in every channel
    first = (jnp.asarray(x[0]) for x in (foretold.obs, foretold.action, foretold.next_obs + off))
    error = sure.innovation(*first) @ whitening
    np.testing.assert_allclose(error, 3.0, rtol=0.05)


def test_a_model_with_honest_noise_is_trusted_as_it_is(wobbly, recording, calibrated, monkeypatch):
    assert calibrated[1]["inflation"] < MOST_INFLATION
    for bound in ("TRUST", "LEAST_LEVEL", "LEAST_THRESHOLD"):
        monkeypatch.setattr(f"worldshift.adapt.calibrate.{bound}", 1e3)
    again, _ = calibrate(wobbly, recording, SMALL, key=jax.random.key(0))
    assert eqx.tree_equal(calibrated[0], again)


def test_the_whitening_makes_healthy_innovations_white(recording, calibrated):
    calibration, _ = calibrated
    plain = Recording(*(x[~recording.excited] for x in recording))
    innovation = calibration.model.innovation(*map(jnp.asarray, (plain.obs, plain.action, plain.next_obs)))
    white = np.asarray(innovation @ calibration.whitening).reshape(-1, OBS)
    np.testing.assert_allclose(np.cov(white.T), np.eye(OBS), atol=0.25)
    assert calibration.healthy_level == pytest.approx(1.0, abs=0.25)


def test_it_refuses_where_the_healthy_body_does_not_look_healthy(wobbly, recording):
    strict = CalibrationConfig(width=32, updates=20, batch=64, tolerance=1e-6)
    with pytest.raises(CalibrationError, match="adapting could do harm; record more healthy data"):
        calibrate(wobbly, recording, strict, key=jax.random.key(0))


@pytest.mark.parametrize("field", ["obs", "action", "gains"])
def test_a_recording_with_nan_is_refused(wobbly, recording, field):
    broken = getattr(recording, field).copy()
    broken[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        calibrate(wobbly, recording._replace(**{field: broken}), SMALL, key=jax.random.key(0))


@pytest.mark.parametrize("excited", [True, False])
def test_too_few_bodies_are_refused(wobbly, recording, excited):
    few = recording._replace(excited=np.full(BODIES, excited))
    with pytest.raises(ValueError, match="two excited and two plain bodies"):
        calibrate(wobbly, few, SMALL, key=jax.random.key(0))


def test_what_is_saved_is_read_back_bit_by_bit(calibrated, tmp_path):
    calibration, _ = calibrated
    save_calibration(tmp_path / "calibration", calibration, {"width": SMALL.width})
    assert eqx.tree_equal(load_calibration(tmp_path / "calibration"), calibration)


def test_what_is_no_calibration_is_refused(wobbly, tmp_path):
    with pytest.raises(CheckpointError):
        load_calibration(tmp_path / "nothing")
    wobbly.save(tmp_path / "agent", {"size": 1})
    with pytest.raises(CheckpointError, match="a calibration is wanted"):
        load_calibration(tmp_path / "agent")
