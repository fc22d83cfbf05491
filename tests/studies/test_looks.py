"""The study of what a camera sees: it measures, goes on, and says in table and figure what it measured."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image

from worldshift.agents.draw_agent import DrawAgent, save_agent
from worldshift.agents.imagination import ActorCritic
from worldshift.cli.results_verb import findings
from worldshift.models.draw import Draw
from worldshift.models.vision import PIXELS
from worldshift.run.online.protocol import read_rows
from worldshift.shifts import Lighting
from worldshift.studies.contract import Evidence
from worldshift.studies.looks import LOOKS_STUDY, LooksStudy, by_look
from worldshift.studies.runner import run_study
from worldshift.studies.sections import drawn


@pytest.fixture(scope="module")
def study(seen, tmp_path_factory):
    """Of an untrained agent; the light as it was, and none."""
    model = Draw(PIXELS + 1, 1, pixels=True, key=jax.random.key(0))
    path = tmp_path_factory.mktemp("pixels") / "agent"
    agent = DrawAgent(model, ActorCritic(model, key=jax.random.key(1)))
    save_agent(agent, path, {"task": "pixels:pendulum-swingup"})
    shifts = (Lighting(scale=1.0), Lighting(scale=0.0))
    return LooksStudy("looks", "light", (str(path),), (("light", shifts),), (0.0, 1.0), seeds=(1, 2), episodes=1)


def test_a_study_of_looks_is_run_told_and_drawn(study, tmp_path):
    told = []
    path = run_study(study, tmp_path, report=lambda *x: told.append(x[2]))
    header, rows = read_rows(path)
    assert told == [1, 2, 3, 4, 4] and len(rows) == 4
    assert [(row["severity"], row["seed"]) for row in rows] == [(0.0, 1), (0.0, 2), (1.0, 1), (1.0, 2)]
    errors = [row["held_out_kl"] for row in rows]
    assert np.isfinite(errors).all() and errors[0] != errors[2], "the dark looks different"
    found = by_look(rows)["light"]
    assert found[0.0].error.value == pytest.approx(np.mean(errors[:2]))
    evidence = Evidence(study, header, rows)
    assert json.loads(json.dumps(findings(evidence)))["looks"]["light"]["1.0"]["returned"]["value"] >= 0
    assert [row[:2] for row in study.table(evidence).rows] == [("light", "0.00"), ("light", "1.00")]
    figure = drawn(evidence, tmp_path, tmp_path)
    assert figure
    with Image.open(figure) as picture:
        assert picture.size[0] > 300
    again = run_study(study, tmp_path)
    assert read_rows(again)[1] == rows


def test_an_agent_that_is_not_there_yet_is_left_out(tmp_path):
    study = replace(LOOKS_STUDY, agents=("draw-nothing-1",))
    assert study.pairs == []
    with pytest.raises(ValueError, match="draw-nothing-1 was not trained yet"):
        run_study(study, tmp_path)


def test_quick_keeps_both_ends():
    quick = LOOKS_STUDY.quick()
    assert quick.severities == (0.0, 1.0) and all(len(shifts) == 2 for _, shifts in quick.looks)
    assert len(LOOKS_STUDY.seeds) >= 5
