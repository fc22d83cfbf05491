"""Sweeps: one change after another, each ever stronger or faster, and what every method makes of it.

RWM (arXiv 2505.15589) shows one size of one change (section 5) and one speed of drift (figure 3A). A level of a sweep
is a shift with a schedule; all levels are lived through by the same bodies, and the healthy ones live once for all.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from worldshift import zoo
from worldshift.report.figures import Curve, by_severity
from worldshift.report.grid import UNKNOWN, Grid, interval, number, seconds, share
from worldshift.report.stats import Estimate
from worldshift.run.online.comparison import compare
from worldshift.run.online.methods import METHODS
from worldshift.run.online.metrics import course
from worldshift.run.online.protocol import Body, Protocol, rounded
from worldshift.run.online.summary import SETTLED_S, plain
from worldshift.studies.contract import DIGITS, Evidence, Header, Rows, Scores, Study, by_method, complete, step_seconds
from worldshift.studies.levels import FELT, Level, LevelSummary, foretold, is_felt, summarise_level

KEPT = ("reward", "left", "wrong", "error", "matched", "guarded")
"""What is kept of a life, block by block."""
HEALTHY = "nothing changed"
"""The level of the nominal agent's rows."""
LEGEND = (
    "Of nominal and against frozen: reward as a share of the healthy body's in the same stretch, from 10 s after onset "
    "on, with 95 % bootstrap intervals over fault draws; recovered: share of what the change costs that is won back; "
    "matched: share of the excess error that an action could explain, at the end."
)


