"""RWM's figure 1 (arXiv 2505.15589): a point mass whose actions are turned, one way and the other, and not at all.

The measure is the paper's: how far a path passes beside the middle between start and target. When the turning ends,
what corrected it is wrong, and paths pass on the other side: the after-effect.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from jaxtyping import Float

from worldshift import zoo
from worldshift.adapt.contract import Command
from worldshift.envs.pointmass import START, TARGET, signed_deviation
from worldshift.report.figures import Curve
from worldshift.report.grid import Grid, interval, share
from worldshift.report.paths import Walk, paths
from worldshift.report.stats import Estimate, estimate, mean
from worldshift.run.online.comparison import compare
from worldshift.run.online.protocol import Body, Protocol, rounded
from worldshift.run.online.summary import plain
from worldshift.shifts import Shift, StepOnOff
from worldshift.studies.contract import DIGITS, Evidence, Header, Rows, Study, by_method, complete

LATE = 10
"""Episodes at the end of a phase whose mean is reported."""
EVERY = 4
"""Steps between two points of a kept path."""


class Phase(NamedTuple):
    """One method in one phase. Deviations in mm, less the healthy body's mean; intervals over bodies."""

    first: Estimate
    """Of its first episode."""
    last: Estimate
    """Mean of its last `LATE` episodes."""
    reward: Estimate
    """Of the last `LATE` episodes, over the healthy phase's."""


