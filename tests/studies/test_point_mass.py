"""The point mass: deviations and after-effects are read as figure 1 of RWM reads them, on rows and on real lives."""

import dataclasses
import json
import math

import numpy as np
import pytest

from worldshift.cli.results_verb import findings
from worldshift.run.online.protocol import read_rows
from worldshift.studies.contract import Evidence
from worldshift.studies.declared import STUDIES
from worldshift.studies.point_mass import LATE, PointMassStudy
from worldshift.studies.runner import run_study
from worldshift.studies.sections import drawn

STUDY = STUDIES["point-mass"]
assert isinstance(STUDY, PointMassStudy)


def test_phases_are_those_of_the_paper():
    assert STUDY.signs == (0, 1, 0, -1, 0, 1, 0) and STUDY.length == 50
    assert STUDY.protocol.steps == 7 * 10_000


@pytest.fixture
def written():
    """Two bodies whose frozen agent passes 40 mm beside its healthy 5 mm, and whose reflex forgets it in a phase."""
    length, rows = STUDY.length, []
    fade = np.exp(-np.arange(length) / 5)
    for method in ("frozen", "paper"):
        for seed, own in ((1, 0.0), (2, 1.0)):
            parts, left = [], 0.0
            for sign in STUDY.signs:
                wanted = 40.0 * sign
                error = (wanted - left) * fade if method == "paper" else np.full(length, wanted)
                left = wanted if method == "paper" else 0.0
                parts.append(5.0 + own + error)
            deviation: list[float | None] = [float(d) for d in np.concatenate(parts)]
            deviation[60] = None  # a path that never got half-way
            row = {"agent": "a", "method": method, "seed": seed, "deviation_mm": deviation, "return": [300.0] * 350}
            rows.append(row | ({"paths": [[[0.0, 0.0], [0.1, 0.1]]] * 14} if seed == 1 else {}))
    return Evidence(STUDY, {"pairs": [{"agent": "a", "dt": 0.04}]}, rows)


def test_deviations_are_less_the_healthy_bodys_and_after_effects_have_the_other_sign(written, tmp_path):
    frozen, paper = written.summaries["frozen"], written.summaries["paper"]
    assert [round(p.last.value) for p in frozen] == [0, 40, 0, -40, 0, 40, 0]
    assert paper[1].first.value == pytest.approx(40, abs=0.6) and abs(paper[1].last.value) < 0.1
    assert [np.sign(p.first.value) for p in paper[2::2]] == [-1, 1, -1] and paper[1].reward.value == 1.0
    (note,) = [note for note in STUDY.notes(written) if note.startswith("paper")]
    assert "100 % of the frozen agent's deviation" in note and "pass 40 mm on the other side" in note
    assert len(STUDY.table(written).rows) == 2 * 7 and STUDY.length > LATE
    assert STUDY.draw(written, tmp_path / "f.png", tmp_path) and (tmp_path / "f.png").stat().st_size > 20_000


def test_the_shipped_agent_is_turned_and_its_reflex_turns_it_back(tmp_path):
    study = dataclasses.replace(STUDY.quick(), methods=("frozen", "fast, coupled"))
    assert study.shift.to_dict()["angle"] == pytest.approx(math.pi / 4)
    evidence = Evidence(study, *read_rows(run_study(study, tmp_path)))
    frozen, fast = evidence.summaries["frozen"], evidence.summaries["fast, coupled"]
    assert frozen[1].last.value > 15 and frozen[3].last.value < -15, "left, and right"
    late = [abs(row["deviation_mm"][k] - row["deviation_mm"][1]) for row in evidence.rows[2:] for k in (3, 7)]
    assert np.max(late) < 10, "in the second episode the path is the healthy one again"
    assert fast[2].first.value < -15 and fast[4].first.value > 15, "after-effects of opposite sign"
    found = findings(evidence)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    figure = drawn(evidence, tmp_path, tmp_path)
    assert figure and figure.stat().st_size > 20_000
