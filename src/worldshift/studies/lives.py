"""Studies of lives: every agent x method x fault x seed lives through the same episodes with the same fault.

RWM's step perturbations (arXiv 2505.15589, section 5) and ours. Bodies are told apart by their agents' names without
the seed: agents of one body are pooled, bodies never are.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from worldshift import zoo
from worldshift.report.figures import Panel, over_body_time
from worldshift.report.grid import Grid, interval, number, seconds, share
from worldshift.report.stats import Estimate
from worldshift.run.online.comparison import Watch, compare
from worldshift.run.online.methods import METHODS
from worldshift.run.online.metrics import course, harm
from worldshift.run.online.protocol import Body, Protocol, rounded
from worldshift.run.online.show import COMPARISON_LEGEND, comparison, panels
from worldshift.run.online.summary import Summary, plain, summarise
from worldshift.shifts import Shift
from worldshift.studies.contract import DIGITS, Evidence, Header, Rows, Scores, Study, by_method, complete, step_seconds


@dataclass(frozen=True)
class Harmless:
    """One method on healthy bodies."""

    reward: float
    """Mean per agent step."""
    harm: Estimate
    """Share of the frozen agent's reward that it costs."""


@dataclass(frozen=True)
class LivesStudy(Study):
    """A grid of lives: every agent x method x fault x seed."""

    name: str
    about: str
    agents: tuple[str, ...]
    methods: tuple[str, ...]
    protocol: Protocol
    """Its task is each agent's own."""
    shift: Shift | None = None
    faults: tuple[int, ...] = (0,)
    seeds: tuple[int, ...] = (0, 1)
    sampled: bool = False
    """Base actions are sampled from the policy, for every method."""
    paired: bool = False
    """The first fault has the first seed, and so on: each start poses of its own."""

    @property
    def bodies(self) -> list[Body]:
        """Every fault with every seed, or each with its own."""
        if self.paired:
            return [Body(fault, seed) for fault, seed in zip(self.faults, self.seeds, strict=True)]
        return [Body(fault, seed) for fault in self.faults for seed in self.seeds]

    @property
    def steps(self) -> int:
        """Agent steps of one pair."""
        return self.protocol.steps

    def quick(self) -> "LivesStudy":
        """A few short lives of the first agent, to see that everything works. Its numbers mean nothing."""
        p = self.protocol
        short = replace(p, nominal=min(p.nominal, 2 * p.block), on=min(p.on, 10 * p.block), off=min(p.off, 5 * p.block))
        name, cheap = f"{self.name}-quick", tuple(m for m in self.methods if not METHODS[m].costly)
        return replace(
            self,
            name=name,
            agents=self.agents[:1],
            methods=cheap,
            protocol=short,
            faults=self.faults[:2],
            seeds=self.seeds[:2],
        )

    def definition(self) -> dict[str, Any]:
        """What makes two files of rows comparable."""
        shift = self.shift.to_dict() if self.shift else None
        lists = {"faults": list(self.faults), "seeds": list(self.seeds)}
        return {"protocol": asdict(self.protocol), "shift": shift, "sampled": self.sampled, **lists}

    def run_pair(self, agent: str, method: str, report: Callable[[int], None]) -> tuple[list[dict[str, Any]], dict]:
        """A row for each body; its time step and what a control step costs."""
        return self._live(agent, method, report)

    def _live(
        self, agent: str, method: str, report: Callable[[int], None], watch: Watch | None = None
    ) -> tuple[list[dict[str, Any]], dict]:
        shipped = zoo.load(agent)
        found = compare(
            shipped,
            [method],
            replace(self.protocol, task=shipped.task),
            self.shift,
            self.bodies,
            sampled=self.sampled,
            report=lambda _, done: report(done),
            watch=lambda _: watch,
        )
        rows = [{key: _kept(value) for key, value in row.items() if key != "gain"} for row in found.rows[method]]
        return rows, {"ms": round(found.ms[method], 4), "dt": found.dt}

    def summaries(self, header: Header, rows: Rows) -> dict[str, Any]:
        """Summaries by body and method."""
        return {body: self._summaries(header, each) for body, each in by_body(complete(rows)).items()}

    def _summaries(self, header: Header, rows: Rows) -> Mapping[str, Summary] | Mapping[str, Harmless]:
        """Summaries by method, of agents of one body; of a study without a fault only what looking for one costs.

        Raises:
            ValueError: the rows of the frozen agent are not there yet.
        """
        methods = by_method(complete(rows))
        if "frozen" not in methods:
            raise ValueError(f"{self.name} has no rows of the frozen agent yet: run `worldshift study {self.name}`.")
        if self.shift is None:
            return {
                m: Harmless(float(np.mean([r["reward"] for r in each])), harm(each, methods["frozen"]))
                for m, each in methods.items()
            }
        pairs = [pair for pair in header["pairs"] if pair["agent"] in {row["agent"] for row in rows}]
        ms = {name: float(np.median([p["ms"] for p in pairs if p["method"] == name])) for name in methods}
        return summarise(methods, self.protocol, pairs[0]["dt"], ms=ms)

    def numbers(self, evidence: Evidence) -> dict[str, Any]:
        """Summaries by body, and by agent."""
        bodies, agents = evidence.summaries, {}
        for body, rows in by_body(complete(evidence.rows)).items():
            names = list(dict.fromkeys(row["agent"] for row in rows))
            for name in names:
                own = [row for row in rows if row["agent"] == name]
                agents[name] = bodies[body] if len(names) == 1 else self._summaries(evidence.header, own)
        return {"bodies": plain(bodies), "agents": plain(agents)}

    def table(self, evidence: Evidence) -> Grid:
        """A line for each body and method."""
        tables = {body: self._table(each) for body, each in evidence.summaries.items()}
        if len(tables) == 1:
            return next(iter(tables.values()))
        lines = [(body, *line) for body, each in tables.items() for line in each.rows]
        return Grid(("body", *next(iter(tables.values())).header), lines)

    def _table(self, found: Mapping[str, Any]) -> Grid:
        steps = self.protocol.episode_steps
        if self.shift is not None:
            return comparison(found, steps)
        lines = [(name, number(h.reward * steps, 0), share(h.harm, digits=1)) for name, h in found.items()]
        return Grid(("method", f"reward / {steps} steps", "cost"), lines)

    def notes(self, evidence: Evidence) -> list[str]:
        """What fast and paper mode promise, body by body."""
        if self.shift is None:
            return []
        bodies, found = evidence.summaries, [COMPARISON_LEGEND]
        for body, summaries in bodies.items():
            whose = f" of the {body}" if len(bodies) > 1 else ""
            if {"fast", "oracle"} <= summaries.keys():
                found.append(_fast(summaries["fast"], whose))
            if "paper" in summaries:
                found.append(_paper(summaries["paper"], summaries["nominal"], whose))
        return found

    def scores(self, evidence: Evidence) -> Scores | None:
        """Reward while the fault acts over the mean nominal one, by life; tasks are bodies."""
        if self.shift is None or "nominal" not in self.methods:
            return None
        found: dict[str, list[np.ndarray]] = {}
        for each in by_body(complete(evidence.rows)).values():
            dt = step_seconds(evidence.header, each[0]["agent"])
            paid = {m: course(r, self.protocol, dt).on["reward"].mean(1) for m, r in by_method(each).items()}
            for m, own in paid.items():
                found.setdefault(m, []).append(own / paid["nominal"].mean())
        runs = min(len(own) for each in found.values() for own in each)
        by = {m: np.stack([own[:runs] for own in each], axis=1) for m, each in found.items()}
        return Scores("reward while the fault acts / nominal", by)

    def draw(self, evidence: Evidence, path: Path, results: Path) -> bool:
        """Rewards and errors over body time, a column for each body; nothing without a fault."""
        if self.shift is None:
            return False
        columns: dict[str, list[Panel]] = {}
        for body, each in by_body(complete(evidence.rows)).items():
            dt = step_seconds(evidence.header, each[0]["agent"])
            columns[body] = panels(by_method(each), self.protocol, dt, error="paper" in self.methods)
        rows = zip(*columns.values(), strict=True)
        drawn = [any(panel.curves for panel in row) for row in rows]
        columns = {body: list(compress(each, drawn)) for body, each in columns.items()}
        over_body_time(path, columns, title=self.about)
        return True


