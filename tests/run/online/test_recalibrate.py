"""Calibrations made anew of a point mass, recorded for real: in every space of errors both reflexes find that motors
are weak, and where a planner acts the fast one does."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift import zoo
from worldshift.adapt.calibrate import CalibrationConfig, replay
from worldshift.adapt.contract import Command, Transition
from worldshift.adapt.fast_reflex import FastReflex
from worldshift.adapt.reflex import Reflex, ReflexConfig
from worldshift.agents.mppi import PlannerConfig
from worldshift.models.onestep import InSteps
from worldshift.run.online.recalibrate import SPACES, _healthy, calibrated_in, calibrated_with

BODIES, STEPS, EPISODE = 9, 220, 100
SMALL = CalibrationConfig(width=64, updates=1500, batch=256, tolerance=float("inf"))


@pytest.fixture(scope="module")
def shipped():
    return zoo.load("point-mass-1", calibrated=False)


@pytest.fixture(scope="module", params=SPACES)
def calibrated(request, shipped):
    return request.param, calibrated_in(request.param, shipped.path, bodies=BODIES, steps=STEPS, config=SMALL)


def test_the_encoder_stays_as_it_is(shipped, calibrated):
    space, found = calibrated
    obs = jnp.asarray([[0.1, -0.1, 0.02, 0.03]])
    seen = found.model.see(obs)
    if space == "raw observation":
        assert np.array_equal(seen, obs)
    else:
        own = np.allclose(seen, shipped.agent.model.encode(obs), atol=1e-6)
        assert seen.shape[-1] == shipped.agent.model.latent_dim and own == (space == "fitted latent")
    reference = InSteps(found.model)
    assert reference.encode(obs).shape[-1] == reference.latent_dim == len(found.whitening)


def test_a_one_step_model_predicts_in_steps(shipped, calibrated):
    _, found = calibrated
    rows, reference = _healthy(shipped.path, BODIES, STEPS), InSteps(found.model)
    here, there = reference.encode(jnp.asarray(rows.obs)), reference.encode(jnp.asarray(rows.next_obs))
    error = (reference.predict(here, jnp.asarray(rows.action)) - there)[rows.valid > 0]
    assert np.mean(np.square(error)) < 0.3 * np.mean(np.square((there - here)[rows.valid > 0]))


def test_the_fast_reflex_finds_gains(shipped, calibrated):
    _, found = calibrated
    rows = _healthy(shipped.path, BODIES, STEPS)
    states, _ = replay(FastReflex(shipped.agent, found), rows, rows.action / 0.8)
    gains = 1 + np.asarray(states.theta)[rows.excited, -1]
    assert abs(gains.mean() - 0.8) < 0.02


def test_the_paper_reflex_pushes_harder(shipped, calibrated):
    _, found = calibrated
    rows = _healthy(shipped.path, BODIES, STEPS)
    reflex = Reflex(shipped.agent, EPISODE, ReflexConfig(learning_rate=1e-2), InSteps(found.model))
    state, zero = reflex.init(jax.random.key(0)), jnp.zeros(())
    observe = eqx.filter_jit(reflex.observe)
    for body in np.flatnonzero(rows.excited)[:4]:
        for t in range(EPISODE):
            base = jnp.asarray(2 * rows.action[body, t])  # half of which is what happened
            command, valid = Command(base, base), jnp.asarray(rows.valid[body, t] > 0)
            obs, after = jnp.asarray(rows.obs[body, t]), jnp.asarray(rows.next_obs[body, t])
            state, _ = observe(state, Transition(obs, command, after, valid, zero, zero > 1))
        state = reflex.finish(state)
    correction = np.asarray(state.controller(shipped.agent.model.encode(jnp.asarray(rows.obs[rows.excited]))))
    assert np.mean(correction * rows.action[rows.excited]) > 0


def test_a_planner_is_calibrated_for(shipped):
    planner = PlannerConfig(horizon=2, iterations=2, samples=24, policy_samples=4, elites=6)
    found = calibrated_with(planner, shipped.path, bodies=BODIES, steps=STEPS, config=SMALL)
    rows = _healthy(shipped.path, BODIES, STEPS, planner)
    states, _ = replay(FastReflex(shipped.agent, found), rows, rows.action / 0.8)
    gains = 1 + np.asarray(states.theta)[rows.excited, -1]
    assert abs(gains.mean() - 0.8) < 0.02
    assert not np.allclose(rows.base, _healthy(shipped.path, BODIES, STEPS).base, atol=0.01)
