"""Recordings for offline adaptation: the same seed gives the same bytes, and every behaviour is what it says."""

from dataclasses import replace

import numpy as np
import pytest

from worldshift.data.episodes import load_episodes, save_episodes
from worldshift.run import pairs
from worldshift.run.noise import NOISE_BURST, POLICY_STRETCH
from worldshift.run.offline.record import RecordConfig, record
from worldshift.shifts import ActionSign

CONFIG = RecordConfig("pendulum-swingup", transitions=1200, num_envs=2, behaviour="policy", seed=3)


def steady(obs, t):
    """A policy that is easy to recognise."""
    return np.full((len(obs), 1), 0.25)


def test_as_many_transitions_as_asked_for():
    found = list(record(CONFIG, steady))
    assert [len(e.action) for e in found] == [500, 500, 200] and [len(e.obs) for e in found] == [501, 501, 201]
    assert all(e.reward is None and not e.terminated for e in found)
    assert all((e.action == np.float32(0.25)).all() for e in found)
    assert np.abs(found[0].obs[0] - found[1].obs[0]).max() > 1e-3, "every episode has a start of its own"


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    mixed = RecordConfig("pendulum-swingup", transitions=600, num_envs=2, seed=5)
    for name in ("a", "b"):
        save_episodes(tmp_path / name, record(mixed, steady), {})
    files = [sorted(p.name for p in (tmp_path / name).glob("*.npz")) for name in ("a", "b")]
    assert files[0] == files[1]
    for name in files[0]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert load_episodes(tmp_path / "a").transitions == 600


def test_half_of_mixed_episodes_have_bursts_of_noise():
    mixed = RecordConfig("pendulum-swingup", transitions=2000, num_envs=4, seed=5)
    shares = [float(np.mean(e.action != np.float32(0.25))) for e in record(mixed, steady)]
    assert shares[0] == shares[2] == 0.0
    expected = NOISE_BURST / (NOISE_BURST + POLICY_STRETCH)
    assert all(abs(s - expected) < 0.05 for s in (shares[1], shares[3]))


def test_random_data_needs_nobody():
    random = RecordConfig("pendulum-swingup", transitions=500, num_envs=1, behaviour="random")
    (episode,) = record(random, None)
    assert abs(episode.action.mean()) < 0.15 and abs(episode.action.std() - 3**-0.5) < 0.05
    with pytest.raises(ValueError, match="needs an agent"):
        next(record(CONFIG, None))


def test_the_target_is_what_is_recorded():
    """Reversed actions: the target under a is the source under -a."""
    reversed_ = RecordConfig("pendulum-swingup", ActionSign(), 500, "policy", num_envs=1, seed=1)
    plain = RecordConfig("pendulum-swingup", None, 500, "policy", num_envs=1, seed=1)
    (ours,), (theirs,) = record(reversed_, steady), record(plain, lambda obs, t: -steady(obs, t))
    np.testing.assert_allclose(ours.obs, theirs.obs, atol=1e-6)
    assert (ours.action == 0.25).all(), "what the policy sent, not what the shift made of it"


def test_rewards_are_kept_when_asked_for():
    (episode,) = record(RecordConfig("pendulum-swingup", None, 500, "policy", rewards=True, num_envs=1), steady)
    assert episode.reward is not None and set(np.unique(episode.reward)) <= {0.0, 1.0}


@pytest.mark.usefixtures("seen")
def test_an_agent_of_states_acts_while_images_are_recorded():
    """The same moments, once as they are and once as a camera sees them."""
    shown = []

    def act(obs, t):
        shown.append(obs)
        return np.sin(3 * obs[:, :1])

    plain = RecordConfig("pendulum-swingup", None, 40, "policy", num_envs=1, seed=1)
    pictured = replace(plain, task="pixels:pendulum-swingup", from_states=True)
    (states,), (pictures,) = record(plain, act), record(pictured, act)
    np.testing.assert_array_equal(np.concatenate(shown[:41]), states.obs)
    np.testing.assert_array_equal(pictures.action, states.action)
    assert pictures.image is not None and pictures.image.shape == (41, 64, 64, 3)
    np.testing.assert_allclose(pictures.obs, states.obs[:, 2:], atol=1e-6)


def test_the_four_pairs():
    """Sources and targets differ by what was published, and by nothing else."""
    assert list(pairs.PAIRS) == ["cup-windy", "finger-torque", "pendulum-reversed", "reacher-reversed"]
    for pair in pairs.PAIRS.values():
        envs = [pair.make(where) for where in ("source", "target")]
        starts = [env.reset(seed=4)[0] for env in envs]
        np.testing.assert_allclose(starts[0], starts[1], atol=1e-6)
        action = np.full(envs[0].action_space.shape, 0.5)
        for _ in range(5):
            rows = [env.step(action) for env in envs]
        assert np.abs(rows[0][0] - rows[1][0]).max() > 1e-3, pair.name
        assert envs[0].get_wrapper_attr("episode_steps") == 500 and envs[0].action_space.high.max() == 1.0
        for env in envs:
            env.close()
    with pytest.raises(ValueError, match="choose among cup-windy"):
        pairs.find_pair("walker-on-ice")


def test_reward_is_that_of_the_last_control_step():
    env = pairs.make("cartpole-balance")
    env.reset(seed=0)
    assert env.step(np.zeros(1))[1] <= 1.0


def test_short_episodes_begin_more_often():
    """Each begins with a start pose of its own, and the transitions asked for come together all the same."""
    asked = []
    found = list(record(replace(CONFIG, transitions=230, length=50), lambda obs, t: asked.append(t) or steady(obs, t)))
    assert asked == 3 * [*range(50)], "whoever acts is told where an episode begins"
    assert [len(e.action) for e in found] == [50, 50, 50, 50, 30] and not any(e.terminated for e in found)
    assert len({float(e.obs[0, 0]) for e in found}) == 5
    whole = next(record(replace(CONFIG, length=None), steady))
    assert len(next(record(replace(CONFIG, length=9000), steady)).action) == len(whole.action) == 500
    with pytest.raises(ValueError, match="length must be at least 1"):
        replace(CONFIG, length=0)


def test_the_reacher_in_the_mirror_is_the_same_arm():
    """What docs/pretraining.md does to recordings of the reacher gives recordings of the reacher."""
    mirror = np.float32([1, -1, -1, 1, -1, -1, -1])
    ours, theirs = (pairs.make("reacher-easy") for _ in range(2))
    for env in (ours, theirs):
        env.reset(seed=1)
    body = theirs.unwrapped
    body.data.qpos *= -1
    body.model.geom("target").pos[1] *= -1
    bent, rng = [], np.random.default_rng(0)
    for action in rng.uniform(-1, 1, (200, 2)):
        seen, reward, *_ = ours.step(action)
        mirrored, same, *_ = theirs.step(-action)
        np.testing.assert_allclose(mirrored, seen * mirror, atol=1e-6)
        assert same == reward
        bent.append(float(np.abs(seen[2])))
    assert np.ptp(bent) > 0.2, "the wrist moved"
