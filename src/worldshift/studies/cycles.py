"""Studies of cycles: the same fault comes and goes many times. Does error or harm pile up, is the second time quicker?

RWM (arXiv 2505.15589) shows five cycles of a walker (figure 2) and after-effects of opposite sign (figure 1C): when the
fault ends, what corrected it is wrong at first. Here one fault comes back twenty times to each body.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from worldshift.report.figures import Curve, by_severity
from worldshift.report.grid import UNKNOWN, Grid, seconds, share
from worldshift.report.stats import Estimate
from worldshift.run.online.metrics import Course, actuation_error, bootstrap, bootstrap_ratio, course, sustained
from worldshift.run.online.summary import ACTUATION_SMOOTHING_S, plain
from worldshift.studies.contract import Evidence, Header, Rows, by_method, complete, step_seconds
from worldshift.studies.lives import LivesStudy, by_body

RESAMPLES = 1000
LEVEL = 0.25
"""Actuation error, or share of the correction that is left, whose times are reported."""
REFERENCES = ("nominal", "frozen")


class Stretch(NamedTuple):
    """One method over a stretch of cycles. Times in s of body time; infinity: not within the phase."""

    on: Estimate
    """Reward while the fault acts, as a share of the nominal one."""
    off: Estimate
    """Reward while it does not."""
    settled: Estimate
    """From onset until the actuation error stays below `LEVEL` (median over bodies)."""
    washed_out: Estimate
    """From the fault's end until what is left of the correction stays below `LEVEL` of what the fault did."""


