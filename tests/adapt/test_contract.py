"""One protocol for every adapter: pure, batched or not, inside the bounds, and never a NaN whatever comes in."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.adapt.bounds import Frozen, Oracle
from worldshift.adapt.contract import Command, OnlineAdapter, Transition, control_error, correction_share, finite
from worldshift.adapt.fast_reflex import STRUCTURES, Calibration, FastReflex, FastReflexConfig
from worldshift.adapt.finetune import Finetune, FinetuneConfig
from worldshift.adapt.l1 import L1Adaptive
from worldshift.adapt.reflex import Reflex, ReflexConfig
from worldshift.agents.agent import Agent
from worldshift.agents.mppi import PlannerConfig
from worldshift.agents.tdmpc2 import LearnerConfig
from worldshift.models.onestep import OneStep

OBS, ACTIONS, EPISODE, BODIES = 6, 3, 10, 3
QUICK = PlannerConfig(iterations=1, samples=8, policy_samples=2, elites=4)
NAMES = ("frozen", "planned", "oracle", "paper", *STRUCTURES, "l1", "finetune")


def build(name: str, agent: Agent) -> OnlineAdapter:
    if name in ("frozen", "planned"):
        return Frozen(agent if name == "frozen" else Agent(agent.model, QUICK))
    if name == "oracle":
        return Oracle(agent)
    if name == "paper":
        return Reflex(agent, EPISODE, ReflexConfig(output_gain=1.0))
    if name == "finetune":
        return Finetune(agent, EPISODE, FinetuneConfig(LearnerConfig(batch=8), capacity=2 * EPISODE))
    some = jax.random.normal(jax.random.key(5), (64, OBS))
    model = OneStep(some, some, ACTIONS, width=32, key=jax.random.key(6))
    model = eqx.tree_at(lambda m: m.network.last.weight, model, replace_fn=lambda w: 10 * w)
    zero, one = jnp.zeros((ACTIONS, ACTIONS + 1)), jnp.ones(())
    calibration = Calibration(model, jnp.eye(OBS), zero, one, one, jnp.full(len(STRUCTURES), 2.0))
    if name == "l1":
        return L1Adaptive(agent, calibration)
    return FastReflex(agent, calibration, FastReflexConfig(structure=name))


@pytest.fixture(scope="module", params=NAMES)
def adapter(request, agent) -> OnlineAdapter:
    return build(request.param, agent)


def observed(key, shape=(EPISODE + 1,)):
    return jax.random.normal(key, (*shape, OBS))


@eqx.filter_jit
def lived(adapter, state, observations, reward, key):
    """An episode of one body along given observations: all commands, all telemetry, the last state."""

    def step(state, inputs):
        obs, after, key = inputs
        command, state = adapter.act(state, obs, key)
        zero = jnp.zeros(())
        state, telemetry = adapter.observe(state, Transition(obs, command, after, zero < 1, reward, zero > 1))
        return state, (command, telemetry)

    keys = jax.random.split(key, len(observations) - 1)
    state, (commands, telemetry) = jax.lax.scan(step, state, (observations[:-1], observations[1:], keys))
    return commands, telemetry, state


@pytest.fixture(scope="module")
def episode(adapter):
    key, zero = jax.random.key(0), jnp.zeros(())
    return lived(adapter, adapter.init(key), observed(key), zero, key)


def test_it_has_the_verbs(adapter):
    assert isinstance(adapter, OnlineAdapter)


def test_commands_stay_inside_the_bounds(episode):
    commands, _, _ = episode
    assert commands.action.shape == commands.base.shape == (EPISODE, ACTIONS)
    assert np.abs(commands.base).max() <= 1.0 and np.abs(commands.action).max() <= 2.0


def test_telemetry_is_finite_and_complete(episode):
    _, telemetry, _ = episode
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(telemetry))
    assert (telemetry.error > 0).all() and not telemetry.guarded.any()
    assert telemetry.gain.shape == telemetry.gain_std.shape == (EPISODE, ACTIONS)
    assert ((telemetry.matched >= 0) & (telemetry.matched <= 1)).all()


def test_the_same_key_gives_the_same_life(adapter, episode):
    key, zero = jax.random.key(0), jnp.zeros(())
    again = lived(adapter, adapter.init(key), observed(key), zero, key)
    assert eqx.tree_equal(again, episode)


def test_bodies_side_by_side_live_as_if_alone(adapter):
    keys, zero = jax.random.split(jax.random.key(1), BODIES), jnp.zeros(())
    observations = observed(jax.random.key(2), (BODIES, EPISODE + 1))
    states = jax.vmap(adapter.init)(keys)
    together = jax.vmap(lambda s, o, k: lived(adapter, s, o, zero, k))(states, observations, keys)
    for i in range(BODIES):
        alone = lived(adapter, adapter.init(keys[i]), observations[i], zero, keys[i])
        for many, one in zip(jax.tree.leaves(together[:2]), jax.tree.leaves(alone[:2]), strict=True):
            np.testing.assert_allclose(many[i], one, rtol=2e-3, atol=2e-4)


def test_an_episode_ends_without_changing_the_shape_of_the_state(adapter, episode):
    _, _, state = episode
    finished = jax.eval_shape(adapter.finish, state)
    assert jax.tree.structure(finished) == jax.tree.structure(state)
    for before, after in zip(jax.tree.leaves(state), jax.tree.leaves(finished), strict=True):
        assert (before.shape, before.dtype) == (after.shape, after.dtype)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_observation_gives_the_base_action_and_a_flag(adapter, episode, bad):
    _, _, state = episode
    obs = jnp.zeros(OBS).at[2].set(bad)
    zero = jnp.zeros(())

    @jax.jit
    def met(state, obs, next_obs):
        command, state = adapter.act(state, obs, jax.random.key(3))
        state, telemetry = adapter.observe(state, Transition(obs, command, next_obs, zero < 1, zero, zero > 1))
        return command, state, telemetry

    fresh = adapter.init(jax.random.key(0))
    command, _, _ = met(fresh, obs, jnp.zeros(OBS))
    assert np.isfinite(command.base).all()
    np.testing.assert_array_equal(command.action, command.base)
    for one, other in ((obs, jnp.zeros(OBS)), (jnp.zeros(OBS), obs), (obs, obs)):
        command, after, telemetry = met(state, one, other)
        assert np.abs(command.action).max() <= 2.0
        leaves = [*jax.tree.leaves(telemetry), *(x for x in jax.tree.leaves(after) if eqx.is_inexact_array(x))]
        assert all(np.isfinite(leaf).all() for leaf in leaves)
        if not isinstance(adapter, (Frozen, Oracle)):
            assert telemetry.guarded


def test_only_what_says_so_reads_the_reward(adapter, episode):
    key = jax.random.key(0)
    rewarded = lived(adapter, adapter.init(key), observed(key), jnp.ones(()), key)
    assert eqx.tree_equal(rewarded, episode) == (not getattr(adapter, "uses_reward", False))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"planned", "paper sampled"}))
def test_base_is_what_the_frozen_agent_does(name, agent):
    """Whatever the method adds or does instead; the two left out draw their base action at random."""
    adapter, obs = build(name, agent), observed(jax.random.key(4), ())
    command, _ = adapter.act(adapter.init(jax.random.key(0)), obs, jax.random.key(5))
    np.testing.assert_allclose(command.base, agent.model.mean_action(agent.model.encode(obs)), rtol=1e-5, atol=1e-6)


def transition(obs, base, after, valid=True):
    zero = jnp.zeros(())
    return Transition(obs, Command(base + 0.5, base), after, jnp.asarray(valid), zero, zero > 1)


def test_control_error_measures_against_the_base_action(agent):
    obs, after, base = *observed(jax.random.key(6), (2,)), jnp.full(ACTIONS, 0.3)
    model = agent.model
    by_hand = np.square(np.asarray(model.encode(after)) - np.asarray(model.predict(model.encode(obs), base))).mean()
    measure = jax.jit(partial(control_error, model))
    np.testing.assert_allclose(measure(transition(obs, base, after)), by_hand, rtol=1e-5)
    assert measure(transition(obs, base, after, valid=False)) == 0
    assert measure(transition(obs, base, after * np.nan)) == 0


def test_correction_share_is_relative_to_the_base_action():
    base = jnp.array([0.3, 0.4])
    assert correction_share(Command(base, base)) == 0
    np.testing.assert_allclose(correction_share(Command(2 * base, base)), 1.0, rtol=1e-6)
    assert np.isfinite(correction_share(Command(base, 0 * base)))


def test_finite_looks_everywhere():
    good = jnp.ones((2, 3))
    assert finite(good, jnp.arange(3))
    assert not finite(good, good.at[1, 2].set(jnp.nan)) and not finite(good.at[0, 0].set(-jnp.inf), good)
