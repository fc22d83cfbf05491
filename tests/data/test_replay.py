"""Replay: slices are true sub-sequences of one episode, uniform, bounded in memory, and survive a round trip."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldshift.data.replay import Batch, Replay

lengths = st.lists(st.integers(1, 12), min_size=1, max_size=12)


def episode(number: int, steps: int, terminated: bool = False) -> dict:
    """Every value tells where it comes from: 1000 * episode + step."""
    t = 1000 * number + np.arange(steps + 1, dtype=np.float32)
    return {
        "obs": np.stack([t, -t], -1),
        "action": np.stack([t[:-1] / 2], -1),
        "reward": t[:-1] + 0.5,
        "terminated": terminated,
    }


def filled(steps: list[int], capacity: int = 10_000) -> Replay:
    replay = Replay(2, 1, capacity)
    for number, n in enumerate(steps):
        replay.add(**episode(number, n, terminated=number % 2 == 1))
    return replay


def assert_true_to_the_episodes(batch: Batch, steps: list[int], horizon: int) -> None:
    first = batch.obs[..., 0, :, 0]  # (count, batch)
    number, start = first // 1000, first % 1000
    for t in range(horizon + 1):
        np.testing.assert_array_equal(batch.obs[..., t, :, 0], first + t)
        np.testing.assert_array_equal(batch.obs[..., t, :, 1], -first - t)
    length = np.array(steps)[number.astype(int)]
    assert (start + horizon <= length).all()
    for t in range(horizon):
        np.testing.assert_array_equal(batch.action[..., t, :, 0], (first + t) / 2)
        np.testing.assert_array_equal(batch.reward[..., t, :], first + t + 0.5)
        final = (start + t + 1 == length) & (number % 2 == 1)
        np.testing.assert_array_equal(batch.terminated[..., t, :], final)


@given(lengths, st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_slices_never_cross_episodes(steps, horizon, seed):
    replay = filled(steps)
    assert replay.transitions == sum(steps)
    rng = np.random.default_rng(seed)
    if max(steps) < horizon:
        with pytest.raises(ValueError, match=f"no episode in the replay has {horizon} steps"):
            replay.sample(rng, 4, horizon)
        return
    batch = replay.sample(rng, 5, horizon, count=2)
    assert batch.obs.shape == (2, horizon + 1, 5, 2) and batch.action.shape == (2, horizon, 5, 1)
    assert batch.reward.shape == batch.terminated.shape == (2, horizon, 5)
    assert {field.dtype for field in batch} == {np.dtype(np.float32)}
    assert_true_to_the_episodes(batch, steps, horizon)


@given(lengths, st.integers(14, 40))
def test_a_full_replay_drops_the_oldest_episodes_and_no_more(steps, capacity):
    replay = filled(steps, capacity)
    kept = []
    for number in reversed(range(len(steps))):  # the newest ones that fit, each with a row for its last observation
        if sum(steps[k] + 1 for k in [*kept, number]) > capacity:
            break
        kept.insert(0, number)
    assert replay.transitions == sum(steps[k] for k in kept)
    expected = np.concatenate([episode(k, steps[k])["obs"] for k in kept])
    np.testing.assert_array_equal(replay.arrays()["obs"], expected)
    assert_true_to_the_episodes(replay.sample(np.random.default_rng(0), 20, 1), steps, 1)


def test_every_start_is_equally_likely():
    steps, horizon, draws = [3, 10, 2, 6], 3, 60_000
    batch = filled(steps).sample(np.random.default_rng(0), draws, horizon)
    starts, counts = np.unique(batch.obs[0, 0, :, 0], return_counts=True)
    assert starts.tolist() == [0, *(1000 + np.arange(8)), *(3000 + np.arange(4))]  # none from the episode of two steps
    chi2 = ((counts - draws / 13) ** 2 / (draws / 13)).sum()
    assert chi2 < 32.9  # 99.9 % quantile with 12 degrees of freedom


def test_samples_are_a_function_of_the_generator():
    replay = filled([9, 4, 7])
    one, same, other = (replay.sample(np.random.default_rng(seed), 8, 2, count=3) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one.obs, other.obs)


def test_samples_are_copies():
    replay = filled([9])
    replay.sample(np.random.default_rng(0), 8, 2).obs[:] = np.nan
    assert np.isfinite(replay.arrays()["obs"]).all()


@pytest.mark.parametrize("field", ["obs", "action", "reward"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_is_refused_and_nothing_is_stored(field, value):
    replay = filled([4], capacity=12)
    before = {name: array.copy() for name, array in replay.arrays().items()}
    bad = episode(7, 9)  # it would push out what is there
    bad[field].flat[-1] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        replay.add(**bad)
    after = replay.arrays()
    assert all(np.array_equal(before[name], after[name]) for name in before) and before.keys() == after.keys()


def test_episodes_that_make_no_sense_are_refused():
    replay = filled([4], capacity=12)
    with pytest.raises(ValueError, match="does not fit into a replay of 12 rows"):
        replay.add(**episode(1, 12))
    good = episode(1, 5)
    for wrong in (
        {"obs": good["obs"][:-1]},
        {"reward": good["reward"][:-1]},
        {"obs": good["obs"][:1], "action": good["action"][:0], "reward": good["reward"][:0]},
    ):
        with pytest.raises(ValueError, match=r"T\+1 observations and T rewards"):
            replay.add(**good | wrong)
    assert replay.transitions == 4


def test_an_empty_replay_says_so():
    with pytest.raises(ValueError, match="no episode in the replay has 3 steps yet"):
        Replay(2, 1).sample(np.random.default_rng(0), 4, 3)


@given(lengths, lengths)
def test_restored_replay_goes_on_as_the_original(steps, more):
    original = filled(steps, capacity=40)
    copy = Replay(2, 1, 40)
    copy.restore({name: array.copy() for name, array in original.arrays().items()})
    for replay in (original, copy):
        for number, n in enumerate(more):
            replay.add(**episode(100 + number, n))
    one, other = original.arrays(), copy.arrays()
    assert all(np.array_equal(one[name], other[name]) for name in one)
    a, b = (replay.sample(np.random.default_rng(3), 6, 1) for replay in (original, copy))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_what_is_restored_is_not_shared():
    original = filled([5])
    stored = original.arrays()
    copy = Replay(2, 1)
    copy.restore(stored)
    stored["obs"][:] = 0
    assert copy.arrays()["obs"].any()


def test_images_are_kept_as_bytes():
    replay, rng = Replay(7, 1, 100, image=4), np.random.default_rng(0)
    obs = np.concatenate([rng.integers(0, 256, (6, 4)), rng.normal(size=(6, 3))], 1).astype(np.float32)
    replay.add(obs, np.zeros((5, 1)), np.zeros(5), False)
    assert replay.arrays()["image"].dtype == np.uint8
    batch = replay.sample(rng, 2, 5)
    np.testing.assert_array_equal(batch.obs[0, :, 0], obs)
    again = Replay(7, 1, 100, image=4)
    again.restore(replay.arrays())
    np.testing.assert_array_equal(again.sample(rng, 2, 5).obs, batch.obs)
    mean, spread = replay.spread()
    np.testing.assert_allclose(mean, obs.mean(0), rtol=1e-5)
    np.testing.assert_allclose(spread, obs[:, 4:].std(0), rtol=1e-5)
