"""RWM's tables beside ours: drops, improvements and falls of rows whose answers are known, and real lives."""

import dataclasses
import json

import numpy as np
import pytest

from worldshift.cli.results_verb import findings
from worldshift.run.online.protocol import read_rows
from worldshift.studies.contract import Evidence
from worldshift.studies.declared import STUDIES
from worldshift.studies.paper_table import PaperTableStudy
from worldshift.studies.runner import run_study
from worldshift.studies.sections import drawn

STUDY = STUDIES["paper-table"]
assert isinstance(STUDY, PaperTableStudy)


def test_every_draw_has_poses_of_its_own():
    assert [(b.fault, b.seed) for b in STUDY.bodies[:2]] == [(2400, 3400), (2401, 3401)] and len(STUDY.bodies) == 20


@pytest.fixture
def written():
    """Healthy 1.8 a step; a fault that costs 0.2 or 0.4, of which the reflex has a quarter back, later three quarters.

    A third draw costs almost nothing, and a fourth lets the frozen agent fall for a tenth of the phase.
    """
    p, rows = STUDY.protocol, []
    lead, on, off = (steps // p.block for steps in (p.nominal, p.on, p.off))
    for method in ("nominal", "frozen", "paper"):
        for fault, cost in ((1, 0.2), (2, 0.4), (3, 0.001), (4, 0.2)):
            share = np.repeat({"nominal": 0.0, "frozen": 1.0, "paper": 0.75}[method], on)
            if method == "paper":
                share[on // 2 :] = 0.25
            reward = np.concatenate([np.full(lead, 1.8), 1.8 - cost * share, np.full(off, 1.8)])
            if fault == 4 and method == "frozen":
                reward[lead : lead + on // 10] = 0.1
            error = np.concatenate([np.full(lead, 1e-4), 1e-4 + 2e-4 * share, np.full(off, 1e-4)])
            one = np.ones_like(reward).tolist()
            columns = {"reward": reward.tolist(), "error": error.tolist(), "left": one, "wrong": one, "guarded": one}
            rows.append({"agent": "walker-walk-2", "method": method, "fault": fault, "seed": fault} | columns)
    return Evidence(STUDY, {"pairs": [{"agent": "walker-walk-2", "dt": 0.05}]}, rows)


def test_drops_and_what_is_taken_off_them(written, tmp_path):
    lines = written.summaries["walker-walk"]
    fell = 0.1 * ((75 // 10) / 7.5) * (1.7 - 0.2)  # what falling costs beyond the fault, in the mean over the phase
    assert lines["nominal"].drop.value == 0 and lines["nominal"].better.value == 1
    assert lines["frozen"].drop.value == pytest.approx(200 * (0.801 + fell) / 4, rel=1e-6)
    assert lines["frozen"].fallen == pytest.approx((75 // 10) / 75 / 4)
    half = 37 / 75  # episodes of the phase's first half, of 75
    left = 0.75 * half + 0.25 * (1 - half)
    assert lines["paper"].drop.value == pytest.approx(200 * 0.801 * left / 4, rel=1e-6)
    assert lines["paper"].better.value == pytest.approx(1 - 0.801 * left / (0.801 + fell), rel=1e-6)
    assert lines["paper"].late.value == pytest.approx(0.75) and lines["paper"].fallen == 0
    assert lines["paper"].smaller.value == pytest.approx(2e-4 * (1 - left) / 3e-4), "of all error, as the paper has it"
    words = {row[1]: row for row in STUDY.table(written).rows}
    assert words["paper"][5] == "94 %" and words["paper"][8] == "74 %" and words["frozen"][5] == "–"
    assert words["nominal"][6] == "10.0" and words["frozen"][6] == "30.0"
    assert "3 of 4 on the walker-walk" in STUDY.notes(written)[1], "a draw that costs nothing is not divided by"
    assert STUDY.draw(written, tmp_path / "f.png", tmp_path) and (tmp_path / "f.png").stat().st_size > 20_000


def test_real_lives_are_read_back(tmp_path):
    short = dataclasses.replace(STUDY.protocol, nominal=200, on=600, off=200)
    study = dataclasses.replace(STUDY.quick(), methods=("nominal", "frozen", "oracle"), protocol=short)
    evidence = Evidence(study, *read_rows(run_study(study, tmp_path)))
    lines = evidence.summaries["walker-walk"]
    assert lines["frozen"].drop.value > 5 and lines["oracle"].better.value > 0.8
    assert lines["frozen"].error.value > 1.2 * lines["nominal"].error.value
    found = findings(evidence)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    figure = drawn(evidence, tmp_path, tmp_path)
    assert figure and figure.stat().st_size > 20_000
