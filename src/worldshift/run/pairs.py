"""ReDRAW's four pairs of source and target (arXiv 2504.02252): a task, and the same with one thing changed.

Protocol: action repeat 2, the last control step's reward, 500 decisions, so that 500 is the most there is. Actuators
take what the policy gives and nothing beyond. Start poses and rewards are the same in source and target. Deviation:
hinges that turn freely are read as cosine and sine where a task would count their turns.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gymnasium

from worldshift import envs
from worldshift.shifts import ActionSign, ExternalWrench, Shift, Shifted


@dataclass(frozen=True)
class Pair:
    """A task, and what is different in the target."""

    name: str
    task: str
    shift: Shift

    def make(self, where: str) -> gymnasium.Env:
        """The environment of the `source` or of the `target`."""
        return make(self.task, self.shift if where == "target" else None)

    def batch(self, where: str, n: int) -> envs.BatchEnv:
        """`n` of them side by side."""
        return batch(self.task, self.shift if where == "target" else None, n)


PAIRS = {
    pair.name: pair
    for pair in (
        Pair("cup-windy", "cup-catch", ExternalWrench(body="ball", force=(-2.0, 0.0, 0.0))),
        Pair("finger-torque", "finger-turn-hard", ExternalWrench(body="spinner", torque=(0.0, 4.0, 0.0))),
        Pair("pendulum-reversed", "pendulum-swingup", ActionSign()),
        Pair("reacher-reversed", "reacher-easy", ActionSign()),
    )
}


def make(task: str, shift: Shift | None = None, seed: int = 0) -> gymnasium.Env:
    """A task under ReDRAW's protocol, shifted all the time where a shift is given."""
    options: dict[str, Any] = (
        {"reward": "last", "cos_sin_angles": True} if not task.startswith("gym:") and task != "point-mass" else {}
    )
    env = envs.make(task, headroom=1.0, **options)
    return env if shift is None else Shifted(env, shift, seed=seed)


def batch(task: str, shift: Shift | None, n: int) -> envs.BatchEnv:
    """`n` bodies side by side; draws of a random shift are numbered by body."""
    return envs.BatchEnv([partial(make, task, shift, seed) for seed in range(n)])


def find_pair(name: str) -> Pair:
    """The pair of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in PAIRS:
        raise ValueError(f"there is no pair {name!r}: choose among {', '.join(PAIRS)}.")
    return PAIRS[name]


def pair_of(task: str) -> Pair:
    """The pair whose source is that task.

    Raises:
        ValueError: there is none.
    """
    for pair in PAIRS.values():
        if pair.task == task.removeprefix(envs.PIXELS):
            return pair if pair.task == task else replace(pair, name=f"{pair.name}-pixels", task=task)
    raise ValueError(f"{task} is the source of no pair: {', '.join(pair.task for pair in PAIRS.values())} are.")
