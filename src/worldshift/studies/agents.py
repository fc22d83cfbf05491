"""Base agents before anything is wrong: whole episodes, and training curves beside the official TD-MPC2 scores."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worldshift import zoo
from worldshift.report.figures import Training, training_curves
from worldshift.report.grid import Grid, number
from worldshift.run.appraisal import evaluate_agent, training_curve
from worldshift.studies.contract import Evidence, Header, Rows, Study

ANCHORS = "official_tdmpc2.json"


@dataclass(frozen=True)
class AgentStudy(Study):
    """Whole episodes of healthy agents: how good they are before anything is wrong."""

    name: str
    about: str
    agents: tuple[str, ...]
    episodes: int = 20

    methods = ("policy",)
    """The mean action, no planner."""

    @property
    def steps(self) -> int:
        """Steps are not reported while an agent is evaluated."""
        return 1

    def quick(self) -> "AgentStudy":
        """Two episodes of the first agent."""
        return replace(self, name=f"{self.name}-quick", agents=self.agents[:1], episodes=2)

    def definition(self) -> dict[str, Any]:
        """What makes two files of rows comparable."""
        return {"episodes": self.episodes}

    def run_pair(self, agent: str, method: str, report: Callable[[int], None]) -> tuple[list[dict[str, Any]], dict]:
        """One row: returns, saturation, and the training curve."""
        shipped = zoo.load(agent)
        row = evaluate_agent(shipped, episodes=self.episodes) | {"curve": training_curve(shipped)}
        report(1)
        return [row], {}

    def summaries(self, header: Header, rows: Rows) -> dict[str, Mapping[str, Any]]:
        """What was measured, by agent."""
        return {row["agent"]: {k: row[k] for k in row if k not in ("returns", "curve")} for row in rows}

    def numbers(self, evidence: Evidence) -> dict[str, Any]:
        """What was measured, by agent."""
        return {"agents": evidence.summaries}

    def table(self, evidence: Evidence) -> Grid:
        """A line for each agent."""
        return agents(evidence.summaries)

    def draw(self, evidence: Evidence, path: Path, results: Path) -> bool:
        """Training curves, task by task."""
        training_curves(path, trainings(evidence.rows, results / ANCHORS), theirs="TD-MPC2, official (planner on)")
        return True


def agents(found: Mapping[str, Mapping[str, Any]]) -> Grid:
    """Evaluations by agent."""
    rows = [
        (name, number(a["mean"], 0), number(a["min"], 0), f"{100 * a['saturation']:.1f} %", str(a["episodes"]))
        for name, a in sorted(found.items())
    ]
    return Grid(("agent", "mean return", "lowest", "saturated actions", "episodes"), rows)


def trainings(rows: Rows, anchors: Path) -> dict[str, Training]:
    """Training curves of the agents by task, and the official scores up to twice as many frames."""
    official = json.loads(anchors.read_text())["tasks"] if anchors.is_file() else {}
    tasks: dict[str, dict[str, Sequence[tuple[float, float]]]] = {}
    for row in rows:
        tasks.setdefault(row["task"], {})[row["agent"]] = [(frames, score) for frames, score in row["curve"]]
    found = {}
    for task, ours in tasks.items():
        longest = max((frames for curve in ours.values() for frames, _ in curve), default=0.0)
        scores = [(p["frames"], p["mean"], p["std"]) for p in official.get(task, []) if p["frames"] <= 2 * longest]
        found[task] = Training(ours, scores)
    return found
