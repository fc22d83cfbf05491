"""Statistics of runs x tasks: interquartile mean, stratified and paired bootstrap intervals, medians of censored times.

Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (arXiv 2108.13264): IQM is the
mean of all runs of all tasks without the lowest and highest 25 %; the bootstrap draws runs anew within each task.
Deviation: interval ends are drawn values, never interpolated, so that they stay right where a time is "never".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_CHUNK = 10_000_000  # scores held at once while resampling: 80 MB

Scores = Float[np.ndarray, "*resamples runs tasks"]
RunScores = Float[np.ndarray, "runs tasks"] | Float[np.ndarray, " runs"]
Statistic = Callable[[np.ndarray], np.ndarray | float]


@dataclass(frozen=True)
class Estimate:
    """A statistic with its interval; infinity means "never" (see `median_time`)."""

    value: float
    low: float
    high: float
    runs: int  # per task
    tasks: int

    def __str__(self) -> str:
        value, low, high = ("never" if np.isinf(x) else f"{x:.3g}" for x in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"

    def as_json(self) -> dict[str, float | int | None]:
        """Plain values; null stands for "never"."""
        return {name: None if np.isinf(value) else value for name, value in vars(self).items()}


def mean(scores: Scores) -> Float[np.ndarray, "*resamples"] | float:
    """Mean over runs and tasks."""
    return scores.mean((-2, -1))


def iqm(scores: Scores) -> Float[np.ndarray, "*resamples"] | float:
    """Interquartile mean over runs and tasks together: floor(n / 4) of the n scores are cut at each end."""
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), -1)
    cut = flat.shape[-1] // 4
    return flat[..., cut : flat.shape[-1] - cut].mean(-1)


def median_time(times: Scores) -> Float[np.ndarray, "*resamples"] | float:
    """Time by which at least half had recovered, infinity if more than half never did.

    Arguments:
        times: s of body time, infinity where the trial ended first. All trials are equally long, so no trial was
            lost to observation earlier and this is exact (no Kaplan-Meier estimate is needed).
    """
    flat = np.sort(times.reshape(*times.shape[:-2], -1), -1)
    return flat[..., (flat.shape[-1] - 1) // 2]


def estimate(
    scores: RunScores,
    statistic: Statistic = iqm,
    *,
    seed: int = 0,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> Estimate:
    """`statistic` with its stratified percentile bootstrap interval: runs are drawn with replacement within each task.

    Raises:
        ValueError: NaN among the scores, or fewer than two runs per task.
    """
    scores = _checked(scores)
    draws = [statistic(drawn) for (drawn,) in _resampled(scores[None], seed, resamples)]
    return _estimate(statistic(scores), np.concatenate(draws), scores, confidence)


def paired_difference(
    ours: Float[np.ndarray, "..."],
    theirs: Float[np.ndarray, "..."],
    statistic: Statistic = iqm,
    *,
    seed: int = 0,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> Estimate:
    """`statistic(ours) - statistic(theirs)` with its interval, where run i of both shares seed, fault and episodes.

    The pairs are drawn, so what both share cancels; zero outside of the interval is evidence of a difference.

    Raises:
        ValueError: different shapes, scores that are not finite, or fewer than two runs per task.
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"paired scores need equal shapes, not {ours.shape} and {theirs.shape}.")
    both = np.stack([_checked(ours), _checked(theirs)])
    if not np.isfinite(both).all():
        raise ValueError("a difference needs finite scores; compare the medians of times that may be never instead.")
    draws = [statistic(mine) - statistic(other) for mine, other in _resampled(both, seed, resamples)]
    return _estimate(statistic(both[0]) - statistic(both[1]), np.concatenate(draws), both[0], confidence)


def _checked(scores: np.ndarray) -> Float[np.ndarray, "runs tasks"]:
    scores = np.asarray(scores, np.float64)
    scores = scores[:, None] if scores.ndim == 1 else scores
    if np.isnan(scores).any():
        raise ValueError("scores hold NaN; leave failed runs out or give them the score they deserve.")
    if len(scores) < 2 or scores.shape[1] < 1:
        raise ValueError(f"an interval needs at least two runs of a task, not {len(scores)} of {scores.shape[1]}.")
    return scores


def _resampled(stack: Float[np.ndarray, "P runs tasks"], seed: int, resamples: int) -> Iterator[np.ndarray]:
    """Chunks of draws (P, draws, runs, tasks); the P score tables share which runs are drawn."""
    rng = np.random.default_rng(seed)
    runs, tasks = stack.shape[1:]
    step = max(1, _CHUNK // stack.size)
    for start in range(0, resamples, step):
        rows = rng.integers(0, runs, (min(step, resamples - start), runs, tasks))
        yield stack[:, rows, np.arange(tasks)]


def _estimate(value: np.ndarray | float, draws: np.ndarray, scores: np.ndarray, confidence: float) -> Estimate:
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], method="inverted_cdf")
    return Estimate(float(value), float(low), float(high), *scores.shape)
