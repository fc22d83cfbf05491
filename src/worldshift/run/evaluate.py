"""Evaluation of a base agent: whole episodes side by side, mean action, fixed start seeds.

Returns are sums of reward over one episode (dm_control: out of 1000). Saturation is the share of action components
beyond 0.95, the sign of a bang-bang policy that leaves a reflex no room.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from worldshift.envs import BatchEnv


class Evaluation(NamedTuple):
    """One number per episode, and how saturated the actions were."""

    returns: np.ndarray  # (N,)
    lengths: np.ndarray  # (N,) agent steps
    saturation: float


def evaluate(
    batch: BatchEnv, act: Callable[[np.ndarray, int], np.ndarray], *, steps: int, seed: int = 10_000
) -> Evaluation:
    """Runs one episode in every environment of `batch`.

    Arguments:
        act: (observations (N, O), agent step) -> actions (N, A).
        steps: at most so many agent steps; an environment that ends earlier is reset, and no longer counts.
        seed: environment i starts from seed + i.
    """
    n = len(batch)
    obs = batch.reset([seed + i for i in range(n)])
    alive, returns, lengths, saturated, count = np.ones(n, bool), np.zeros(n), np.zeros(n, int), 0, 0
    for t in range(steps):
        action = act(obs, t)
        saturated += int((np.abs(action[alive]) > 0.95).sum())
        count += action[alive].size
        step = batch.step(action)
        returns += alive * step.reward
        lengths += alive
        ended = step.terminated | step.truncated
        alive &= ~ended
        obs = step.obs
        if not alive.any():
            break
        for i in np.flatnonzero(ended):  # an environment that is over must not be stepped
            obs[i] = batch.reset([seed + int(i)], only=[int(i)])[0]
    return Evaluation(returns, lengths, saturated / max(count, 1))