@dataclass(frozen=True)
class CyclesStudy(LivesStudy):
    """Lives with one fault that comes and goes; every fault has start poses of its own."""

    paired: bool = True

    def quick(self) -> "CyclesStudy":
        """Two bodies and two cycles of the first agent. Its numbers mean nothing."""
        p = self.protocol
        short = replace(p, nominal=2 * p.block, on=5 * p.block, off=5 * p.block, cycles=2)
        name, agents = f"{self.name}-quick", self.agents[:1]
        return replace(self, name=name, agents=agents, protocol=short, faults=self.faults[:2], seeds=self.seeds[:2])

    @property
    def stretches(self) -> dict[str, range]:
        """The first cycle, the second, and each half of the rest; by name, counted from 0."""
        n = self.protocol.cycles
        half = 2 + (n - 2) // 2
        found = {"cycle 1": range(1), "cycle 2": range(1, 2)}
        rest = {f"cycles {r[0] + 1} to {r[-1] + 1}": r for r in (range(2, half), range(half, n)) if len(r)}
        return found | rest

    def _courses(self, header: Header, rows: Rows) -> dict[str, Course]:
        dt = step_seconds(header)
        return {m: course(each, self.protocol, dt) for m, each in by_method(complete(rows)).items()}

    def over_cycles(self, header: Header, rows: Rows) -> dict[str, dict[str, Stretch]]:
        """By method and stretch of cycles, of agents of one body."""
        courses = self._courses(header, rows)
        return {
            m: {name: _stretch(own, courses["nominal"], cycles, m) for name, cycles in self.stretches.items()}
            for m, own in courses.items()
        }

    def trend(self, header: Header, rows: Rows) -> dict[str, tuple[Estimate, Estimate]]:
        """What the reward gains on the nominal one from the first quarter of the cycles to the last, ON and OFF."""
        courses = self._courses(header, rows)
        healthy, quarter = courses["nominal"], max(1, self.protocol.cycles // 4)

        def change(own: Course, phase: str) -> Estimate:
            paid, level = (getattr(c, phase)["reward"].sum(1).reshape(self.protocol.cycles, -1) for c in (own, healthy))
            ahead = paid - level
            more = ahead[-quarter:].sum(0) - ahead[:quarter].sum(0)
            return bootstrap_ratio(_bodies(own), more, level[-quarter:].sum(0), RESAMPLES)

        return {m: (change(own, "on"), change(own, "off")) for m, own in courses.items()}

    def summaries(self, header: Header, rows: Rows) -> dict[str, Any]:
        """By body: stretches of cycles, and the trend, both by method."""
        bodies = by_body(complete(rows)).items()
        return {body: (self.over_cycles(header, each), self.trend(header, each)) for body, each in bodies}

    def numbers(self, evidence: Evidence) -> dict[str, Any]:
        """By body, method and stretch; and the trend."""
        found = {}
        for body, (cycles, trend) in evidence.summaries.items():
            found[body] = {
                m: {
                    "cycles": {name: plain(s._asdict()) for name, s in cycles[m].items()},
                    "trend": plain(dict(zip(("on", "off"), trend[m], strict=True))),
                }
                for m in cycles
            }
        return {"bodies": found}

    def table(self, evidence: Evidence) -> Grid:
        """A line for each method and stretch of cycles."""
        columns = ("method", "cycles", "reward on", "reward off", f"below {LEVEL} after", "washed out after")
        lines = []
        for found, _ in evidence.summaries.values():
            for m, cycles in found.items():
                for name, s in cycles.items():
                    times = (UNKNOWN, UNKNOWN) if m in REFERENCES else (seconds(s.settled), seconds(s.washed_out))
                    lines.append((m, name, share(s.on), share(s.off), *times))
        return Grid(columns, lines)

    def notes(self, evidence: Evidence) -> list[str]:
        """Whether anything piles up."""
        notes = [
            "Rewards are shares of the healthy body's in the same stretch, with 95 % bootstrap intervals over faults; "
            f"times: until the actuation error, or what is left of the correction, stays below {LEVEL}."
        ]
        for _, trend in evidence.summaries.values():
            for m, (on, off) in trend.items():
                if m not in REFERENCES:
                    notes.append(
                        f"From the first to the last quarter of the cycles the reward of {m} gains "
                        f"{share(on, 1)} on the healthy body's while the fault acts, {share(off, 1)} while it does not."
                    )
        return notes

    def draw(self, evidence: Evidence, path: Path, results: Path) -> bool:
        """Rewards and times, cycle by cycle."""
        courses = self._courses(evidence.header, evidence.rows)
        each = {
            m: [_stretch(own, courses["nominal"], range(c, c + 1), m) for c in range(self.protocol.cycles)]
            for m, own in courses.items()
        }
        quantities: dict[str, Callable[[Stretch], Estimate]] = {
            "reward / nominal, on": lambda s: s.on,
            "reward / nominal, off": lambda s: s.off,
            f"below {LEVEL} after (s)": lambda s: s.settled,
        }
        curves = {
            label: {"": {m: c for m, s in each.items() if (c := _curve([value(x) for x in s])) is not None}}
            for label, value in quantities.items()
        }
        by_severity(path, curves, title=self.about, axis="cycle")
        return True


def _bodies(own: Course) -> np.ndarray:
    """Which fault each body of a cycle has."""
    cycles = len(own.draw) // len(own.before["reward"])
    return own.draw[: len(own.draw) // cycles]


def _stretch(own: Course, healthy: Course, cycles: range, method: str) -> Stretch:
    count = len(own.before["reward"])
    rows = np.concatenate([np.arange(c * count, (c + 1) * count) for c in cycles])
    draw = np.tile(_bodies(own), len(cycles))

    def paid(phase: str) -> Estimate:
        mine, level = (getattr(c, phase)["reward"][rows].sum(1) for c in (own, healthy))
        return bootstrap_ratio(draw, mine, level, RESAMPLES)

    def settled(phase: Mapping[str, np.ndarray]) -> Estimate:
        curve = actuation_error({k: phase[k][rows] for k in ("left", "wrong")}, own.blocks(ACTUATION_SMOOTHING_S))
        if method in REFERENCES or not np.isfinite(curve).all():
            return Estimate(np.nan, np.nan, np.nan, count, 1)
        return bootstrap(draw, lambda i: sustained(np.median(curve[i], axis=0), LEVEL, own.seconds), RESAMPLES)

    return Stretch(paid("on"), paid("off"), settled(own.on), settled(own.off))


def _curve(values: list[Estimate]) -> Curve | None:
    columns: Float[np.ndarray, "C 3"] = np.asarray([(e.value, e.low, e.high) for e in values], float)
    known = np.isfinite(columns).all(1)
    return Curve(1.0 + np.flatnonzero(known), *columns[known].T) if known.any() else None
