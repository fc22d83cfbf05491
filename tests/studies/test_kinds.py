"""Studies over kinds of change: pairing, shares of the frozen agent's reward, and a run from end to end."""

import json
from dataclasses import replace

import numpy as np
import pytest

from worldshift.cli.results_verb import findings
from worldshift.run.protocol import Protocol, read_rows
from worldshift.shifts import ActuatorGain, Gravity
from worldshift.studies.contract import Evidence
from worldshift.studies.declared import find_study
from worldshift.studies.kinds import KindsStudy, by_kind
from worldshift.studies.reflex_cases import UNMATCHED
from worldshift.studies.runner import run_study

STUDY = KindsStudy(
    "kinds", "two kinds", ("walker-walk-1",), ("frozen", "fast"), Protocol(nominal=20, on=80, off=0, block=20),
    (("weak", ActuatorGain(-0.5)), ("heavy", Gravity(scale=1.5))), seeds=(1, 2),
)  # fmt: skip


def rows(**late):
    """Rewards of the last half, by method, one for each seed."""
    return [
        {"agent": "a", "method": m, "kind": "k", "seed": s, "reward": [9.0, 9.0, r, r], "matched": 0.5}
        for m, rewards in late.items()
        for s, r in enumerate(rewards)
    ]


def test_only_the_last_half_counts_and_seeds_are_paired():
    """The seeds differ by much, the methods by a tenth of the frozen mean on each of them."""
    found = by_kind(rows(frozen=[1.0, 2.0, 3.0], fast=[1.2, 2.2, 3.2]))["k"]
    assert found["frozen"].reward.value == pytest.approx(2.0)
    gain = found["fast"].gain
    assert gain.value == pytest.approx(0.1) and gain.low == pytest.approx(0.1) and gain.high == pytest.approx(0.1)
    assert found["frozen"].gain.value == 0 and found["fast"].matched == 0.5


def test_the_order_of_rows_does_not_matter():
    ordered = rows(frozen=[1.0, 2.0, 3.0], fast=[1.5, 2.0, 2.5])
    assert by_kind(ordered)["k"]["fast"] == by_kind(ordered[::-1])["k"]["fast"]


def test_without_the_frozen_agent_there_is_nothing_to_compare():
    with pytest.raises(ValueError, match="no frozen agent"):
        by_kind(rows(fast=[1.0, 2.0]))


def test_the_shipped_study_names_every_kind_once():
    study = find_study("unmatched")
    assert isinstance(study, KindsStudy) and study.methods[0] == "frozen"
    assert len({name for name, _ in UNMATCHED}) == len({s.to_json() for _, s in UNMATCHED}) == len(UNMATCHED) == 7
    assert find_study("unmatched-quick").definition() == study.quick().definition()


def test_a_study_runs_and_goes_on(tiny_zoo, tmp_path):
    path = run_study(STUDY, tmp_path, methods=["frozen"])
    kept = read_rows(path)[1]
    run_study(STUDY, tmp_path)
    header, found = read_rows(path)
    assert found[: len(kept)] == kept and len(found) == 2 * 2 * 2
    assert [p["method"] for p in header["pairs"]] == ["frozen", "fast"]
    assert all(len(row["reward"]) == 4 and np.isfinite(row["reward"]).all() for row in found)
    numbers = findings(Evidence(STUDY, header, found))
    assert list(numbers["kinds"]) == ["weak", "heavy"] and json.dumps(numbers)
    with pytest.raises(ValueError, match="another definition"):
        run_study(replace(STUDY, seeds=(1, 3)), tmp_path)
