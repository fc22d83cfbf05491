"""What is written: pages, tables and cards, and the committed rows that tests of pages compare them with."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from worldshift import zoo
from worldshift.cli.results_verb import findings
from worldshift.studies.declared import load_study

ROOT = Path(__file__).parents[1]
PAIRS = ("pendulum-reversed", "reacher-reversed", "cup-windy", "finger-torque")


@cache
def prose(name: str) -> str:
    """A page with every line break a space."""
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


@cache
def section(study: str) -> str:
    """What docs/results.md says of a study."""
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    return page.split(f"\n## {study}\n")[1].split("\n## ")[0]


@cache
def found(study: str) -> Any:
    """What `worldshift results --json` says of a study."""
    return findings(load_study(study, ROOT / "results"))


@cache
def curves(study: str, pair: str, method: str) -> np.ndarray:
    """Returns, (seeds, measurements)."""
    rows = load_study(study, ROOT / "results").rows
    return np.asarray([r["curve"]["target_return"] for r in rows if (r["pair"], r["method"]) == (pair, method)])


def card(name: str) -> dict[str, Any]:
    """What is written beside a shipped agent."""
    return json.loads((zoo.ROOT / name / "card.json").read_text())


def percent(share: float) -> str:
    return f"{100 * share:.0f}"


def interval(final: dict[str, float]) -> str:
    return "{value:.0f} [{low:.0f}, {high:.0f}]".format(**final)
