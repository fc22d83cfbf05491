"""Numbers in the prose of the README are those of the committed rows; its tables and figures are written from them."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worldshift.cli.results_verb import findings
from worldshift.studies.declared import load_study

ROOT = Path(__file__).parents[1]
PIXELS = "pendulum-reversed-pixels"
FINGER = "finger-torque"


@cache
def prose() -> str:
    """The README with every line break a space."""
    return " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


@cache
def found(study: str) -> Any:
    return findings(load_study(study, ROOT / "results"))


def percent(share: float) -> str:
    return f"{100 * share:.0f}"


def of_oracle(case: str) -> tuple[str, str]:
    """Share of the oracle's return: in the mean of the four pairs, and on the finger."""
    pairs = found("offline-data")["pairs"]
    assert len(pairs) == 4
    shares = {pair: each[case]["share"] for pair, each in pairs.items()}
    return percent(float(np.mean(list(shares.values())))), percent(shares[FINGER])


def test_offline_from_states() -> None:
    longer, finger_longer = of_oracle("residual, half of 40,000 its own, 6,000 updates")
    short, finger_short = of_oracle("residual, half of 40,000 its own")
    little, finger_little = of_oracle("residual, half of 4,000 its own in two turns, 6,000 updates")
    assert (
        f"it ends at {longer} % of the agent that was trained in the target after 6,000 updates, at {short} % after "
        f"3,000 (means of the four pairs; the finger is the hardest, at {finger_longer} and {finger_short} %). From "
        f"4,000 transitions and in two turns it is at {little} % (the finger at {finger_little} %)"
    ) in prose()


def test_offline_from_images() -> None:
    cases = found("offline-pixels")["pairs"][PIXELS]
    whole, short = cases["residual, whole episodes"]["share"], cases["residual"]["share"]
    assert (
        f"From images the pendulum is at {percent(whole)} % after whole recorded episodes, at {percent(short)} % "
        "after short ones"
    ) in prose()


def worst(method: str) -> tuple[str, dict[str, float]]:
    """The change under which a method loses most against the frozen agent, and what it gains there."""
    levels = found("beyond-gains")["levels"]
    own = {name: each[method]["against_frozen"] for name, each in levels.items() if method in each}
    at = min(own, key=lambda name: own[name]["value"])
    return at, own[at]


@pytest.mark.parametrize(
    ("method", "change", "sentence"),
    [
        ("layered", "velocities", "of {count} changes {loss:.1f} [{low:.1f}, {high:.1f}] % at worst"),
        ("fast", "ankle", "the fast one loses {loss:.0f} % on a dead ankle"),
    ],
)
def test_the_greatest_harm(method: str, change: str, sentence: str) -> None:
    at, gain = worst(method)
    assert change in at
    loss, low, high = (-100 * gain[key] for key in ("value", "high", "low"))
    count = len(found("beyond-gains")["levels"])
    assert sentence.format(count=count, loss=loss, low=low, high=high) in prose()
