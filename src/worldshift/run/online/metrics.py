"""The formulas behind the evidence for online adaptation: recovery, actuation error, body times, harm.

They work on the rows of `protocol.run_method`, cut into phases. Times are seconds of body time at the end of the block
that shows it. NaN means undefined (a fault that costs nothing cannot be recovered from), infinity means never.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from worldshift.report.stats import Estimate
from worldshift.run.online.protocol import Protocol

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Course:
    """One method as arrays over trials (a body in one ON phase) and blocks; where in time the phases lie."""

    draw: Int[np.ndarray, " N"]
    """Which fault draw each trial belongs to."""
    steps: int
    """Agent steps in a block."""
    seconds: float
    """Of body time in a block."""
    before: dict[str, Float[np.ndarray, "bodies B"]]
    on: dict[str, Float[np.ndarray, "N K"]]
    off: dict[str, Float[np.ndarray, "N M"]]

    def blocks(self, seconds: float) -> int:
        """The number of whole blocks closest to a time, at least one."""
        return max(1, round(seconds / self.seconds))


QUANTITIES = ("reward", "left", "wrong", "error", "guarded")


def course(rows: Rows, protocol: Protocol, dt: float) -> Course:
    """Cuts one method's rows into phases.

    Raises:
        ValueError: phases do not begin at a block's beginning, or rows of another length.
    """
    block = protocol.block
    if any(steps % block for steps in (protocol.nominal, protocol.on, protocol.off)):
        raise ValueError(f"nominal, on and off must be multiples of the block of {block} agent steps to be told apart.")
    lead, on, off = (steps // block for steps in (protocol.nominal, protocol.on, protocol.off))
    whole = {name: np.asarray([row[name] for row in rows], float) for name in QUANTITIES}
    if whole["reward"].shape[1:] != (lead + protocol.cycles * (on + off),):
        raise ValueError("the rows are not as long as the protocol; they belong to another one.")
    starts = [lead + c * (on + off) for c in range(protocol.cycles)]

    def cut(first: int, length: int) -> dict[str, np.ndarray]:
        return {
            name: np.concatenate([v[:, s + first : s + first + length] for s in starts]) for name, v in whole.items()
        }

    # Each ON phase draws anew, so a draw is a fault number and a cycle.
    faults = np.unique([row["fault"] for row in rows], return_inverse=True)[1]
    draw = np.concatenate([faults * protocol.cycles + c for c in range(protocol.cycles)])
    before = {name: v[:, :lead] for name, v in whole.items()}
    return Course(draw, block, block * dt, before, cut(0, on), cut(on, off))


def bootstrap(draw: Int[np.ndarray, " N"], statistic: Callable[[np.ndarray], float], resamples: int) -> Estimate:
    """`statistic` of trial indices with its 95 % percentile interval, fault draws resampled with replacement.

    A resample in which the statistic is undefined counts as lowest and as highest; with one draw there is no interval.
    """
    value = statistic(np.arange(len(draw)))
    groups = [np.flatnonzero(draw == d) for d in np.unique(draw)]
    if len(groups) < 2:
        return Estimate(value, np.nan, np.nan, len(groups), 1)
    picks = _picks(len(groups), resamples)
    return _percentiles(value, np.asarray([statistic(np.concatenate([groups[g] for g in p])) for p in picks]), picks)


def bootstrap_ratio(
    draw: Int[np.ndarray, " N"], won: Float[np.ndarray, " N"], lost: Float[np.ndarray, " N"], resamples: int
) -> Estimate:
    """What `bootstrap(draw, ratio(won, lost), resamples)` gives, without a call for each resample."""
    value = ratio(won, lost)(np.arange(len(draw)))
    groups = np.unique(draw, return_inverse=True)[1]
    count = int(groups.max()) + 1
    if count < 2:
        return Estimate(value, np.nan, np.nan, count, 1)
    picks = _picks(count, resamples)
    more, total = (np.bincount(groups, each)[picks].sum(1) for each in (won, lost))
    return _percentiles(value, np.divide(more, total, out=np.full(resamples, np.nan), where=total > 0), picks)


def _picks(groups: int, resamples: int) -> Int[np.ndarray, "R G"]:
    return np.random.default_rng(0).integers(0, groups, (resamples, groups))


def _percentiles(value: float, drawn: Float[np.ndarray, " R"], picks: Int[np.ndarray, "R G"]) -> Estimate:
    low, high = (
        float(np.quantile(np.where(np.isnan(drawn), stand_in, drawn), q, method="inverted_cdf"))
        for q, stand_in in ((0.025, -np.inf), (0.975, np.inf))
    )
    never = np.isposinf(drawn).mean() > 0.025  # an infinite end that is a time; any other is one that nobody knows
    low, high = (end if np.isfinite(end) or (never and end > 0) else np.nan for end in (low, high))
    return Estimate(value, low, high, picks.shape[1], 1)


def ratio(won: Float[np.ndarray, " N"], lost: Float[np.ndarray, " N"]) -> Callable[[np.ndarray], float]:
    """Sum of `won` over sum of `lost`, undefined where nothing was lost: mild draws may even gain by a fault."""

    def statistic(index: np.ndarray) -> float:
        total = float(lost[index].sum())
        return float(won[index].sum()) / total if total > 0 else np.nan

    return statistic


def trailing(values: Float[np.ndarray, "*N K"], window: int) -> Float[np.ndarray, "*N K"]:
    """Mean over the last `window` blocks up to and including each one; over what there is at the beginning."""
    total = np.cumsum(values, axis=-1)
    total[..., window:] -= total[..., :-window].copy()
    return total / np.minimum(np.arange(1, values.shape[-1] + 1), window)


def actuation_error(phase: Mapping[str, np.ndarray], window: int) -> Float[np.ndarray, "N K"]:
    """sqrt(|action still wrong at the plant|^2 / |wrong that the fault does|^2), both means over the trailing window.

    1: nothing corrected, 0: perfect, above 1: worse than nothing. NaN where no fault acts or it is not one of actions.
    """
    left, wrong = (np.maximum(trailing(phase[name], window), 0.0) for name in ("left", "wrong"))
    return np.sqrt(np.divide(left, wrong, out=np.full_like(left, np.nan), where=wrong > 1e-12))


def sustained(curve: Float[np.ndarray, " K"], level: float, seconds: float) -> float:
    """End of the first block from which the curve stays below `level` to its end; infinity: never, NaN: no curve."""
    if np.isnan(curve).any() or not len(curve):
        return np.nan
    above = np.flatnonzero(curve >= level)
    first = 0 if not len(above) else int(above[-1]) + 1
    return (first + 1) * seconds if first < len(curve) else np.inf


def first_below(curve: Float[np.ndarray, " K"], level: float, seconds: float) -> float:
    """End of the first block below `level`."""
    if np.isnan(curve).any() or not len(curve):
        return np.nan
    below = np.flatnonzero(curve < level)
    return (int(below[0]) + 1) * seconds if len(below) else np.inf


def recovery_time(
    won: Float[np.ndarray, " K"], lost: Float[np.ndarray, " K"], share: float, window: int, seconds: float
) -> float:
    """First time at which `share` of the lost reward is back and stays back on average.

    With sums over bodies, `won` = method - frozen and `lost` = nominal - frozen per block: the first full trailing
    window in which won / lost >= share and for which the same holds over that window and all of ON after it. A single
    lucky window is therefore no recovery. Infinity: never (the trial is censored at the end of ON).
    """
    count = len(won) - window + 1
    if count < 1 or lost.sum() <= 0:
        return np.nan

    def reached(gained: np.ndarray, missing: np.ndarray) -> np.ndarray:
        return (missing > 0) & (gained >= share * missing)

    inside = [np.convolve(x, np.ones(window), "valid") for x in (won, lost)]
    after = [np.cumsum(x[::-1])[::-1][:count] for x in (won, lost)]
    good = np.flatnonzero(reached(inside[0], inside[1]) & reached(after[0], after[1]))
    return (int(good[0]) + window) * seconds if len(good) else np.inf


def harm(own: Rows, frozen: Rows, *, resamples: int = 1000) -> Estimate:
    """1 - reward / frozen reward on bodies that nothing is wrong with, with its interval over bodies.

    Raises:
        ValueError: not the same bodies.
    """
    if [(r.get("agent"), r["seed"]) for r in own] != [(r.get("agent"), r["seed"]) for r in frozen]:
        raise ValueError("harm is measured on the same bodies with and without the method.")
    paid, healthy = (np.asarray([np.sum(row["reward"]) for row in rows]) for rows in (own, frozen))
    return bootstrap(np.arange(len(paid)), ratio(healthy - paid, healthy), resamples)
