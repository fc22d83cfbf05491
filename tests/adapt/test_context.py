"""RMA's encoder on a linear plant: trained on known gains, it reads others from the last steps alone."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.adapt.context import ContextConfig, ContextPolicy, Rehearsal, fit_context
from worldshift.adapt.contract import Command, OnlineAdapter, Transition

SMALL = ContextConfig(window=16, features=64, updates=3000, batch=128, learning_rate=3e-3)
EYE, GAINS = np.eye(3), np.diag([0.6, 1.3, 0.8])


@pytest.fixture(scope="module")
def rehearsed(linear_agent, exact):
    """Bodies whose gains change every fifty steps, under the frozen policy."""
    push, agent = np.asarray(exact().model.push), linear_agent()
    rng, n, steps = np.random.default_rng(0), 240, 400
    obs, rows = np.zeros((n, 6)), []
    for t in range(steps):
        gains = rng.uniform(0.5, 1.5, (n, 3)) if t % 50 == 0 else gains
        action = np.asarray(agent.model.mean_action(jnp.asarray(obs)))
        after = obs + (action * gains) @ push + 0.02 * rng.normal(size=obs.shape)
        rows.append((obs, action, after, gains))
        obs = after if t % 100 < 99 else np.zeros_like(obs)
    return Rehearsal(*(np.stack(x, 1).astype(np.float32) for x in zip(*rows, strict=True)))


@pytest.fixture(scope="module")
def policy(linear_agent, rehearsed):
    return ContextPolicy(linear_agent(), fit_context(rehearsed, SMALL))


def test_it_meets_the_contract(policy):
    assert isinstance(policy, OnlineAdapter)


def test_gains_are_read_and_undone(policy, live):
    life = live(policy, GAINS, steps=200)
    np.testing.assert_allclose(life.telemetry.gain[50:].mean(0), np.diagonal(GAINS), atol=0.1)
    wrong = life.base @ GAINS - life.base
    assert life.actuation_error(wrong)[50:].mean() < 0.5


def test_on_a_healthy_body_it_does_little(policy, live):
    life = live(policy, EYE, steps=200)
    assert np.abs(life.action - life.base).mean() < 0.1


def test_what_it_reads_is_the_last_window(policy, live):
    """A change is seen whole once the window holds nothing else."""
    matrix = np.where(np.arange(120)[:, None, None] < 60, EYE, GAINS)
    gain = np.asarray(live(policy, matrix, steps=120).telemetry.gain)
    window = policy.encoder.window
    assert np.abs(gain[60 + window :] - np.diagonal(GAINS)).mean() < 0.15
    assert np.abs(gain[50:60] - 1).mean() < 0.15


def test_untrained_it_says_that_nothing_is_wrong(rehearsed):
    encoder = fit_context(rehearsed, replace(SMALL, updates=0))
    np.testing.assert_array_equal(encoder(jnp.ones((16, 16))), 1.0)


def test_the_same_seed_gives_the_same_encoder(rehearsed):
    config = replace(SMALL, updates=20)
    first, second = fit_context(rehearsed, config), fit_context(rehearsed, config)
    assert eqx.tree_equal(first, second)
    assert not eqx.tree_equal(first, fit_context(rehearsed, replace(config, seed=1)))


@pytest.mark.parametrize("window", [4, 18])
def test_a_window_that_cannot_be_halved_twice_is_refused(rehearsed, window):
    with pytest.raises(ValueError, match="multiple of 4 agent steps, at least 8"):
        fit_context(rehearsed, replace(SMALL, window=window))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_anything_non_finite_leaves_everything_alone(policy, bad):
    state, obs, action, zero = policy.init(jax.random.key(0)), jnp.zeros(6), jnp.full(3, 0.2), jnp.zeros(())
    good = Transition(obs, Command(action, action), obs + 0.1, zero < 1, zero, zero > 1)
    new, telemetry = policy.observe(state, good._replace(next_obs=good.next_obs.at[0].set(bad)))
    if not np.isfinite(bad):
        assert eqx.tree_equal(new, state)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(new) + jax.tree.leaves(telemetry))
    command, _ = policy.act(state, obs.at[0].set(bad), jax.random.key(0))
    assert np.isfinite(command.action).all() and np.abs(command.action).max() <= 2.0
    across, _ = policy.observe(state, good._replace(valid=zero > 1))
    assert eqx.tree_equal(across, state)
