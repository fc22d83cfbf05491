"""How far a frozen encoder carries: an agent of pixels while its camera sees ever more of what it was not trained on.

ReDRAW (arXiv 2504.02252) corrects dynamics and trusts its encoder. Here the dynamics stays as it was and only the look
changes, so that what is lost is the encoder's. Beside the return stands what can be known without any reward: how far
the model mispredicts the latents of what it sees. That error should warn before the return falls.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from worldshift import zoo
from worldshift.adapt import encoded, offline
from worldshift.report.figures import Curve, by_severity
from worldshift.report.grid import Grid, interval, number
from worldshift.report.stats import Estimate, estimate, mean
from worldshift.run.acting import Acting
from worldshift.run.offline.record import RecordConfig, record
from worldshift.run.online.summary import plain
from worldshift.shifts import CameraPose, Colours, Lighting, Shift
from worldshift.studies.contract import Evidence, Header, Rows, Study

LENGTH = 32
"""Moments of the windows that the error is measured on."""


@dataclass(frozen=True)
class LooksStudy(Study):
    """A grid: every agent x look x severity x seed."""

    name: str
    about: str
    agents: tuple[str, ...]
    looks: tuple[tuple[str, tuple[Shift, ...]], ...]
    """Names for readers, and the shift at each severity."""
    severities: tuple[float, ...]
    seeds: tuple[int, ...]
    episodes: int = 4
    """Of one measurement."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the looks."""
        return tuple(name for name, _ in self.looks)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """What is run one after another; an agent that is not there yet is left out."""
        return [(agent, look) for agent in self.agents if zoo.there(agent) for look in self.methods]

    @property
    def steps(self) -> int:
        """Measurements of one pair."""
        return len(self.severities) * len(self.seeds)

    def quick(self) -> "LooksStudy":
        """One episode at the least and at the most severe, from two seeds. Its numbers mean little."""
        ends = tuple((name, (shifts[0], shifts[-1])) for name, shifts in self.looks)
        severities = (self.severities[0], self.severities[-1])
        name, seeds = f"{self.name}-quick", self.seeds[:2]
        return replace(self, name=name, looks=ends, severities=severities, seeds=seeds, episodes=1)

    def definition(self) -> dict[str, Any]:
        """What makes two files of rows comparable."""
        looks = {name: [shift.to_dict() for shift in shifts] for name, shifts in self.looks}
        numbers = {"episodes": self.episodes, "severities": list(self.severities), "seeds": list(self.seeds)}
        return numbers | {"looks": looks}

    def run_pair(self, agent: str, method: str, report: Callable[[int], None]) -> tuple[list[dict[str, Any]], dict]:
        """A row for each severity and seed: mean return of the episodes, and the error on the same episodes."""
        found, config = zoo.load_dreamer(agent)
        task, count = config["training"]["task"], self.episodes
        rows: list[dict[str, Any]] = []
        for severity, shift in zip(self.severities, dict(self.looks)[method], strict=True):
            for seed in self.seeds:
                asked = RecordConfig(task, shift, 500 * count, "policy", rewards=True, seed=seed, num_envs=count)
                lived = list(record(asked, Acting(found, seed)))
                seen = encoded.observe(found.model, ((e.seen, e.action) for e in lived), LENGTH)
                error = offline.held_out(found.model, seen, jax.random.key(seed), LENGTH).kl
                paid = np.mean([np.sum(e.reward) for e in lived if e.reward is not None])
                row = {"severity": severity, "seed": seed, "return": float(f"{paid:.4g}")}
                rows.append(row | {"held_out_kl": float(f"{float(error):.4g}")})
                report(len(rows))
        return rows, {}

    def summaries(self, header: Header, rows: Rows) -> dict[str, dict[float, "LookSummary"]]:
        """Summaries by look and severity."""
        return by_look(rows)

    def numbers(self, evidence: Evidence) -> dict[str, Any]:
        """Summaries by look and severity."""
        found = evidence.summaries
        return {"looks": {k: {str(s): plain(e._asdict()) for s, e in each.items()} for k, each in found.items()}}

    def table(self, evidence: Evidence) -> Grid:
        """A line for each look and severity. Returns are out of 500."""
        lines = [
            (look, number(severity, 2), interval(s.returned, 0), interval(s.error))
            for look, each in evidence.summaries.items()
            for severity, s in each.items()
        ]
        return Grid(("what changes", "severity", "return", "error of the model (nats)"), lines)

    def draw(self, evidence: Evidence, path: Path, results: Path) -> bool:
        """Returns and errors by severity."""
        curves = {"return": "return", "error of the model (nats)": "held_out_kl"}
        quantities = {label: over_severity(evidence.rows, name) for label, name in curves.items()}
        by_severity(path, quantities, title=self.about)
        return True


class LookSummary(NamedTuple):
    """One look at one severity, over seeds."""

    returned: Estimate
    """Out of 500."""
    error: Estimate
    """Nats by which the model mispredicts the latents of what it sees."""


def by_look(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[float, LookSummary]]:
    """Summaries by look and severity."""
    found: dict[str, dict[float, LookSummary]] = {}
    for look, severity in dict.fromkeys((row["method"], row["severity"]) for row in rows):
        mine = [row for row in rows if (row["method"], row["severity"]) == (look, severity)]
        columns = (np.asarray([row[name] for row in mine], float) for name in ("return", "held_out_kl"))
        returned, error = (estimate(column, mean, resamples=2000) for column in columns)
        found.setdefault(look, {})[severity] = LookSummary(returned, error)
    return found


def over_severity(rows: Rows, name: str) -> dict[str, dict[str, Curve]]:
    """Curves by look: mean over seeds, and their range."""
    found = {}
    for look in dict.fromkeys(row["method"] for row in rows):
        x = list(dict.fromkeys(row["severity"] for row in rows if row["method"] == look))
        values = np.asarray(
            [[row[name] for row in rows if (row["method"], row["severity"]) == (look, at)] for at in x], float
        )
        found[look] = {"": Curve(np.asarray(x), values.mean(1), values.min(1), values.max(1))}
    return found


_SEVERITIES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)

LOOKS_STUDY = LooksStudy(
    "offline-looks",
    "an agent of pixels in its own dynamics while colours, light and camera change: what is left of the return, and "
    "whether the model's error warns",
    ("draw-pixels-pendulum-swingup-1",),
    (
        ("colours towards their complement", tuple(Colours(invert=s) for s in _SEVERITIES)),
        ("light down to a tenth", tuple(Lighting(scale=1 - 0.9 * s) for s in _SEVERITIES)),
        ("camera turned, up to 0.5 rad", tuple(CameraPose(turn=(0.0, 0.0, 0.5 * s)) for s in _SEVERITIES)),
    ),
    _SEVERITIES,
    seeds=(2000, 2001, 2002, 2003, 2004),
)
