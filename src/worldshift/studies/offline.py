"""Studies of offline adaptation: returns in the target by number of updates, for every way of adapting.

ReDRAW (arXiv 2504.02252), on equal footing: every case of a study starts from the same shipped source agent and from
the same recorded target data of a seed, and is measured on the same start poses. The target's own agent, the oracle of
the pair, records the data and is the bound. Only the measuring reads a reward of the target.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from worldshift import checkpoint, zoo
from worldshift.adapt.offline import OfflineConfig
from worldshift.agents.draw_agent import DrawAgent
from worldshift.report.figures import Curve, by_updates
from worldshift.report.grid import Grid, interval, number, share
from worldshift.report.stats import Estimate, estimate, mean
from worldshift.run.adapt_offline import adapt_seeds
from worldshift.run.appraisal import evaluate_draw
from worldshift.run.pairs import Pair, pair_of
from worldshift.run.summary import plain
from worldshift.run.target_data import EPISODE, Recording, oracle_of, own_data, target_data
from worldshift.studies.contract import Evidence, Header, Rows, Scores, Study

Measured = Literal["source", "oracle", "randomised"]
LATE = 3
"""Measurements at the end of a curve whose mean is reported: single ones swing."""


LEGEND = (
    "Returns in the target, mean over seeds with 95 % bootstrap intervals, at most 500; best of the curve: highest "
    "point of the curve of means; picked: where the held-out error is lowest, which needs no reward of the target."
)


@dataclass(frozen=True)
class Case:
    """One way of adapting, and from what."""

    name: str
    config: OfflineConfig | None = None
    """None: nothing is adapted."""
    measured: Measured = "source"
    """Whom to measure where nothing is adapted: the source's agent, the target's own (the oracle of the pair), or the
    one that was trained under random draws between the two."""
    recurrent: bool = False
    """Of the agent with the recurrent model, `rssm-<task>-<seed>`, instead."""
    data: Recording = "mixed"
    transitions: int = 40_000
    length: int | None = EPISODE
    """Decisions of an episode of the data at most."""
    updates: int | None = None
    """Where they are not the study's."""
    recordings: int = 1
    """Parts of the data: the first as above, every further one by what was adapted to those before it."""
    first: int | None = None
    """Transitions of the first part, where the parts are not equal; the others share the rest."""

    @property
    def parts(self) -> tuple[int, ...]:
        """Transitions of each part."""
        first = self.first or self.transitions // self.recordings
        rest = (self.transitions - first) // max(self.recordings - 1, 1)
        return (first,) + (rest,) * (self.recordings - 1)


