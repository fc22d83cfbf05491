"""N environments side by side: threads change nothing, rows keep their order, resets touch only what they name."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from worldshift.envs import BatchEnv, make

WALKERS = [partial(make, "walker-walk", episode_steps=4)] * 5


class Counter(gymnasium.Env):
    """Observes (its own number, steps since the reset, last seed); pays its action; ends in its own ways."""

    def __init__(self, number: int, *, width: int = 1):
        self.number, self.count, self.seed, self.closed = number, 0, -1, False
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (width,), np.float32)

    def _observe(self) -> np.ndarray:
        return np.array([self.number, self.count, self.seed], np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self.count, self.seed = 0, -1 if seed is None else seed
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.count += 1
        ends = self.number == 0 and self.count == 2, self.number == 1 and self.count == 2
        return self._observe(), float(action[0]), *ends, {"number": self.number}

    def close(self) -> None:
        self.closed = True


def counters(n: int, threads: int = 1) -> BatchEnv:
    return BatchEnv([partial(Counter, i) for i in range(n)], threads)


@pytest.mark.parametrize("threads", [2, 8])
def test_threads_equal_no_threads_bit_by_bit(threads):
    alone, side_by_side = BatchEnv(WALKERS), BatchEnv(WALKERS, threads)
    rng = np.random.default_rng(0)
    seeds = [3, 1, 4, 1, 5]
    starts = [batch.reset(seeds) for batch in (alone, side_by_side)]
    np.testing.assert_array_equal(starts[0], starts[1])
    np.testing.assert_array_equal(starts[0][1], starts[0][3])  # the same seed, the same start
    for _ in range(4):
        actions = rng.uniform(-2, 2, (5, 6)).astype(np.float32)
        one, other = alone.step(actions), side_by_side.step(actions)
        for a, b in zip(one[:4], other[:4], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
    assert one.truncated.all() and not one.terminated.any()
    for batch in (alone, side_by_side):
        batch.close()


def test_a_batch_is_its_environments_one_by_one():
    batch = BatchEnv(WALKERS[:2])
    singles = [make_one() for make_one in WALKERS[:2]]
    expected = np.stack([env.reset(seed=seed)[0] for env, seed in zip(singles, (8, 9), strict=True)])
    np.testing.assert_array_equal(batch.reset([8, 9]), expected)
    actions = np.random.default_rng(1).uniform(-1, 1, (2, 6)).astype(np.float32)
    step = batch.step(actions)
    rows = [env.step(action) for env, action in zip(singles, actions, strict=True)]
    np.testing.assert_array_equal(step.obs, np.stack([row[0] for row in rows]))
    np.testing.assert_array_equal(step.reward, np.array([row[1] for row in rows], np.float32))
    assert step.obs.dtype == step.reward.dtype == np.float32


@pytest.mark.parametrize("threads", [1, 3])
def test_rows_keep_their_order_and_nothing_resets_by_itself(threads):
    batch = counters(6, threads)
    assert len(batch) == 6
    np.testing.assert_array_equal(batch.reset(range(10, 16)), [[i, 0, 10 + i] for i in range(6)])
    actions = np.linspace(-1, 1, 6, dtype=np.float32)[:, None]
    for count in (1, 2, 3):
        step = batch.step(actions)
        np.testing.assert_array_equal(step.obs, [[i, count, 10 + i] for i in range(6)])
        np.testing.assert_array_equal(step.reward, actions[:, 0])
        assert step.terminated.tolist() == [count == 2, *[False] * 5]
        assert step.truncated.tolist() == [False, count == 2, *[False] * 4]
        assert [info["number"] for info in step.info] == list(range(6))
    batch.close()


def test_a_partial_reset_touches_only_what_it_names():
    batch = counters(4)
    batch.reset([0, 0, 0, 0])
    batch.step(np.zeros((4, 1), np.float32))
    np.testing.assert_array_equal(batch.reset([70, None], only=[2, 0]), [[2, 0, 70], [0, 0, -1]])
    step = batch.step(np.zeros((4, 1), np.float32))
    np.testing.assert_array_equal(step.obs, [[0, 1, -1], [1, 2, 0], [2, 1, 70], [3, 2, 0]])


def test_close_reaches_every_environment():
    batch = counters(3, threads=2)
    batch.close()
    assert all(env.closed for env in batch.envs)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_one_environment_comes_through(threads):
    batch = BatchEnv(WALKERS[:2], threads)
    batch.reset([0, 0])
    actions = np.zeros((2, 6), np.float32)
    actions[1, 2] = np.nan
    with pytest.raises(ValueError, match="an action is 6 finite numbers"):
        batch.step(actions)
    batch.close()


def test_what_cannot_be_a_batch_is_refused():
    with pytest.raises(ValueError, match="at least one environment"):
        BatchEnv([])
    with pytest.raises(ValueError, match="must share their spaces"):
        BatchEnv([partial(Counter, 0), partial(Counter, 1, width=2)])
    batch = counters(3)
    with pytest.raises(ValueError, match="3 environments to reset need as many seeds, not 2"):
        batch.reset([1, 2])
    with pytest.raises(ValueError, match="1 environments to reset need as many seeds, not 3"):
        batch.reset([1, 2, 3], only=[0])
    with pytest.raises(ValueError, match="3 environments need as many actions, not 1"):
        batch.step(np.zeros((1, 1), np.float32))