@dataclass(frozen=True)
class SweepStudy(Study):
    """A grid of lives: every agent x method x level x body."""

    name: str
    about: str
    agents: tuple[str, ...]
    methods: tuple[str, ...]
    protocol: Protocol
    """Its task is each agent's own."""
    levels: tuple[Level, ...]
    lives: tuple[int, ...]
    """Numbers of the bodies: of each one's fault draw and start poses."""
    axis: str = "severity"
    """What the levels' values are."""
    logarithmic: bool = False
    """Their axis is."""
    except_at: tuple[tuple[str, str], ...] = ()
    """Methods that are left out at kinds or levels, by key: they would say nothing there."""

    @property
    def bodies(self) -> list[Body]:
        """Each with a fault and start poses of its own."""
        return [Body(life, life) for life in self.lives]

    @property
    def steps(self) -> int:
        """Agent steps of one pair."""
        return sum(self.life(level).steps for level in self.levels)

    def life(self, level: Level) -> Protocol:
        """What is lived through at a level."""
        return self.protocol if level.steps is None else replace(self.protocol, on=level.steps)

    def quick(self) -> "SweepStudy":
        """Short lives of the first agent at the first level of each of two kinds. Its numbers mean nothing."""
        p = self.protocol
        short = replace(p, nominal=min(p.nominal, 2 * p.block), on=min(p.on, 10 * p.block))
        kinds = dict.fromkeys(level.kind for level in self.levels)
        firsts = [next(level for level in self.levels if level.kind == kind) for kind in kinds][:2]
        levels = tuple(replace(level, steps=None) for level in (firsts if len(kinds) > 1 else self.levels[:2]))
        return replace(
            self,
            name=f"{self.name}-quick",
            agents=self.agents[:1],
            methods=tuple(m for m in self.methods if not METHODS[m].costly),
            protocol=short,
            levels=levels,
            lives=self.lives[:2],
        )

    def definition(self) -> dict[str, Any]:
        """What makes two files of rows comparable."""
        levels = {
            level.key: {
                "value": level.value,
                "shift": level.shift.to_dict(),
                "schedule": level.schedule and level.schedule.to_dict(),
                "steps": level.steps,
            }
            for level in self.levels
        }
        return {"protocol": asdict(self.protocol), "levels": levels, "lives": list(self.lives)}

    def run_pair(self, agent: str, method: str, report: Callable[[int], None]) -> tuple[list[dict[str, Any]], dict]:
        """A row for each level and body."""
        shipped, rows, past, known = zoo.load(agent), [], 0, {}
        for level in self._lived(method):
            protocol = replace(self.life(level), task=shipped.task)
            found = compare(
                *(shipped, [method], protocol, level.shift, self.bodies),
                schedule=level.schedule,
                report=lambda _, done, past=past: report(past + done),
            )
            past += protocol.steps
            known = {"ms": round(found.ms[method], 4), "dt": found.dt}
            at = HEALTHY if method == "nominal" else level.key
            for row in found.rows[method]:
                kept = {name: rounded(row[name], DIGITS) for name in KEPT}
                rows.append({"level": at, "fault": row["fault"], "seed": row["seed"], **kept})
        return rows, known

    def _lived(self, method: str) -> list[Level]:
        """Levels that a method lives through; nominal bodies live the longest one, once for all."""
        if method == "nominal":
            return [max(self.levels, key=lambda level: self.life(level).steps)]
        left_out = {at for name, at in self.except_at if name == method}
        return [level for level in self.levels if not {level.kind, level.key} & left_out]

    def summaries(self, header: Header, rows: Rows) -> dict[str, dict[str, LevelSummary]]:
        """Summaries by level and method, all agents together.

        Raises:
            ValueError: the rows of the frozen and of the nominal agent are not there yet.
        """
        dt = step_seconds(header)
        return {level.key: summarise_level(lived, self.life(level), dt) for level, lived in self._lives(rows)}

    def _lives(self, rows: Rows) -> list[tuple[Level, dict[str, list[Mapping[str, Any]]]]]:
        """Levels with the rows of each method that lived through them, nominal ones cut to the same length."""
        methods = by_method(complete(rows))
        if not {"frozen", "nominal"} <= methods.keys():
            raise ValueError(f"{self.name} has no rows of the frozen or nominal agent yet: run the study first.")
        found = []
        for level in self.levels:
            protocol = self.life(level)
            blocks = protocol.steps // protocol.block
            lived: dict[str, list[Mapping[str, Any]]] = {
                m: [{k: v[:blocks] if isinstance(v, list) else v for k, v in row.items()} for row in each
                    if row["level"] in (level.key, HEALTHY)]
                for m, each in methods.items()
            }  # fmt: skip
            lived = {m: each for m, each in lived.items() if each}
            if "frozen" in lived:
                found.append((level, lived))
        return found

    def numbers(self, evidence: Evidence) -> dict[str, Any]:
        """Summaries by level and method."""
        found = evidence.summaries
        return {"levels": {k: {m: plain(s._asdict()) for m, s in each.items()} for k, each in found.items()}}

    def table(self, evidence: Evidence) -> Grid:
        """A line for each level and method; where there are many levels, one for each level."""
        found = evidence.summaries
        if len(found) > 12:
            return self._wide(found)
        steps = self.protocol.episode_steps
        columns = (
            *("change", self.axis, "method", f"reward / {steps} steps", "of nominal", "against frozen", "recovered"),
            *("actuation error", "below 0.25 after", "control error"),
        )
        lines = []
        for level in self.levels:
            for m, s in found.get(level.key, {}).items():
                if m == "nominal" and lines:
                    continue  # the healthy bodies lived once for all levels
                bound = m in ("nominal", "frozen")
                at = (HEALTHY, UNKNOWN) if m == "nominal" else (level.kind, level.name)
                reward = number(s.reward * steps, 0)
                back = share(s.recovered) if is_felt(found[level.key]) else UNKNOWN
                ours = (UNKNOWN, UNKNOWN) if bound else (share(s.against_frozen, 1), back)
                wrong = UNKNOWN if m == "nominal" else interval(s.actuation)
                when = UNKNOWN if bound else seconds(s.settled)
                error = number(s.error_ratio, 2)
                lines.append((*at, m, reward, share(s.of_nominal), *ours, wrong, when, error))
        return Grid(columns, lines)

    def _wide(self, found: Mapping[str, Mapping[str, LevelSummary]]) -> Grid:
        there = {m for each in found.values() for m in each}
        ours = [m for m in self.methods if m in there and m not in ("nominal", "frozen")]
        columns = (
            *("change", self.axis, "frozen, of nominal"),
            *(f"{m} wins" for m in ours),
            *(f"{m} recovers" for m in ours),
            "matched",
        )
        lines = []
        for level in self.levels:
            if level.key in found:
                each = found[level.key]
                wins = [share(each[m].against_frozen, 1) if m in each else UNKNOWN for m in ours]
                felt = is_felt(each)
                back = [share(each[m].recovered) if felt and m in each else UNKNOWN for m in ours]
                matched = number(each["fast"].matched, 2) if "fast" in each else UNKNOWN
                lines.append((level.kind, level.name, share(each["frozen"].of_nominal), *wins, *back, matched))
        return Grid(columns, lines)

    def notes(self, evidence: Evidence) -> list[str]:
        """Where each method does worst against the frozen agent; whether the matched fraction foretells recovery."""
        found = evidence.summaries
        notes = [LEGEND]
        for m in (m for m in self.methods if m not in ("nominal", "frozen", "oracle")):
            own = {key: each[m].against_frozen for key, each in found.items() if m in each}
            if own:
                at = min(own, key=lambda key: own[key].value)
                notes.append(f"Worst of {m} against the frozen agent: {share(own[at], 1)} of nominal ({at}).")
        told = foretold(found)
        if told is not None:
            notes.append(
                f"Over the {told.levels} levels that cost more than {100 * FELT:.0f} % of the reward, the matched "
                f"fraction explains {100 * told.r_squared:.0f} % of the variance of what fast recovers (slope "
                f"{told.slope:.2f})."
            )
        return notes

    def scores(self, evidence: Evidence) -> Scores | None:
        """Reward over the mean nominal one from `SETTLED_S` after onset on, by life; tasks are levels."""
        dt = step_seconds(evidence.header)
        found: dict[str, list[np.ndarray]] = {}
        for level, lived in self._lives(evidence.rows):
            courses = {m: course(each, self.life(level), dt) for m, each in lived.items()}
            begin = courses["frozen"].blocks(SETTLED_S)
            paid = {m: own.on["reward"][:, begin:].mean(1) for m, own in courses.items()}
            for m, own in paid.items():
                found.setdefault(m, []).append(own / paid["nominal"].mean())
        whole = {m: np.stack(each, axis=1) for m, each in found.items() if len(each) == len(found["frozen"])}
        return Scores(f"reward / nominal, {len(found['frozen'])} levels together", whole)

    def draw(self, evidence: Evidence, path: Path, results: Path) -> bool:
        """Reward and actuation error over the levels, a column for each kind."""
        found = evidence.summaries
        quantities: dict[str, Callable[[LevelSummary], Estimate]] = {"reward / nominal": lambda s: s.of_nominal}
        if any(np.isfinite(each["frozen"].actuation.value) for each in found.values()):
            quantities["actuation error"] = lambda s: s.actuation
        curves = {label: self._curves(found, value) for label, value in quantities.items()}
        by_severity(path, curves, title=self.about, axis=self.axis, logarithmic=self.logarithmic)
        return True

    def _curves(
        self, found: Mapping[str, Mapping[str, LevelSummary]], value: Callable[[LevelSummary], Estimate]
    ) -> dict[str, dict[str, Curve]]:
        curves: dict[str, dict[str, Curve]] = {}
        for kind in dict.fromkeys(level.kind for level in self.levels):
            for m in self.methods:
                points = [
                    (level.value, value(found[level.key][m]))
                    for level in self.levels
                    if level.kind == kind and m in found.get(level.key, {})
                ]
                points = [(x, e) for x, e in points if np.isfinite(e.value)]
                if points:
                    ends = np.asarray([(x, e.value, e.low, e.high) for x, e in points], float)
                    curves.setdefault(kind, {})[m] = Curve(*ends.T)
        return curves