@dataclass(frozen=True)
class OfflineStudy(Study):
    """A grid: every source agent x case x seed."""

    name: str
    about: str
    agents: tuple[str, ...]
    cases: tuple[Case, ...]
    updates: int
    seeds: tuple[int, ...]
    """Of data, networks and batches together."""
    measure_every: int = 500
    episodes: int = 20
    """Of one measurement."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the cases."""
        return tuple(case.name for case in self.cases)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """What is run one after another; a case whose agent was not trained for a pair is left out."""
        grid, known = [(agent, case) for agent in self.agents for case in self.cases], zoo.names()
        return [(agent, case.name) for agent, case in grid if agent_of(case, agent) in (agent, *known)]

    @property
    def steps(self) -> int:
        """Updates of one pair."""
        return self.updates * len(self.seeds)

    @cached_property
    def _cases(self) -> dict[str, Case]:
        return {case.name: case for case in self.cases}

    def quick(self) -> "OfflineStudy":
        """A few updates on little data from two seeds. Its numbers mean nothing."""
        cases = tuple(
            replace(
                case,
                transitions=min(case.transitions, 2000),
                first=case.first and 1000,
                updates=None,
                config=case.config and replace(case.config, lead=min(case.config.lead, 10)),
            )
            for case in self.cases
        )
        name, agents, seeds = f"{self.name}-quick", self.agents[:1], self.seeds[:2]
        return replace(
            self, name=name, agents=agents, cases=cases, updates=20, measure_every=10, seeds=seeds, episodes=2
        )

    def definition(self) -> dict[str, Any]:
        """What makes two files of rows comparable."""
        numbers = {"updates": self.updates, "measure_every": self.measure_every, "episodes": self.episodes}
        return numbers | {"seeds": list(self.seeds), "cases": {case.name: _said(case) for case in self.cases}}

    def run_pair(self, agent: str, method: str, report: Callable[[int], None]) -> tuple[list[dict[str, Any]], dict]:
        """A row for each seed: the curve of updates, held-out error and return in the target."""
        case, pair = self._cases[method], pair_of_agent(agent)
        source, _ = zoo.load_dreamer(agent_of(case, agent))

        def measure(agent: DrawAgent, seed: int) -> dict[str, float]:
            found = evaluate_draw(agent, pair.task, pair.shift, episodes=self.episodes, seed=10_000 + seed)
            return {"target_return": found["mean"]}

        if case.config is None:
            curves = [[{"updates": 0} | measure(source, seed)] for seed in self.seeds]
        else:
            curves = self._adapt(source, pair, case, case.config, measure, report)
        report(self.steps)
        rows = []
        for seed, curve in zip(self.seeds, curves, strict=True):
            kept = ("updates", "target_return", "held_out_kl", "kl", "return", "paid")
            columns = {k: [float(f"{row[k]:.4g}") for row in curve if k in row] for k in kept}
            rows.append({"pair": pair.name, "seed": seed, "curve": {k: v for k, v in columns.items() if v}})
        return rows, {}

    def summaries(self, header: Header, rows: Rows) -> dict[str, dict[str, "CaseSummary"]]:
        """Summaries by pair and case."""
        return by_case(rows)

    def numbers(self, evidence: Evidence) -> dict[str, Any]:
        """Summaries by pair and case."""
        found = evidence.summaries
        return {"pairs": {p: {m: plain(s._asdict()) for m, s in each.items()} for p, each in found.items()}}

    def table(self, evidence: Evidence) -> Grid:
        """A line for each pair and case. Returns are in the target, out of 500."""
        columns = (
            "pair",
            "method",
            f"return, last {LATE} of the curve",
            "of the oracle",
            "best of the curve",
            "picked",
        )
        lines = [
            (
                pair,
                name,
                interval(s.final, 0),
                share(Estimate(s.share, np.nan, np.nan, s.final.runs, 1)),
                number(s.best, 0),
                number(s.picked, 0),
            )
            for pair, each in evidence.summaries.items()
            for name, s in each.items()
        ]
        return Grid(columns, lines)

    def notes(self, evidence: Evidence) -> list[str]:
        """What the columns are."""
        return [LEGEND]

    def scores(self, evidence: Evidence) -> Scores | None:
        """Final return over the oracle's mean; tasks are the pairs, where all of them have the method."""
        rows = evidence.rows
        pairs = list(dict.fromkeys(row["pair"] for row in rows))
        finals = {
            (row["method"], row["pair"], row["seed"]): float(np.mean(row["curve"]["target_return"][-LATE:]))
            for row in rows
        }
        found = {}
        for m in self.methods:
            if all((m, pair, seed) in finals for pair in pairs for seed in self.seeds):
                own, best = (
                    np.asarray([[finals[name, p, s] for p in pairs] for s in self.seeds]) for name in (m, "oracle")
                )
                found[m] = own / best.mean(0)
        return Scores(f"return / oracle, {len(pairs)} pairs together", found)

    def draw(self, evidence: Evidence, path: Path, results: Path) -> bool:
        """Returns and held-out errors by updates."""
        quantities = {"return in the target": "target_return", "held-out error (nats)": "held_out_kl"}
        rows = {label: over_updates(evidence.rows, name) for label, name in quantities.items()}
        by_updates(path, rows, title=self.about)
        return True

    def _adapt(
        self,
        source: DrawAgent,
        pair: Pair,
        case: Case,
        config: OfflineConfig,
        measure: Callable[[DrawAgent, int], dict[str, float]],
        report: Callable[[int], None],
    ) -> list[list[dict[str, float]]]:
        """The curve of each seed; on a GPU all seeds side by side, on a CPU one after another."""
        together = jax.default_backend() != "cpu"
        curves: list[list[dict[str, float]]] = []
        (part, *further), updates = case.parts, case.updates or self.updates
        for group in [self.seeds] if together else [(seed,) for seed in self.seeds]:
            past = len(curves) * updates
            data = [target_data(pair, case.data, seed, length=case.length).first(part) for seed in group]
            for turn, count in enumerate(further, 1):
                so_far = adapt_seeds(source, data, config, updates=max(updates // 2, config.lead + 1), seeds=group)
                data = [
                    had + own_data(pair, each.agent, seed + 10_000 * turn, count, case.length)
                    for had, each, seed in zip(data, so_far, group, strict=True)
                ]
            found = adapt_seeds(
                source,
                data,
                config,
                updates=updates,
                seeds=group,
                measure_every=self.measure_every,
                measure=lambda agent, place, group=group: measure(agent, group[place]),
                report=lambda done, _, past=past, group=group: report(min(self.steps, past + done * len(group))),
            )
            curves += [each.curve for each in found]
        return curves


def _said(case: Case) -> dict[str, Any]:
    """A case as JSON values, without what is as the study or the other numbers have it."""
    return {k: v for k, v in asdict(case).items() if k not in ("updates", "first") or v is not None}


def pair_of_agent(agent: str) -> Pair:
    """The pair whose source an agent, shipped or a path, was trained in."""
    return pair_of(checkpoint.read_manifest(zoo.find(agent)).config["training"]["task"])


def agent_of(case: Case, source: str) -> str:
    """The shipped agent that a case measures or adapts, where `source` is the one of the source."""
    if case.measured == "source":
        return source.replace("draw-", "rssm-", 1) if case.recurrent else source
    oracle = oracle_of(pair_of_agent(source))
    return oracle if case.measured == "oracle" else f"{oracle.removesuffix('-1')}-randomised-1"


class CaseSummary(NamedTuple):
    """One case on one pair. Returns are out of 500, intervals over seeds."""

    final: Estimate
    """Mean of the last `LATE` measurements."""
    best: float
    """Highest point of the curve of means over seeds, for judging what choosing a checkpoint could win."""
    picked: float
    """Mean over seeds of the return at the lowest held-out error: what choosing without rewards gives."""
    share: float
    """Final return over the oracle's; not a number where there is no oracle."""


def by_case(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, CaseSummary]]:
    """Summaries by pair and case."""
    found: dict[str, dict[str, CaseSummary]] = {}
    for pair in dict.fromkeys(row["pair"] for row in rows):
        mine = [row for row in rows if row["pair"] == pair]
        finals = {
            name: np.asarray([np.mean(r["curve"]["target_return"][-LATE:]) for r in mine if r["method"] == name])
            for name in dict.fromkeys(row["method"] for row in mine)
        }
        bound = finals["oracle"].mean() if "oracle" in finals else np.nan
        for name, final in finals.items():
            curves = [row["curve"] for row in mine if row["method"] == name]
            found.setdefault(pair, {})[name] = CaseSummary(
                estimate(final, mean, resamples=2000),
                float(np.max(np.mean([c["target_return"] for c in curves], axis=0))),
                float(np.mean([_picked(c) for c in curves])),
                float(final.mean() / bound),
            )
    return found


def _picked(curve: Mapping[str, list[float]]) -> float:
    """The return where the held-out error was lowest; the first measurement, before any update, does not count."""
    if len(curve["target_return"]) == 1:
        return curve["target_return"][0]
    return curve["target_return"][1 + int(np.argmin(curve["held_out_kl"][1:]))]


def over_updates(rows: Rows, name: str) -> dict[str, dict[str, Curve]]:
    """Curves by pair and case: mean over seeds, and their range. What is measured once is a level all along."""
    found: dict[str, dict[str, Curve]] = {}
    longest = max(row["curve"]["updates"][-1] for row in rows)
    for pair, case in dict.fromkeys((row["pair"], row["method"]) for row in rows):
        mine = [row["curve"] for row in rows if (row["pair"], row["method"]) == (pair, case)]
        if name not in mine[0]:
            continue
        values = np.asarray([curve[name] for curve in mine], float)
        x = np.asarray(mine[0]["updates"], float)
        if len(x) == 1:
            x, values = np.asarray([0.0, longest]), np.repeat(values.mean(0, keepdims=True), 2, axis=1)
        band = (values.min(0), values.max(0)) if len(values) > 1 else (None, None)
        found.setdefault(pair, {})[case] = Curve(x, values.mean(0), *band)
    return found
