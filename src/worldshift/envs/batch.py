"""N environments stepped side by side in threads (MuJoCo releases the interpreter lock inside its own step).

Rows are environments: observations (N, O), actions (N, A). Resets are explicit, so that a runner stays in charge of
when an episode starts and with which seed; nothing resets behind its back.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import gymnasium
import numpy as np


class BatchStep(NamedTuple):
    """What one step of N environments gives back."""

    obs: np.ndarray  # (N, O) float32
    reward: np.ndarray  # (N,) float32
    terminated: np.ndarray  # (N,) bool
    truncated: np.ndarray  # (N,) bool
    info: list[dict[str, Any]]


class BatchEnv:
    """Steps N environments of one kind together."""

    def __init__(self, makers: Sequence[Callable[[], gymnasium.Env]], threads: int = 1):
        """`makers` build the environments; with `threads` > 1 they are stepped in that many threads.

        Raises:
            ValueError: no environment, or their spaces differ.
        """
        self.envs = [make() for make in makers]
        if not self.envs:
            raise ValueError("a batch needs at least one environment.")
        spaces = {(str(e.observation_space), str(e.action_space)) for e in self.envs}
        if len(spaces) > 1:
            raise ValueError(f"environments of a batch must share their spaces, found {sorted(spaces)}.")
        self.observation_space, self.action_space = self.envs[0].observation_space, self.envs[0].action_space
        self._pool = ThreadPoolExecutor(threads) if threads > 1 and len(self.envs) > 1 else None

    def __len__(self) -> int:
        return len(self.envs)

    def _map(self, function: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
        return list((self._pool.map if self._pool else map)(function, *columns))

    def reset(self, seeds: Sequence[int | None], only: Sequence[int] | None = None) -> np.ndarray:
        """Resets all environments, or those whose indices are in `only`; returns their observations, (len, O).

        Raises:
            ValueError: not one seed for each of them.
        """
        which = range(len(self)) if only is None else only
        if len(seeds) != len(which):
            raise ValueError(f"{len(which)} environments to reset need as many seeds, not {len(seeds)}.")
        return np.stack(self._map(lambda i, s: self.envs[i].reset(seed=s)[0], which, seeds))

    def step(self, actions: np.ndarray) -> BatchStep:
        """One agent step of every environment under `actions`, (N, A).

        Raises:
            ValueError: not one action for each of them.
        """
        if len(actions) != len(self):
            raise ValueError(f"{len(self)} environments need as many actions, not {len(actions)}.")
        rows = self._map(lambda env, action: env.step(action), self.envs, list(actions))
        obs, reward, terminated, truncated, info = zip(*rows, strict=True)
        return BatchStep(
            np.stack(obs), np.asarray(reward, np.float32), np.asarray(terminated), np.asarray(truncated), list(info)
        )

    def close(self) -> None:
        """Closes every environment and the threads."""
        for env in self.envs:
            env.close()
        if self._pool:
            self._pool.shutdown()
