"""What is written: pages, tables and cards, and the committed rows that tests of pages compare them with."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from worldshift import zoo
from worldshift.cli.results_verb import findings
from worldshift.studies.declared import load_study

ROOT = Path(__file__).parents[1]
RATES = ("1e-3 after 1e-2", "1e-3 throughout", "3e-4 after 3e-3")
"""Of `offline-rates`; the first is the default."""
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
def evidence(study: str) -> Any:
    """The committed rows of a study."""
    return load_study(study, ROOT / "results")


@cache
def found(study: str) -> Any:
    """What `worldshift results --json` says of a study."""
    return findings(evidence(study))


@cache
def against_frozen(method: str) -> dict[str, dict[str, float]]:
    """What a method wins against the frozen agent under each change of `beyond-gains`, as a share of nominal."""
    levels = found("beyond-gains")["levels"]
    return {change: each[method]["against_frozen"] for change, each in levels.items() if method in each}


@cache
def curves(study: str, pair: str, method: str) -> np.ndarray:
    """Returns, (seeds, measurements)."""
    own = [row for row in evidence(study).rows if (row["pair"], row["method"]) == (pair, method)]
    return np.asarray([row["curve"]["target_return"] for row in own])


def at_ours(way: str) -> list[str]:
    """For each pair its case of `offline-own` at the learning rates that were chosen for the residual."""
    return [f"{way}, half of 40,000 its own"] * len(PAIRS)


def at_its_own(way: str) -> list[str]:
    """The same at what served the way best on the tuned pair whose change is of the same kind: a sign, or a force."""
    pendulum, reacher, cup, finger = PAIRS
    alike = {pendulum: reacher, finger: cup}

    def best(pair: str) -> str:
        tuned = found("offline-rates")["pairs"][alike.get(pair, pair)]
        return max(RATES, key=lambda rates: tuned[f"{way}, {rates}"]["final"]["value"])

    rates = [best(pair) for pair in PAIRS]
    return [case if rate == RATES[0] else f"{case}, {rate}" for case, rate in zip(at_ours(way), rates, strict=True)]


def of_oracle(cases: Sequence[str]) -> list[str]:
    """Shares of the oracle's return in percent, of a case of `offline-own` for each pair, and their mean."""
    own = found("offline-own")["pairs"]
    shares = [own[pair][case]["share"] for pair, case in zip(PAIRS, cases, strict=True)]
    return [percent(share) for share in [*shares, float(np.mean(shares))]]


def card(name: str) -> dict[str, Any]:
    """What is written beside a shipped agent."""
    return json.loads((zoo.ROOT / name / "card.json").read_text())


def percent(share: float) -> str:
    return f"{100 * share:.0f}"


def interval(final: dict[str, float]) -> str:
    return "{value:.0f} [{low:.0f}, {high:.0f}]".format(**final)