def by_body(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """Rows of agents that differ in their seed alone, by what their names share."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(body_of(row["agent"]), []).append(row)
    return found


def body_of(agent: str) -> str:
    """An agent's name without its seed."""
    return re.sub(r"-\d+$", "", agent)


def _paper(s: Summary, nominal: Summary, whose: str) -> str:
    """What RWM's protocol asks of paper mode, in a sentence."""
    return (
        f"Paper mode{whose}: {share(s.recovery_late)} of the lost reward back in the last half of ON; at its end the "
        f"control error is {number(s.error_ratio, 2)} of the frozen agent's (the healthy body's: "
        f"{number(nominal.error_ratio, 2)}), and {number(s.excess_error_ratio, 2)} of what the fault added to it."
    )


def _fast(s: Summary, whose: str) -> str:
    """What the fast reflex promises, in a sentence."""
    times = ", ".join(f"below {level} after {seconds(t)}" for level, t in s.actuation_times.items())
    ends = not math.isnan(s.after_effect.value)
    after = f"; after the fault ends, below 0.25 after {seconds(s.after_effect)}" if ends else ""
    return (
        f"Fast reflex{whose}, {s.bodies} trials of {s.draws} draws: actuation error {interval(s.actuation_end)} at the "
        f"end; {times} (median over bodies, sustained); {share(s.oracle_share)} of what the oracle wins back{after}. "
        "Brackets: 95 % bootstrap over fault draws."
    )


def _kept(value: Any) -> Any:
    """A value of a row as it is stored: lists of numbers rounded."""
    return rounded(value, DIGITS) if isinstance(value, list) else value
