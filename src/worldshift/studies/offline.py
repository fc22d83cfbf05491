"""Studies of offline adaptation: returns in the target by number of updates, for every way of adapting.

ReDRAW (arXiv 2504.02252), on equal footing: every case of a study starts from the same shipped source agent and from
the same recorded target data of a seed, and is measured on the same start poses. The target's own agent, the oracle of
the pair, records the data and is the bound. Only the measuring reads a reward of the target.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import jax

from worldshift import checkpoint, zoo
from worldshift.adapt.offline import OfflineConfig
from worldshift.agents.draw_agent import DrawAgent
from worldshift.data.episodes import Episodes
from worldshift.report.figures import by_updates
from worldshift.report.grid import Grid
from worldshift.run.appraisal import evaluate_draw
from worldshift.run.offline.adapt import adapt_seeds, updates_of
from worldshift.run.offline.target_data import EPISODE, Recording, oracle_of, own_data, target_data
from worldshift.run.online.summary import plain
from worldshift.run.pairs import Pair, pair_of
from worldshift.studies.contract import Evidence, Header, Rows, Scores, Study
from worldshift.studies.offline_summary import CaseSummary, by_case, final_shares, notes, over_updates, reading, table

Measured = Literal["source", "oracle", "randomised"]


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
            return {"target_return": found["mean"], "read_return": found["read"]}

        if case.config is None:
            curves = [[{"updates": 0} | measure(source, seed)] for seed in self.seeds]
        else:
            curves = self._adapt(source, pair, case, case.config, measure, report)
        report(self.steps)
        rows = []
        for seed, curve in zip(self.seeds, curves, strict=True):
            kept = ("updates", "target_return", "read_return", "held_out_kl", "kl", "return", "paid")
            columns = {k: [float(f"{row[k]:.4g}") for row in curve if k in row] for k in kept}
            rows.append({"pair": pair.name, "seed": seed, "curve": {k: v for k, v in columns.items() if v}})
        return rows, {}

    def summaries(self, header: Header, rows: Rows) -> dict[str, dict[str, CaseSummary]]:
        """Summaries by pair and case."""
        return by_case(rows)

    def numbers(self, evidence: Evidence) -> dict[str, Any]:
        """Summaries by pair and case."""
        found = evidence.summaries
        return {"pairs": {p: {m: plain(s._asdict()) for m, s in each.items()} for p, each in found.items()}}

    def table(self, evidence: Evidence) -> Grid:
        """A line for each case, a column for each pair. Returns are in the target, out of 500."""
        return table(evidence.summaries, self.methods)

    def notes(self, evidence: Evidence) -> list[str]:
        """What the columns are, which checkpoint to take, and whether the model tells without a reward."""
        return notes(evidence.summaries) + reading(evidence.rows)

    def scores(self, evidence: Evidence) -> Scores | None:
        """Final return over the oracle's mean; tasks are the pairs, where all of them have the method."""
        pairs = {row["pair"] for row in evidence.rows}
        return Scores(f"return / oracle, {len(pairs)} pairs together", final_shares(evidence.rows, self.methods))

    def draw(self, evidence: Evidence, path: Path, results: Path) -> bool:
        """Returns and held-out errors by updates."""
        quantities = {"return in the target": "target_return", "held-out error (nats)": "held_out_kl"}
        parts = self._by_amount(evidence.rows)
        rows = {
            f"{label}{amount}": over_updates(part, name)
            for label, name in quantities.items()
            for amount, part in parts.items()
        }
        by_updates(path, rows, title=self.about)
        return True

    def _by_amount(self, rows: Rows) -> dict[str, Rows]:
        """Rows of the cases that have all data, then of those that have less, each beside the bounds."""
        cases = {case.name: case for case in self.cases if case.config}
        most = max(case.transitions for case in cases.values())
        fewer = {name for name, case in cases.items() if case.transitions < most}
        if not fewer:
            return {"": rows}
        parts = {f"\n{most:,} transitions": cases.keys() - fewer, "\nfewer": fewer}
        return {
            amount: [row for row in rows if row["method"] in names or row["method"] not in cases]
            for amount, names in parts.items()
        }

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
        for group in [self.seeds] if together else [(seed,) for seed in self.seeds]:
            begun = len(curves)
            curves += self._adapt_group(source, pair, case, config, group, begun, measure, report)
        return curves

    def _adapt_group(
        self,
        source: DrawAgent,
        pair: Pair,
        case: Case,
        config: OfflineConfig,
        group: Sequence[int],
        begun: int,
        measure: Callable[[DrawAgent, int], dict[str, float]],
        report: Callable[[int], None],
    ) -> list[list[dict[str, float]]]:
        """The curves of seeds that adapt side by side, after `begun` others have."""
        (part, *further), updates = case.parts, case.updates or self.updates
        whole = sum(updates_of(updates, config, len(further)))

        def own(agent: DrawAgent, turn: int, place: int) -> Episodes:
            seed, count = group[place] + 10_000 * turn, further[turn - 1]
            return own_data(pair.task, pair.shift, agent, seed, count, case.length)

        def told(done: int, _: Any) -> None:
            report(int(self.steps * (begun + len(group) * done / whole) / len(self.seeds)))

        found = adapt_seeds(
            source,
            [target_data(pair, case.data, seed, length=case.length).first(part) for seed in group],
            config,
            updates=updates,
            seeds=group,
            measure_every=self.measure_every,
            measure=lambda agent, place: measure(agent, group[place]),
            report=told,
            record=own if further else None,
            turns=len(further),
        )
        return [each.curve for each in found]


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
