"""Studies over kinds of change: what each does to a frozen agent, and what a reflex makes of it.

The question of RWM (arXiv 2505.15589) that gains leave open: changes that no action undoes exactly. Every kind is lived
through by the same bodies with every method; what counts is the reward of the last half of ON, when all have settled.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from worldshift import zoo
from worldshift.report.grid import Grid, number, share
from worldshift.report.stats import Estimate, estimate, mean, paired_difference
from worldshift.run.methods import compare
from worldshift.run.protocol import Body, Protocol
from worldshift.run.summary import plain
from worldshift.shifts import Shift
from worldshift.studies.contract import Evidence, Header, Rows, Study, complete


@dataclass(frozen=True)
class KindsStudy(Study):
    """A grid of lives: every agent x method x kind x seed."""

    name: str
    about: str
    agents: tuple[str, ...]
    methods: tuple[str, ...]
    protocol: Protocol
    kinds: tuple[tuple[str, Shift], ...]
    """Names for readers, and the shifts."""
    seeds: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Agent steps of one pair."""
        return self.protocol.steps * len(self.kinds)

    def quick(self) -> "KindsStudy":
        """A few short lives of the first agent under two kinds. Its numbers mean nothing."""
        p = self.protocol
        short = replace(p, nominal=min(p.nominal, 2 * p.block), on=min(p.on, 10 * p.block))
        name = f"{self.name}-quick"
        return replace(
            self, name=name, agents=self.agents[:1], protocol=short, kinds=self.kinds[:2], seeds=self.seeds[:2]
        )

    def definition(self) -> dict[str, Any]:
        """What makes two files of rows comparable."""
        kinds = {name: shift.to_dict() for name, shift in self.kinds}
        return {"protocol": asdict(self.protocol), "kinds": kinds, "seeds": list(self.seeds)}

    def run_pair(self, agent: str, method: str, report: Callable[[int], None]) -> tuple[list[dict[str, Any]], dict]:
        """A row for each kind and seed: mean reward per agent step in each quarter of ON, and what the method saw."""
        shipped, rows, p = zoo.load(agent), [], self.protocol
        first, last = p.nominal // p.block, (p.nominal + p.on) // p.block
        bodies = [Body(fault=seed, seed=seed) for seed in self.seeds]
        for place, (name, shift) in enumerate(self.kinds):
            found = compare(
                shipped, [method], p, shift, bodies, report=lambda _, done, n=place: report(n * p.steps + done)
            )
            for row in found.rows[method]:
                quarters = np.array_split(np.asarray(row["reward"][first:last]), 4)
                matched = float(np.mean(row["matched"][(first + last) // 2 : last]))
                rows.append(
                    {
                        "kind": name,
                        "seed": row["seed"],
                        "reward": [float(f"{q.mean():.4g}") for q in quarters],
                        "matched": round(matched, 3),
                        "guarded": float(np.sum(row["guarded"])),
                    }
                )
        return rows, {}

    def summaries(self, header: Header, rows: Rows) -> dict[str, dict[str, "KindSummary"]]:
        """Summaries by kind and method."""
        return by_kind(complete(rows))

    def numbers(self, evidence: Evidence) -> dict[str, Any]:
        """Summaries by kind and method."""
        found = evidence.summaries
        return {"kinds": {k: {m: plain(s._asdict()) for m, s in each.items()} for k, each in found.items()}}

    def table(self, evidence: Evidence) -> Grid:
        """A line for each kind. Rewards are per episode's worth of steps, over the last half of the change."""
        found, steps = evidence.summaries, self.protocol.episode_steps
        methods = list(next(iter(found.values())))
        others = [m for m in methods if m != "frozen"]
        columns = ("change", *(f"{m}, reward / {steps} steps" for m in methods), *(f"{m} wins" for m in others))
        lines = [
            (
                kind,
                *(number(each[m].reward.value * steps, 0) for m in methods),
                *(share(each[m].gain) for m in others),
            )
            for kind, each in found.items()
        ]
        return Grid(columns, lines)


class KindSummary(NamedTuple):
    """One kind and one method."""

    reward: Estimate
    """Mean per agent step over the last half of ON."""
    gain: Estimate
    """What the method wins over the frozen agent, as a share of the frozen agent's mean; paired by agent and seed."""
    matched: float
    """Share of the excess error that the method could explain."""


def by_kind(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, KindSummary]]:
    """Summaries by kind and method, of all agents that every method has been run with.

    Raises:
        ValueError: no rows of the frozen agent.
    """

    def late(kind: str, method: str) -> np.ndarray:
        mine = [r for r in rows if (r["kind"], r["method"]) == (kind, method)]
        return np.asarray([np.mean(r["reward"][2:]) for r in sorted(mine, key=lambda r: (r["agent"], r["seed"]))])

    methods = list(dict.fromkeys(r["method"] for r in rows))
    if "frozen" not in methods:
        raise ValueError("these rows have no frozen agent to compare with.")
    found: dict[str, dict[str, KindSummary]] = {}
    for kind in dict.fromkeys(r["kind"] for r in rows):
        frozen = late(kind, "frozen")
        for method in methods:
            own = late(kind, method)
            matched = [r["matched"] for r in rows if (r["kind"], r["method"]) == (kind, method)]
            won = paired_difference(own / frozen.mean(), frozen / frozen.mean(), mean, resamples=2000)
            reward = estimate(own, mean, resamples=2000)
            found.setdefault(kind, {})[method] = KindSummary(reward, won, float(np.mean(matched)))
    return found
