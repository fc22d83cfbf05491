"""Episodes of a batch of bodies, one under way in each of them, whoever acts; what is over goes into a replay."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from worldshift.data.replay import Replay
from worldshift.envs import BatchEnv


class Lives:
    """The episodes of a round, one under way in every environment; what is over goes into the replay."""

    def __init__(self, batch: BatchEnv, replay: Replay, seeds: Sequence[int]):
        """Resets every environment with its own seed."""
        self.batch, self.replay, self.seeds = batch, replay, list(seeds)
        self.obs = batch.reset(self.seeds)
        """(N, O), now."""
        self.returns: list[float] = []
        """Of the episodes that ended by themselves; the round's end cuts the others short."""
        self._totals, self._steps = np.zeros(len(batch)), 0
        self._open: list[list[list[Any]]] = [[[obs], [], []] for obs in self.obs]

    def step(self, action: np.ndarray, *, last: bool) -> list[int]:
        """One step everywhere. Returns the environments in which another episode began; none after the last step."""
        step, anew = self.batch.step(action), []
        self._totals += step.reward
        self._steps += 1
        for i, (seen, acted, paid) in enumerate(self._open):
            seen.append(step.obs[i])
            acted.append(action[i])
            paid.append(step.reward[i])
            ended = step.terminated[i] or step.truncated[i]
            if not (ended or last):
                continue
            self.replay.add(np.stack(seen), np.stack(acted), np.asarray(paid), bool(step.terminated[i]))
            if ended:
                self.returns.append(float(self._totals[i]))
            self._totals[i] = 0.0
            if not last:
                step.obs[i] = self.batch.reset([self.seeds[i] + self._steps], only=[i])[0]
                anew.append(i)
            self._open[i] = [[step.obs[i]], [], []]
        self.obs = step.obs
        return anew
