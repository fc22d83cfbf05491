"""One method in one protocol, in numbers: what a table, a study and `--json` show.

Everything is paired: method, frozen and nominal lived the same episodes, so body i of one is compared with body i of
the others. Intervals are 95 % bootstraps over fault draws (all seeds and agents of a draw move together). The formulas
are in `metrics`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from worldshift.report.stats import Estimate
from worldshift.run.online.metrics import (
    Course,
    Rows,
    actuation_error,
    bootstrap,
    course,
    first_below,
    ratio,
    recovery_time,
    sustained,
)
from worldshift.run.online.protocol import Protocol

SETTLED_S = 10.0
"""Recovery counts from this long after onset: before it, the falls that the fault caused are still got up from."""
REWARD_SMOOTHING_S = 5.0
ACTUATION_SMOOTHING_S = 1.0
LEVELS = (0.5, 0.25, 0.15)
"""Actuation errors whose times are reported."""
WINDOWS_S = (0, 5, 10, 20, 50, 100, 200, 400, 800)
END = 0.2
"""Share of ON, at its end, that `end` quantities are means over."""
FALLEN = 0.3
"""A block whose mean reward is below this share of the nominal mean counts as fallen."""


@dataclass(frozen=True)
class Window:
    """Means over bodies in a stretch of body time, in s after onset."""

    begin: float
    end: float
    reward: float
    """Per agent step."""
    reward_share: float
    """Of the nominal reward in the same stretch."""
    actuation_error: float
    """Median over bodies."""


@dataclass(frozen=True)
class Summary:
    """One method in one protocol. Times in s of body time after onset, infinity: never within ON."""

    bodies: int
    draws: int
    reward: float
    """Mean per agent step, ON."""
    recovery: Estimate
    """(method - frozen) / (nominal - frozen) of reward, summed over bodies and ON from `SETTLED_S` after onset on. An
    agent that plans is compared with a frozen and a nominal one that do, where they are there."""
    recovery_whole: Estimate
    """The same over all of ON."""
    recovery_late: Estimate
    """The same over the last half of ON, for what learns slowly."""
    oracle_share: Estimate
    """(method - frozen) / (oracle - frozen), from `SETTLED_S` on."""
    time_to_half: Estimate
    """Body time until half of the lost reward is back, see `recovery_time`."""
    time_to_90: Estimate
    actuation_end: Estimate
    """Actuation error (see `actuation_error`), median over bodies, at the end of ON; 1: frozen, 0: perfect."""
    actuation_times: dict[str, Estimate]
    """Sustained: from here to the end of ON the curve stays below the level. By level."""
    actuation_crossings: dict[str, Estimate]
    """First time below the level, for comparison only."""
    error_ratio: float
    """Control error over the frozen agent's, end of ON."""
    excess_error_ratio: float
    """The same after the nominal control error is taken from both: the share of what the fault added."""
    after_effect: Estimate
    """s after the fault's end until the correction that is left stays below 0.25 of what the fault did."""
    harm: float
    """1 - reward / frozen reward before the fault: what adapting to nothing costs."""
    falls: float
    """Share of ON blocks that count as fallen (getting up at the start of an episode included, for all methods)."""
    guarded: int
    """Agent steps on which a non-finite number made the method fall back to the base action."""
    ms: float
    """One full control step of one body."""
    windows: tuple[Window, ...]


def summarise(
    rows: Mapping[str, Rows],
    protocol: Protocol,
    dt: float,
    *,
    ms: Mapping[str, float] | None = None,
    resamples: int = 1000,
) -> dict[str, Summary]:
    """Summaries of all methods of one protocol.

    Arguments:
        rows: of each method, as `run_method` returns them (several agents may be strung together); `frozen` must be
            there, and `nominal` (the frozen agent with no fault) for whatever is relative to it.
        dt: seconds of body time per agent step.
        ms: milliseconds of one control step, by method.

    Raises:
        ValueError: no frozen rows, or methods that did not live the same trials.
    """
    if "frozen" not in rows:
        raise ValueError("a summary needs the rows of the frozen agent: every method is compared with it.")
    lives = {name: [(r.get("agent"), r["fault"], r["seed"]) for r in each] for name, each in rows.items()}
    for name, life in lives.items():
        if life != lives["frozen"]:
            raise ValueError(f"{name} did not live through the same trials as frozen, so they cannot be compared.")
    courses = {name: course(each, protocol, dt) for name, each in rows.items()}
    return {name: _summary(name, courses, (ms or {}).get(name, np.nan), resamples) for name in rows}