@dataclass(frozen=True)
class PointMassStudy(Study):
    """Bodies with the same course of turnings; actions are sampled, so that bodies differ."""

    name: str
    about: str
    agents: tuple[str, ...]
    methods: tuple[str, ...]
    protocol: Protocol
    shift: Shift
    seeds: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Agent steps of one life."""
        return self.protocol.steps

    @property
    def signs(self) -> tuple[int, ...]:
        """What acts in each phase: nothing, the shift, nothing, its opposite, nothing, and so on."""
        return (0, *(sign for cycle in range(self.protocol.cycles) for sign in ((-1) ** cycle, 0)))

    @property
    def length(self) -> int:
        """Episodes of a phase."""
        return self.protocol.on // self.protocol.episode_steps

    def quick(self) -> "PointMassStudy":
        """Phases of two episodes, two bodies. Its numbers mean nothing."""
        few = 2 * self.protocol.episode_steps
        short = replace(self.protocol, nominal=few, on=few, off=few, cycles=2)
        return replace(self, name=f"{self.name}-quick", protocol=short, seeds=self.seeds[:2])

    def definition(self) -> dict[str, Any]:
        """What makes two files of rows comparable."""
        return {"protocol": asdict(self.protocol), "shift": self.shift.to_dict(), "seeds": list(self.seeds)}

    def run_pair(self, agent: str, method: str, report: Callable[[int], None]) -> tuple[list[dict[str, Any]], dict]:
        """A row for each body: deviation and return of every episode; the first body's paths in a phase's first and
        last episode.
        """
        shipped, p = zoo.load(agent), self.protocol
        places = np.zeros((len(self.seeds), p.steps, 2), np.float32)

        def watch(t: int, bodies: list[gymnasium.Env], command: Command) -> None:
            for i, body in enumerate(bodies):
                places[i, t] = body.get_wrapper_attr("data").qpos

        found = compare(
            shipped,
            [method],
            replace(p, task=shipped.task),
            self.shift,
            [Body(seed, seed) for seed in self.seeds],
            schedule=StepOnOff(start=p.nominal, on=p.on, off=p.off, alternate=True),
            sampled=True,
            report=lambda _, done: report(done),
            watch=lambda _: watch,
        )
        episodes = places.reshape(len(self.seeds), -1, p.episode_steps, 2)
        kept = [k * self.length + at for k in range(len(self.signs)) for at in (0, self.length - 1)]
        rows = []
        for i, row in enumerate(found.rows[method]):
            deviation = [1e3 * signed_deviation(np.vstack([START, path])) for path in episodes[i]]
            returns = np.asarray(row["reward"]) * p.block
            kinds = {"deviation_mm": _known(deviation), "return": rounded(returns, DIGITS)}
            if i == 0:
                kinds["paths"] = [[rounded(at, 3) for at in episodes[i][k][::EVERY]] for k in kept]
            rows.append({"seed": self.seeds[i], **kinds})
        return rows, {"ms": round(found.ms[method], 4), "dt": found.dt}

    def summaries(self, header: Header, rows: Rows) -> dict[str, list[Phase]]:
        """Of each phase in turn, by method."""
        return {m: self._phases(each) for m, each in by_method(complete(rows)).items()}

    def numbers(self, evidence: Evidence) -> dict[str, Any]:
        """Phases by method."""
        return {"methods": {m: [plain(phase._asdict()) for phase in each] for m, each in evidence.summaries.items()}}

    def table(self, evidence: Evidence) -> Grid:
        """A line for each method and phase."""
        columns = ("method", "phase", "first episode, mm", f"last {LATE}, mm", "reward")
        names = {0: "off", 1: "turned left", -1: "turned right"}
        lines = [
            (m, f"{k}. {names[sign]}", interval(phase.first, 0), interval(phase.last, 0), share(phase.reward))
            for m, each in evidence.summaries.items()
            for k, (sign, phase) in enumerate(zip(self.signs, each, strict=True), 1)
        ]
        return Grid(columns, lines)

    def notes(self, evidence: Evidence) -> list[str]:
        """What the columns are, and what they say of removal and after-effect."""
        notes = [
            "Deviation: how far a path passes left of the straight line at its middle, less what the healthy body's "
            "does; reward: of the last episodes, over the healthy phase's. 95 % bootstrap intervals over bodies."
        ]
        whole = np.mean([abs(p.first.value) for p in self._on(evidence.summaries["frozen"])])
        for m, each in evidence.summaries.items():
            if m == "frozen":
                continue
            late = np.mean([abs(p.last.value) for p in self._on(each)])
            signed = [
                -sign * after.first.value
                for sign, after in zip(self.signs[1:], each[2:], strict=False)
                if sign and np.isfinite(after.first.value)
            ]
            notes.append(
                f"{m}: {100 * (1 - late / whole):.0f} % of the frozen agent's deviation is gone at the end of a phase; "
                f"when it ends, paths pass {np.mean(signed):.0f} mm on the other side."
            )
        return notes

    def draw(self, evidence: Evidence, path: Path, results: Path) -> bool:
        """Paths and deviations, a column for each method."""
        walks = {m: self._walk(each) for m, each in by_method(complete(evidence.rows)).items()}
        paths(path, walks, self.signs, self.length, ends=(START, TARGET), title=self.about)
        return True

    def _on(self, phases: Sequence[Phase]) -> list[Phase]:
        return [phase for sign, phase in zip(self.signs, phases, strict=True) if sign]

    def _phases(self, rows: Rows) -> list[Phase]:
        paid = np.asarray([row["return"] for row in rows], float)
        by_phase = _deviations(rows).reshape(len(rows), len(self.signs), self.length)
        by_phase = by_phase - np.nanmean(by_phase[:, 0])
        paid = paid.reshape(by_phase.shape) / paid[:, : self.length].mean()
        return [
            Phase(
                _over_bodies(each[:, 0]),
                _over_bodies(_mean_of_known(each[:, -LATE:])),
                _over_bodies(pay[:, -LATE:].mean(1)),
            )
            for each, pay in zip(by_phase.swapaxes(0, 1), paid.swapaxes(0, 1), strict=True)
        ]

    def _walk(self, rows: Sequence[Mapping[str, Any]]) -> Walk:
        deviation = _deviations(rows)
        known = np.flatnonzero(np.isfinite(deviation).any(axis=0))
        middle, low, high = (f(deviation[:, known], axis=0) for f in (np.nanmean, np.nanmin, np.nanmax))
        curve = Curve(known.astype(float), middle, low, high)
        kept = [np.vstack([START, path]) for path in next(row["paths"] for row in rows if "paths" in row)]
        return Walk(kept[::2], kept[1::2], curve)


def _deviations(rows: Rows) -> Float[np.ndarray, "N E"]:
    """Of each body and episode, in mm; not a number where a path never got half-way."""
    return np.asarray([row["deviation_mm"] for row in rows], float)


def _mean_of_known(values: Float[np.ndarray, "N K"]) -> Float[np.ndarray, " N"]:
    """Means of rows without what is not a number; not a number where nothing else is there."""
    known = np.isfinite(values)
    return np.where(known, values, 0.0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)


def _over_bodies(values: Float[np.ndarray, " N"]) -> Estimate:
    """Mean and interval over the bodies that have a value; not a number of fewer than two."""
    known = values[np.isfinite(values)]
    return estimate(known, mean) if len(known) > 1 else Estimate(np.nan, np.nan, np.nan, 0, 1)


def _known(deviations: Sequence[float]) -> list[float | None]:
    """To significant digits; None for a path that never got half-way."""
    return [rounded([d], DIGITS)[0] if np.isfinite(d) else None for d in deviations]
