"""The finetune baseline: it learns from reward, from what follows from what, and from nothing else."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.adapt.contract import Transition
from worldshift.adapt.finetune import Finetune, FinetuneConfig, Rows, sample, starts
from worldshift.agents.agent import Agent
from worldshift.agents.tdmpc2 import LearnerConfig
from worldshift.data.replay import Replay
from worldshift.models.latent import WorldModel

EPISODE, OBS, ACTIONS, HORIZON = 24, 2, 1, 3
CONFIG = FinetuneConfig(LearnerConfig(batch=32, action_cost="none", learning_rate=1e-3), capacity=3 * EPISODE)


@pytest.fixture(scope="module")
def small() -> Agent:
    """An untrained agent of a body with 2 observations and 1 action, whose policy tries things out (deviation 0.5)."""
    model = WorldModel(OBS, ACTIONS, size=1, key=jax.random.key(0))
    bias = jnp.array([0.0, 0.62])  # of the mean and of what becomes the log deviation
    return Agent(eqx.tree_at(lambda m: m.policy_head.last.bias, model, bias), discount=0.95)


@pytest.fixture(scope="module")
def finetune(small) -> Finetune:
    return Finetune(small, EPISODE, CONFIG)


def lived(adapter, state, key, broken=-1, ended=-1, steps=EPISODE):
    """An episode of a body that shows the time and the last action, and is paid for the action.

    The step at time `broken` is across a reset, the one at time `ended` ends the episode.
    """
    return _lived(adapter, state, key, jnp.asarray(broken), jnp.asarray(ended), steps)


@eqx.filter_jit
def _lived(adapter, state, key, broken, ended, steps):

    def step(carry, inputs):
        state, obs = carry
        t, key = inputs
        command, state = adapter.act(state, obs, key)
        after = jnp.stack([0.1 * (t + 1), command.action[0]])
        seen = Transition(obs, command, after, t != broken, command.action[0], t == ended)
        state, telemetry = adapter.observe(state, seen)
        return (state, after), (command, telemetry)

    inputs = jnp.arange(steps), jax.random.split(key, steps)
    (state, _), (command, telemetry) = jax.lax.scan(step, (state, jnp.zeros(OBS)), inputs)
    return state, command, telemetry


@eqx.filter_jit
def finished(adapter, state):
    return adapter.finish(state)


def trained(adapter, episodes, key=None):
    """State, actions and errors of some episodes in a row."""
    key = jax.random.key(1) if key is None else key
    state, actions, errors = adapter.init(key), [], []
    for i in range(episodes):
        state, command, telemetry = lived(adapter, state, jax.random.fold_in(key, i))
        actions.append(np.asarray(command.action))
        errors.append(np.asarray(telemetry.error))
        state = finished(adapter, state)
    return state, np.stack(actions), np.stack(errors)


@pytest.fixture(scope="module")
def after_training(finetune):
    return trained(finetune, 20)


def test_it_learns_what_it_is_paid_for(finetune, after_training):
    state, actions, errors = after_training
    assert state.learner.updates == 20 * EPISODE, "one update for each agent step"
    assert abs(actions[0].mean()) < 0.4 and actions[-1].mean() > 0.7
    model, z = state.learner.model, state.learner.model.encode(jnp.array([0.5, 0.5]))
    for action in np.quantile(actions[-3:], [0.1, 0.9]):  # within what the buffer holds
        assert abs(float(model.reward(z, jnp.array([action]))) - action) < 0.2
    assert errors[-1].mean() < 0.5 * errors[0].mean(), "its model must have learned what its actions do"


def test_the_given_agent_is_left_as_it_was(small, finetune, after_training):
    state, *_ = after_training
    assert eqx.tree_equal(finetune.agent, small)
    assert not eqx.tree_equal(state.learner.model, small.model)
    obs = jnp.array([0.3, -0.2])
    command, _ = finetune.act(state, obs, jax.random.key(0))
    np.testing.assert_allclose(command.base, small.model.mean_action(small.model.encode(obs)), rtol=1e-5, atol=1e-6)


def test_the_same_key_gives_the_same_agent(finetune, after_training):
    _, actions, _ = after_training
    again, others = (trained(finetune, 3, key) for key in (jax.random.key(1), jax.random.key(2)))
    np.testing.assert_array_equal(again[1], actions[:3])
    assert np.abs(others[1] - actions[:3]).max() > 0.1
    assert not eqx.tree_equal(again[0].learner, others[0].learner)


def batch_of(rows: Rows, size: int = 2000):
    """Sub-sequences drawn from a ring of episodes, or from rows without one."""
    flat = Rows(*(jnp.asarray(x).reshape(-1, *x.shape[rows.follows.ndim :]) for x in rows))
    batch = sample(flat, jnp.cumsum(starts(flat.follows, HORIZON)), jax.random.key(0), size, HORIZON)
    return jax.tree.map(np.asarray, batch)


def test_sub_sequences_never_cross_a_reset(finetune):
    """Each observation tells the time and the action before it, so a wrong neighbour shows."""
    state = finetune.init(jax.random.key(0))
    for i, broken in enumerate((-1, 10, 0, EPISODE - 1, 5)):  # more episodes than the buffer holds
        state, *_ = lived(finetune, state, jax.random.key(i), broken)
        state = finished(finetune, state)
    batch = batch_of(state.fresh)
    np.testing.assert_allclose(np.diff(batch.obs[..., 0], axis=0), 0.1, atol=1e-5)
    np.testing.assert_array_equal(batch.obs[1:, ..., 1], batch.action[..., 0])
    np.testing.assert_array_equal(batch.reward, batch.action[..., 0])
    first = np.unique(np.round(10 * batch.obs[0, :, 0]).astype(int))
    assert set(first) == set(range(EPISODE - HORIZON + 1)), "every start that is whole in some episode is drawn"
    latest = state.fresh.follows[4 % 3]
    np.testing.assert_array_equal(np.flatnonzero(~latest), [5, EPISODE])


def test_nothing_is_learned_beyond_the_end_of_an_episode(finetune):
    state, *_ = lived(finetune, finetune.init(jax.random.key(0)), jax.random.key(0), -1, 9)
    state = finished(finetune, state)
    assert state.learner.updates == 10
    batch = batch_of(state.fresh)
    assert batch.terminated.any() and not batch.terminated[:-1].any()
    np.testing.assert_array_equal(batch.terminated[-1], np.isclose(batch.obs[-1, :, 0], 1.0))


def test_an_episode_without_steps_changes_nothing(finetune):
    fresh = finetune.init(jax.random.key(0))
    assert eqx.tree_equal(finished(finetune, fresh), fresh)


def kept_buffer(reward: float, episodes: int = 20) -> dict[str, np.ndarray]:
    replay, rng = Replay(OBS, ACTIONS), np.random.default_rng(0)
    for _ in range(episodes):
        steps = int(rng.integers(5, 40))
        action = rng.uniform(-1, 1, (steps, ACTIONS))
        obs = np.column_stack([0.1 * np.arange(steps + 1), np.append(0.0, action[:, 0])])
        replay.add(obs, action, np.full(steps, reward), terminated=False)
    return replay.arrays()


def test_the_kept_buffer_is_learned_from(small):
    """It pays 3 whatever is done; the few fresh steps in between can not outweigh that."""
    adapter = Finetune(small, EPISODE, CONFIG, kept_buffer(reward=3.0))
    assert adapter.kept is not None
    batch = batch_of(adapter.kept)
    assert (batch.reward == 3.0).all()
    np.testing.assert_allclose(np.diff(batch.obs[..., 0], axis=0), 0.1, atol=1e-5)
    np.testing.assert_allclose(batch.obs[1:, ..., 1], batch.action[..., 0], atol=1e-6)
    state, *_ = trained(adapter, 8)
    z = state.learner.model.encode(jnp.array([0.5, 0.0]))
    assert 1.2 < float(state.learner.model.reward(z, jnp.zeros(ACTIONS))) < 3.5


def test_bodies_side_by_side_learn_as_if_alone(finetune):
    keys = jax.random.split(jax.random.key(3), 2)
    alone = [lived(finetune, finetune.init(k), k, steps=8)[0] for k in keys]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    together = eqx.filter_jit(eqx.filter_vmap(finetune.finish))(together)
    obs = jnp.linspace(-1, 1, 2 * 20).reshape(20, OBS)
    for i, state in enumerate(alone):
        one, many = finished(finetune, state).learner, jax.tree.map(lambda x, i=i: x[i], together.learner)
        assert one.updates == many.updates == 8
        for act in (lambda m: m.mean_action(m.encode(obs)), lambda m: m.encode(obs)):
            np.testing.assert_allclose(act(many.model), act(one.model), atol=5e-3)


def test_an_update_that_blows_up_is_taken_back(small):
    wild = Finetune(small, EPISODE, replace(CONFIG, learner=replace(CONFIG.learner, learning_rate=1e38)))
    state, *_ = lived(wild, wild.init(jax.random.key(0)), jax.random.key(0))
    done = finished(wild, state)
    assert eqx.tree_equal(done.learner, state.learner)
    command, _ = wild.act(done, jnp.zeros(OBS), jax.random.key(0))
    assert np.isfinite(command.action).all()


@pytest.mark.parametrize("what", ["reward", "next_obs"])
def test_a_bad_step_is_not_stored(finetune, what):
    state, zero = finetune.init(jax.random.key(0)), jnp.zeros(())
    command, state = finetune.act(state, jnp.zeros(OBS), jax.random.key(0))
    good = Transition(jnp.zeros(OBS), command, jnp.ones(OBS), zero < 1, zero, zero > 1)
    bad = good._replace(**{what: getattr(good, what) * jnp.nan})
    for step in (good, bad, good):
        state, telemetry = finetune.observe(state, step)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(telemetry))
    np.testing.assert_array_equal(np.flatnonzero(state.episode.follows), [0, 2])
    assert all(np.isfinite(leaf).all() for leaf in state.episode)


def test_an_episode_longer_than_announced_keeps_its_beginning(finetune):
    long, *_ = lived(finetune, finetune.init(jax.random.key(0)), jax.random.key(0), steps=EPISODE + 5)
    short = jnp.round(10 * long.episode.obs[:, 0])
    np.testing.assert_array_equal(short, np.arange(EPISODE + 1))
    assert long.episode.follows.sum() == EPISODE


def test_what_cannot_be_meant_is_refused(small):
    with pytest.raises(ValueError, match="between 3 steps"):
        Finetune(small, 2, CONFIG)
    with pytest.raises(ValueError, match="capacity"):
        Finetune(small, CONFIG.capacity + 1, CONFIG)
    with pytest.raises(ValueError, match="update ratio"):
        FinetuneConfig(update_ratio=-1.0)
    other = kept_buffer(0.0, episodes=1) | {"obs": np.zeros((9, 5), np.float32)}
    with pytest.raises(ValueError, match="5 observations and 1 actions, the agent 2 and 1"):
        Finetune(small, EPISODE, CONFIG, other)
