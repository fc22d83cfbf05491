"""Levels of a sweep: a change at one strength, and what lives at it say about each method."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from worldshift.report.stats import Estimate
from worldshift.run.online.metrics import Course, actuation_error, bootstrap, bootstrap_ratio, course, sustained
from worldshift.run.online.protocol import Protocol
from worldshift.run.online.summary import ACTUATION_SMOOTHING_S, END, SETTLED_S
from worldshift.shifts import Schedule, Shift
from worldshift.studies.contract import Rows

RESAMPLES = 1000
FELT = 0.05
"""Share of the nominal reward that a level must cost before a recovery from it says anything."""


@dataclass(frozen=True)
class Level:
    """One change at one strength."""

    kind: str
    name: str
    """Of the strength, for readers."""
    value: float
    """Its place on the axis."""
    shift: Shift
    schedule: Schedule | None = None
    """By default it acts in the protocol's ON phases."""
    steps: int | None = None
    """Agent steps of ON, where they are not the protocol's."""

    @property
    def key(self) -> str:
        """Kind and strength."""
        return f"{self.kind}, {self.name}"


class LevelSummary(NamedTuple):
    """One method at one level; rewards from `SETTLED_S` after onset on."""

    reward: float
    """Mean per agent step."""
    of_nominal: Estimate
    """Reward as a share of the nominal one."""
    against_frozen: Estimate
    """Reward that it wins over the frozen agent, as a share of the nominal one; negative: it does harm."""
    recovered: Estimate
    """(method - frozen) / (nominal - frozen)."""
    actuation: Estimate
    """Actuation error, median over bodies, over the last `END` of ON; not a number where no map of actions is wrong."""
    settled: Estimate
    """s of body time until it stays below 0.25."""
    error_ratio: float
    """Control error over the frozen agent's, at the end."""
    matched: float
    """Share of the excess error that the method could explain, at the end."""


def is_felt(each: Mapping[str, LevelSummary]) -> bool:
    """Whether a level costs the frozen agent enough for a recovery from it to say anything."""
    return 1 - each["frozen"].of_nominal.value > FELT


class Foretold(NamedTuple):
    """A straight line through (matched fraction, recovery) of levels."""

    levels: int
    slope: float
    r_squared: float


def foretold(found: Mapping[str, Mapping[str, LevelSummary]]) -> Foretold | None:
    """How well the fast reflex's matched fraction foretells its recovery; None with fewer than 3 levels felt."""
    points = [
        (each["fast"].matched, each["fast"].recovered.value)
        for each in found.values()
        if "fast" in each and is_felt(each)
    ]
    x, y = np.asarray(points, float).reshape(-1, 2).T
    if len(points) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return Foretold(len(points), float(np.polyfit(x, y, 1)[0]), float(np.corrcoef(x, y)[0, 1] ** 2))


def summarise_level(lived: Mapping[str, Rows], protocol: Protocol, dt: float) -> dict[str, LevelSummary]:
    """Summaries by method; `frozen` and `nominal` are among them, and all lived the same bodies."""
    courses = {m: course(each, protocol, dt) for m, each in lived.items()}
    begin = courses["frozen"].blocks(SETTLED_S)
    paid = {m: own.on["reward"][:, begin:].sum(1) for m, own in courses.items()}
    lost, found = paid["nominal"] - paid["frozen"], {}
    for m, own in courses.items():
        length = own.on["reward"].shape[1]
        last = max(1, round(END * length))
        first = protocol.nominal // protocol.block
        matched = np.asarray([row["matched"] for row in lived[m]], float)[:, first : first + length]
        wrong, settled = _actuation(own, last)
        error, frozen = (c.on["error"][:, -last:].mean() for c in (own, courses["frozen"]))
        found[m] = LevelSummary(
            float(own.on["reward"][:, begin:].mean()),
            bootstrap_ratio(own.draw, paid[m], paid["nominal"], RESAMPLES),
            bootstrap_ratio(own.draw, paid[m] - paid["frozen"], paid["nominal"], RESAMPLES),
            bootstrap_ratio(own.draw, paid[m] - paid["frozen"], lost, RESAMPLES),
            wrong,
            settled,
            float(error / frozen) if frozen > 0 else np.nan,
            float(matched[:, -last:].mean()),
        )
    return found


def _actuation(own: Course, last: int) -> tuple[Estimate, Estimate]:
    """Actuation error over the last blocks, and when it has settled below 0.25: medians over bodies."""
    curve = actuation_error(own.on, own.blocks(ACTUATION_SMOOTHING_S))
    if not np.isfinite(curve).all():
        never = Estimate(np.nan, np.nan, np.nan, len(np.unique(own.draw)), 1)
        return never, never
    end = curve[:, -last:].mean(1)
    return (
        bootstrap(own.draw, lambda i: float(np.median(end[i])), RESAMPLES),
        bootstrap(own.draw, lambda i: sustained(np.median(curve[i], axis=0), 0.25, own.seconds), RESAMPLES),
    )
