"""What a study is: a grid of (agent, method) pairs that gives raw rows, and a way of reading them back.

Rows are JSON objects with `agent` and `method`; whatever else a kind of study needs is its own. Tables, numbers and
figures are functions of the committed rows alone, so that anybody can draw them again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from worldshift.report.grid import Grid
from worldshift.report.stats import Estimate, estimate, iqm

Header = Mapping[str, Any]
"""Of a file of rows: the study's definition, and for each finished pair what made it."""
Rows = Sequence[Mapping[str, Any]]
DIGITS = 4
"""Significant digits kept of a row's numbers."""


class Study(ABC):
    """A grid of pairs, run one after another. Kinds of study are frozen dataclasses that fill this in."""

    name: str
    about: str
    """The question, in one line."""
    agents: tuple[str, ...]
    methods: tuple[str, ...]
    """What is compared, by name."""

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """What is run one after another."""
        return [(agent, method) for agent in self.agents for method in self.methods]

    @property
    @abstractmethod
    def steps(self) -> int:
        """Of one pair, in whatever `run_pair` reports."""

    @abstractmethod
    def quick(self) -> "Study":
        """The same, small enough for a minute, under the name `<name>-quick`."""

    @abstractmethod
    def definition(self) -> dict[str, Any]:
        """What makes two files of rows comparable, as JSON values."""

    @abstractmethod
    def run_pair(self, agent: str, method: str, report: Callable[[int], None]) -> tuple[list[dict[str, Any]], dict]:
        """Rows of one pair, and what else is known about it."""

    @abstractmethod
    def summaries(self, header: Header, rows: Rows) -> Any:
        """What the rows say, worked out: what numbers, tables, notes and figures are made of."""

    @abstractmethod
    def numbers(self, evidence: "Evidence") -> dict[str, Any]:
        """What the rows say, as JSON values."""

    @abstractmethod
    def table(self, evidence: "Evidence") -> Grid:
        """What the rows say, in words."""

    def notes(self, evidence: "Evidence") -> list[str]:
        """Sentences below the table."""
        return []

    def scores(self, evidence: "Evidence") -> "Scores | None":
        """A number for each run and task of each method, for interquartile means; None where there is no such thing."""
        return None

    def draw(self, evidence: "Evidence", path: Path, results: Path) -> bool:
        """Draws the study's figure into a file; False if it has none. `results`: where published scores are."""
        return False


@dataclass(frozen=True)
class Evidence:
    """A study with the rows of its file."""

    study: Study
    header: Header
    rows: Rows

    @cached_property
    def summaries(self) -> Any:
        """What they say, worked out once: bootstraps take seconds."""
        return self.study.summaries(self.header, self.rows)

    @cached_property
    def scores(self) -> "Scores | None":
        """What the study scores, worked out once."""
        return self.study.scores(self)

    @cached_property
    def middles(self) -> dict[str, Estimate]:
        """Interquartile means by method, with stratified bootstrap intervals, where there is more than one run."""
        scored = self.scores.by_method if self.scores else {}
        known = {m: each for m, each in scored.items() if len(each) > 1 and np.isfinite(each).all()}
        return {m: estimate(each, iqm, resamples=2000) for m, each in known.items()}


class Scores(NamedTuple):
    """Scores by method. Runs are seeds or bodies, tasks what the bootstrap keeps apart: pairs, bodies or levels."""

    what: str
    by_method: Mapping[str, Float[np.ndarray, "runs tasks"]]


def step_seconds(header: Header, agent: str | None = None) -> float:
    """Body time of an agent step, of this agent or of the first, from the rows' header."""
    return next(float(pair["dt"]) for pair in header["pairs"] if agent in (None, pair["agent"]))


def complete(rows: Rows) -> list[Mapping[str, Any]]:
    """Only agents that every method has been run with, while a study is under way."""
    methods = by_method(rows)
    common = set.intersection(*({row["agent"] for row in each} for each in methods.values()))
    return [row for row in rows if row["agent"] in common]


def by_method(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """Rows of each method, agent by agent: the same trials in the same order, whenever each agent was run."""
    ordered = sorted(rows, key=lambda row: row["agent"])
    return {name: [r for r in ordered if r["method"] == name] for name in dict.fromkeys(r["method"] for r in rows)}
