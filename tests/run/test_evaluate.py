"""Evaluation: sums until the first end and not beyond, fixed start seeds, saturation of those still alive."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from worldshift.envs import BatchEnv, make
from worldshift.run.evaluate import evaluate


class Clock(gymnasium.Env):
    """Observes (steps, seed), pays step + 1, ends after `life` steps; must not be stepped once it is over."""

    def __init__(self, life: int, *, terminal: bool):
        self.life, self.terminal, self.t, self.seed = life, terminal, 0, -1
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Box(-2.0, 2.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self.t, self.seed = 0, -1 if seed is None else seed
        return np.array([self.t, self.seed], np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.t < self.life, "stepped after its end"
        self.t += 1
        over = self.t == self.life
        reward = float(self.t) if self.seed >= 0 else np.nan
        return np.array([self.t, self.seed], np.float32), reward, over and self.terminal, over and not self.terminal, {}


def clocks(*lives: int, terminal: bool = True) -> BatchEnv:
    return BatchEnv([partial(Clock, life, terminal=terminal) for life in lives])


def still(obs: np.ndarray, t: int) -> np.ndarray:
    return np.zeros((len(obs), 2), np.float32)


@pytest.mark.parametrize("terminal", [True, False])
def test_an_episode_counts_until_it_ends(terminal):
    result = evaluate(clocks(1, 3, 5, 9, terminal=terminal), still, steps=6)
    assert result.returns.tolist() == [1.0, 6.0, 15.0, 21.0]  # sums of 1..n
    assert result.lengths.tolist() == [1, 3, 5, 6]
    assert result.saturation == 0.0


def test_environments_start_from_consecutive_seeds_and_time_runs():
    seen = []

    def act(obs: np.ndarray, t: int) -> np.ndarray:
        seen.append((t, obs.copy()))
        return still(obs, t)

    evaluate(clocks(4, 4), act, steps=10, seed=70)
    assert [t for t, _ in seen] == [0, 1, 2, 3]  # nobody is left after that
    np.testing.assert_array_equal([obs for _, obs in seen], [[[t, 70], [t, 71]] for t in range(4)])


def test_saturation_counts_components_beyond_095_of_those_alive():
    def act(obs: np.ndarray, t: int) -> np.ndarray:
        return np.array([[0.96, 0.0], [-1.0, 0.95]] if t < 2 else [[1.0, 1.0], [-0.99, 0.5]], np.float32)

    # The first dies after two steps: (0.96, 0) twice and (-1, 0.95) twice, then (-0.99, 0.5) twice of the other.
    result = evaluate(clocks(2, 4), act, steps=4)
    assert result.saturation == pytest.approx((2 + 2 + 2) / (4 + 4 + 4))


def test_the_same_evaluation_twice_is_the_same():
    batch = BatchEnv([partial(make, "cup-catch", episode_steps=10)] * 3)
    policy = lambda obs, t: np.tanh(obs[:, :2]).astype(np.float32)  # noqa: E731
    one, again = (evaluate(batch, policy, steps=10, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.returns, again.returns)
    assert one.lengths.tolist() == [10, 10, 10]
    other = evaluate(batch, policy, steps=10, seed=100)
    assert one.returns.tolist() != other.returns.tolist() or one.returns.sum() == 0