def _summary(name: str, courses: Mapping[str, Course], ms: float, resamples: int) -> Summary:
    references = {each: alike for each in ("frozen", "nominal", "oracle") if (alike := _alike(each, name, courses))}
    own, frozen, nominal = courses[name], references["frozen"], references.get("nominal")

    def measured(statistic: Callable[[np.ndarray], float]) -> Estimate:
        return bootstrap(own.draw, statistic, resamples)

    def share(reference: str, begin: int) -> Estimate:
        if reference not in references:
            return measured(lambda index: np.nan)
        paid, known, least = (c.on["reward"][:, begin:].sum(1) for c in (own, references[reference], frozen))
        won, lost = paid - least, known - least
        return measured(ratio(won, lost))

    def back(level: float) -> Estimate:
        won = own.on["reward"] - frozen.on["reward"]
        lost = (nominal or frozen).on["reward"] - frozen.on["reward"]
        window = own.blocks(REWARD_SMOOTHING_S)
        return measured(lambda i: recovery_time(won[i].sum(0), lost[i].sum(0), level, window, own.seconds))

    def when(find: Callable[[np.ndarray, float, float], float], errors: np.ndarray, level: float) -> Estimate:
        return measured(lambda i: find(np.median(errors[i], axis=0), level, own.seconds))

    settled = own.blocks(SETTLED_S)
    errors, after = (actuation_error(phase, own.blocks(ACTUATION_SMOOTHING_S)) for phase in (own.on, own.off))
    end = _end(own)
    return Summary(
        bodies=len(own.draw),
        draws=len(np.unique(own.draw)),
        reward=float(own.on["reward"].mean()),
        recovery=share("nominal", settled),
        recovery_whole=share("nominal", 0),
        recovery_late=share("nominal", own.on["reward"].shape[1] // 2),
        oracle_share=share("oracle", settled),
        time_to_half=back(0.5),
        time_to_90=back(0.9),
        actuation_end=measured(lambda i: float(np.median(errors[i][:, end].mean(1)))),
        actuation_times={str(level): when(sustained, errors, level) for level in LEVELS},
        actuation_crossings={str(level): when(first_below, errors, level) for level in LEVELS},
        error_ratio=_over(own.on["error"][:, end].mean(), frozen.on["error"][:, end].mean()),
        excess_error_ratio=_excess(own, frozen, nominal),
        after_effect=when(sustained, after, 0.25),
        harm=1 - _over(own.before["reward"].sum(), frozen.before["reward"].sum()),
        falls=_falls(own, (nominal or frozen).on["reward"].mean()),
        guarded=round(float(sum(phase["guarded"].sum() for phase in (own.on, own.off)) * own.steps)),
        ms=ms,
        windows=_windows(own, nominal, errors),
    )


def _alike(reference: str, name: str, courses: Mapping[str, Course]) -> Course | None:
    """Whom a method is compared with: `fast, planner` with `frozen, planner` where there is one, else with `frozen`."""
    way = name.split(", ")[1:2]
    return courses.get(", ".join([reference, *way])) or courses.get(reference)


def _end(own: Course) -> slice:
    """The last blocks of ON."""
    return slice(-max(1, round(END * own.on["reward"].shape[1])), None)


def _falls(own: Course, healthy: float) -> float:
    """Share of blocks below `FALLEN` of the healthy reward; undefined where rewards are not positive."""
    return float((own.on["reward"] < FALLEN * healthy).mean()) if healthy > 0 else np.nan


def _over(a: float, b: float) -> float:
    return float(a / b) if b > 0 else np.nan


def _excess(own: Course, frozen: Course, nominal: Course | None) -> float:
    """(method - nominal) / (frozen - nominal) of the control error at the end of ON."""
    if nominal is None:
        return np.nan
    floor = nominal.on["error"][:, _end(own)].mean()
    return _over(own.on["error"][:, _end(own)].mean() - floor, frozen.on["error"][:, _end(own)].mean() - floor)


def _windows(own: Course, nominal: Course | None, errors: Float[np.ndarray, "N K"]) -> tuple[Window, ...]:
    length = own.on["reward"].shape[1]
    edges = [b for b in (round(s / own.seconds) for s in WINDOWS_S) if b < length] + [length]
    windows = []
    for begin, end in pairwise(edges):
        if end > begin:
            reward = own.on["reward"][:, begin:end].mean()
            healthy = nominal.on["reward"][:, begin:end].mean() if nominal else np.nan
            wrong = float(np.median(errors[:, begin:end].mean(1)))
            windows.append(Window(begin * own.seconds, end * own.seconds, float(reward), _over(reward, healthy), wrong))
    return tuple(windows)


def plain(value: Any) -> Any:
    """A summary as JSON values; null stands for undefined and, in times, for never."""
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value
