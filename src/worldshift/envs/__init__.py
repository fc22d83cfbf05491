"""Environments: dm_control bodies, any Gymnasium environment, the paper's point mass, and N of them side by side.

All are `gymnasium.Env` with flat float32 observations, and take corrections beyond the base policy's range of 1
(`headroom`). `make` is the one place that knows the names.
"""

from typing import Any

import gymnasium

from worldshift.envs.batch import BatchEnv, BatchStep
from worldshift.envs.dmc import DmcEnv

__all__ = ["PIXELS", "BatchEnv", "BatchStep", "DmcEnv", "make"]

PIXELS = "pixels:"
"""Before the name of a task that is seen by its camera."""


def make(task: str, *, headroom: float = 2.0, episode_steps: int | None = None, **options: Any) -> gymnasium.Env:
    """Builds `walker-walk` (dm_control), `gym:HalfCheetah-v5` (Gymnasium) or `point-mass` (RWM Fig. 1).

    `pixels:pendulum-swingup` is a dm_control task seen by its camera instead of by its state.

    Arguments:
        task: which body and what it is paid for.
        headroom: commands up to this multiple of the base range reach the plant.
        episode_steps: agent steps per episode; the task's own length by default.

    Raises:
        ValueError: unknown task, or an environment that cannot be adapted.
    """
    if task.startswith("gym:"):
        from worldshift.envs.from_gym import FromGym

        return FromGym(task.removeprefix("gym:"), headroom=headroom, episode_steps=episode_steps, **options)
    if task == "point-mass":
        from worldshift.envs.pointmass import PointMassEnv

        return PointMassEnv(headroom=headroom, episode_steps=episode_steps, **options)
    if task.startswith(PIXELS):
        task, options = task.removeprefix(PIXELS), options | {"observation": "pixels"}
    return DmcEnv(task, headroom=headroom, episode_steps=episode_steps, **options)
