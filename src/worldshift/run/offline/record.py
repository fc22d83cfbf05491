"""Records episodes of a body for offline adaptation: any policy, any shift, any environment; rewards only if asked for.

ReDRAW's target data (arXiv 2504.02252) are roll-outs of a sampled expert. `mixed` is ours: half of the episodes the
policy alone, half with bursts of noise between stretches of it, which covers what a policy alone never shows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from worldshift.data.episodes import Episode
from worldshift.models.vision import COLOURS, PIXELS, SIDE
from worldshift.run import pairs
from worldshift.run.noise import Noise
from worldshift.shifts import Shift

Behaviour = Literal["policy", "mixed", "random"]
Act = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class RecordConfig:
    """What is recorded."""

    task: str
    shift: Shift | None = None
    transitions: int = 40_000
    behaviour: Behaviour = "mixed"
    """`policy`: as it acts; `mixed`: half of the episodes with bursts of noise; `random`: uniform actions."""
    length: int | None = None
    """Decisions of an episode at most (None: the task's own length): shorter ones show more of what comes first."""
    from_states: bool = False
    """Who acts sees the task's own vector, while images of the same moments are recorded."""
    rewards: bool = False
    seed: int = 0
    num_envs: int = 16

    def __post_init__(self) -> None:
        """Refuses numbers that cannot be worked with."""
        if min(self.transitions, self.num_envs, 1 if self.length is None else self.length) < 1 or self.seed < 0:
            raise ValueError("transitions, num_envs and length must be at least 1, and the seed at least 0.")


def record(config: RecordConfig, act: Act | None, report: Callable[[int], None] | None = None) -> Iterator[Episode]:
    """Episodes until `config.transitions` are together; the last one is cut to fit.

    Arguments:
        act: (observations (N, O), decision number, 0 where episodes begin) -> actions (N, A); not needed for random
            actions.
        report: called with the transitions so far.

    Raises:
        ValueError: a behaviour that needs a policy, without one.
    """
    if act is None and config.behaviour != "random":
        raise ValueError(f"recording {config.behaviour!r} data needs an agent; without one, record random actions.")
    first = pairs.make(config.task)
    whole = int(first.get_wrapper_attr("episode_steps"))
    length = min(whole, config.length or whole)
    first.close()
    batch = pairs.batch(config.task, config.shift, min(config.num_envs, -(-config.transitions // length)))
    rng, done = np.random.default_rng([config.seed, 21]), 0
    try:
        while done < config.transitions:
            for episode in _round(batch, config, act, rng, length):
                left = config.transitions - done
                if left <= 0:
                    break
                done += min(left, len(episode.action))
                yield episode.first(left)
                if report:
                    report(done)
    finally:
        batch.close()


def _round(batch: Any, config: RecordConfig, act: Act | None, rng: Any, length: int) -> list[Episode]:
    """One episode in every environment."""
    n = len(batch)
    obs = batch.reset([int(s) for s in rng.integers(2**31, size=n)])
    noisy = np.arange(n) % 2 == 1 if config.behaviour == "mixed" else np.full(n, config.behaviour == "random")
    image = PIXELS if getattr(batch.envs[0].unwrapped, "pixels", False) else 0
    keep = lambda obs: (obs[:, image:], obs[:, :image].astype(np.uint8))  # noqa: E731
    seen, acted, paid, alive, lengths = [keep(obs)], [], [], np.ones(n, bool), np.full(n, length)
    ended, dim = np.zeros(n, bool), int(np.prod(batch.action_space.shape))
    noise = Noise((n, dim), rng)
    for t in range(length):
        if config.behaviour == "random":
            action = rng.uniform(-1, 1, (n, dim))
        else:
            assert act is not None
            burst = noisy & noise.bursts(t)
            shown = np.stack([env.unwrapped.state() for env in batch.envs]) if config.from_states else obs
            action = np.where(burst[:, None], noise(), act(shown, t))
        action = np.asarray(action, np.float32)
        step = batch.step(action)
        over = alive & (step.terminated | step.truncated)
        lengths[over], alive[over], ended[over] = t + 1, False, step.terminated[over]
        obs = step.obs.copy()
        seen.append(keep(step.obs))
        acted.append(action)
        paid.append(step.reward)
        for i in np.flatnonzero(step.terminated | step.truncated):
            if t < length - 1:  # it goes on beside the others, and no longer counts
                obs[i] = batch.reset([int(rng.integers(2**31))], only=[int(i)])[0]
    vector, frames = (np.stack(column, axis=1) for column in zip(*seen, strict=True))
    all_action, all_reward = np.stack(acted, axis=1), np.stack(paid, axis=1)
    return [
        Episode(
            vector[i, : k + 1],
            all_action[i, :k],
            all_reward[i, :k] if config.rewards else None,
            bool(ended[i]),
            frames[i, : k + 1].reshape(-1, SIDE, SIDE, COLOURS) if image else None,
        )
        for i, k in enumerate(lengths)
    ]
