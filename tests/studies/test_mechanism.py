"""The page of pictures shows one life as it was: what the motor did, what the model expected, and the truth."""

import dataclasses
import json

import numpy as np
import pytest

from worldshift.cli.results_verb import findings
from worldshift.run.online.protocol import read_rows
from worldshift.studies.contract import Evidence
from worldshift.studies.declared import STUDIES
from worldshift.studies.mechanism import MechanismStudy
from worldshift.studies.runner import run_study
from worldshift.studies.sections import drawn


@pytest.fixture
def lived(tmp_path):
    study = STUDIES["mechanism"]
    assert isinstance(study, MechanismStudy)
    short = dataclasses.replace(study, protocol=dataclasses.replace(study.protocol, nominal=100, on=140))
    return short, *read_rows(run_study(short, tmp_path))


def test_the_traces_of_a_shipped_walker(lived, tmp_path):
    study, header, rows = lived
    frozen, fast = ({k: np.asarray(row[k]) for k in row if k not in ("agent", "method")} for row in rows)
    onset = study.protocol.nominal
    for row in (frozen, fast):
        assert (row["truth"][:onset] == 1.0).all() and (row["truth"][onset:] == 0.5).all()
        np.testing.assert_allclose(row["motor"], row["truth"] * row["command"], atol=2e-4)
    np.testing.assert_array_equal(frozen["command"], frozen["base"])
    assert np.abs(fast["gain"][-40:] - 0.5).mean() < 0.1, "the motor's strength is found"
    assert (
        np.abs(fast["motor"] - fast["base"])[-40:].mean() < 0.5 * np.abs(frozen["motor"] - frozen["base"])[-40:].mean()
    )
    found = findings(Evidence(study, header, rows))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    errors = found["methods"]
    assert errors["fast"]["settled"] < 0.7 * errors["frozen"]["settled"]
    figure = drawn(Evidence(study, header, rows), tmp_path, tmp_path)
    assert figure and figure.stat().st_size > 20_000 and len(study.table(Evidence(study, header, rows)).rows) == 2
