"""Recordings of the healthy body: what was sent is what moved it, and one quarter is left alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.adapt.calibrate import Recording
from worldshift.adapt.finetune import Finetune
from worldshift.agents.agent import Agent
from worldshift.envs.pointmass import EPISODE_STEPS, GEAR, MASS
from worldshift.models.latent import WorldModel
from worldshift.run.online.collect import collect, healthy_replay

BODIES, STEPS, LIMIT = 8, 230, 2.0
SPEED = GEAR / MASS * 0.04  # m/s that a command of 1 adds in an agent step


@pytest.fixture(scope="module")
def pusher() -> Agent:
    """An untrained agent of the point mass whose actions are anything but zero."""
    model = WorldModel(4, 2, size=1, key=jax.random.key(0))
    return Agent(eqx.tree_at(lambda m: m.policy_head.last.weight, model, replace_fn=lambda w: 8 * w))


@pytest.fixture(scope="module")
def recording(pusher) -> Recording:
    done = []
    recorded = collect(pusher, "point-mass", bodies=BODIES, steps=STEPS, seed=1, report=done.append)
    assert done == list(range(1, STEPS + 1))
    return recorded


def test_every_field_has_its_shape(recording):
    shapes = {"obs": (4,), "base": (2,), "action": (2,), "next_obs": (4,), "gains": (2,), "valid": ()}
    for name, shape in shapes.items():
        field = getattr(recording, name)
        assert field.shape == (BODIES, STEPS, *shape) and field.dtype == np.float32, name
        assert np.isfinite(field).all()
    assert recording.excited.sum() == 3 * BODIES // 4 and recording.valid.all()


def test_base_is_what_the_agent_does(recording, pusher):
    model = pusher.model
    np.testing.assert_allclose(recording.base, model.mean_action(model.encode(jnp.asarray(recording.obs))), atol=1e-5)
    assert np.abs(recording.base).std() > 0.05


def test_what_was_sent_is_what_moved_the_body(recording):
    inside = np.abs(recording.next_obs[..., :2]).max(-1) < 0.45  # away from the walls
    gained = (recording.next_obs - recording.obs)[..., 2:]
    np.testing.assert_allclose(gained[inside], SPEED * recording.action[inside], atol=1e-5)


def test_plain_bodies_are_left_alone_and_excited_ones_are_not(recording):
    plain, excited = ~recording.excited, recording.excited
    np.testing.assert_array_equal(recording.action[plain], recording.base[plain])
    assert (recording.gains[plain] == 1).all()
    gains = recording.gains[excited]
    assert gains.min() < 0.6 and gains.max() > 1.4 and ((gains >= 0.4) & (gains <= 1.6)).all()
    changed = np.abs(np.diff(gains, axis=1)).max(-1) > 0
    assert not ((np.flatnonzero(changed.any(0)) + 1) % 20).any(), "new gains every 20 steps only"
    assert np.abs(recording.action).max() <= LIMIT
    off = recording.action[excited] - recording.base[excited] * gains
    assert 0.02 < off.std() < 0.3 and abs(off.mean()) < 0.02


def test_episodes_follow_and_their_resets_are_staggered(recording):
    follows = (recording.obs[:, 1:] == recording.next_obs[:, :-1]).all(-1)
    resets = [np.flatnonzero(~row) for row in follows]
    assert all(1 <= len(row) <= 2 for row in resets), f"{STEPS} steps hold one or two ends of {EPISODE_STEPS}"
    assert len({int(row[0]) for row in resets}) > BODIES // 2
    for row in resets:
        assert (np.diff(row) == EPISODE_STEPS).all()


def test_a_seed_gives_the_same_recording_in_any_number_of_threads(recording, pusher):
    again = collect(pusher, "point-mass", bodies=BODIES, steps=60, seed=1, threads=2)
    for name, field in again._asdict().items():
        whole = getattr(recording, name)
        np.testing.assert_array_equal(field, whole if name == "excited" else whole[:, :60])
    other = collect(pusher, "point-mass", bodies=BODIES, steps=60, seed=2)
    assert np.abs(other.action - again.action).max() > 0.1


def test_without_excitation_no_body_is_disturbed(pusher):
    calm = collect(pusher, "point-mass", bodies=2, steps=45, seed=0, excite=False)
    np.testing.assert_array_equal(calm.action, calm.base)
    assert not calm.excited.any()


def test_what_stands_for_the_buffer_of_pre_training(pusher):
    arrays = healthy_replay(pusher, "point-mass", steps=2 * 250, bodies=2, seed=4).arrays()
    assert sorted(arrays["lengths"]) == [50, 50, EPISODE_STEPS, EPISODE_STEPS] and len(arrays["obs"]) == 504
    again = healthy_replay(pusher, "point-mass", steps=500, bodies=2, seed=4).arrays()
    for name, values in arrays.items():
        np.testing.assert_array_equal(values, again[name])
    kept = Finetune(pusher, EPISODE_STEPS, kept=arrays).kept
    assert kept is not None and int(kept.follows.sum()) == 500
    obs, action = arrays["obs"][:31], arrays["action"][:30]  # before a wall is met
    np.testing.assert_allclose(np.diff(obs[:, 2:], axis=0), SPEED * action, atol=1e-5)
    means = np.asarray(pusher.model.mean_action(pusher.model.encode(jnp.asarray(obs[:30]))))
    assert np.abs(action - means).mean() > 1e-3, "actions are sampled"
