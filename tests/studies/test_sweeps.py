"""Sweeps and cycles: sums by hand, healthy bodies lived once, levels left out, and studies from end to end."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from worldshift.cli.results_verb import findings
from worldshift.run.online.methods import GAINS, METHODS
from worldshift.run.online.protocol import Protocol, read_rows
from worldshift.shifts import ActuatorGain, BodyMass, FilteredNoise, Uniform
from worldshift.studies.contract import Evidence
from worldshift.studies.cycles import CyclesStudy
from worldshift.studies.declared import STUDIES, find_study
from worldshift.studies.levels import Level, foretold
from worldshift.studies.lives import LivesStudy
from worldshift.studies.reflex_cases import FIRST_FAULT
from worldshift.studies.runner import run_study
from worldshift.studies.sections import drawn
from worldshift.studies.sweeps import HEALTHY, SweepStudy

PROTOCOL = Protocol(nominal=40, on=400, off=0, episode_steps=100, offset=0)
LEVELS = (
    Level("gains", "a half", 1.0, ActuatorGain(-0.5)),
    Level("gains", "drifting", 2.0, ActuatorGain(1.0), FilteredNoise(period=100), steps=300),
    Level("mass", "x 2", 1.0, BodyMass(scale=2.0)),
)
HEADER = {"pairs": [{"agent": "a", "method": "frozen", "dt": 0.05}]}
SWEEPS = [s for s in STUDIES.values() if isinstance(s, SweepStudy)]


@pytest.fixture
def sweep(tiny_run) -> SweepStudy:
    agent, left_out = (str(tiny_run.path),), (("oracle", "mass"), ("oracle", LEVELS[1].key))
    return SweepStudy(
        *("small", "a test", agent, ("nominal", "frozen", "oracle"), PROTOCOL, LEVELS, (7, 8)), except_at=left_out
    )


def row(method, level, life, reward, left=0.0, matched=0.0):
    blocks = (PROTOCOL.nominal + PROTOCOL.on) // PROTOCOL.block
    values = {"reward": reward, "left": left, "wrong": 1.0, "error": 0.5, "matched": matched, "guarded": 0.0}
    return {"agent": "a", "method": method, "level": level, "fault": life, "seed": life} | {
        k: [v] * blocks for k, v in values.items()
    }


def test_shares_by_hand(sweep):
    study = dataclasses.replace(sweep, methods=("nominal", "frozen", "fast"), levels=LEVELS[:1])
    key, rows = LEVELS[0].key, []
    for life, lost, back in ((7, 0.4, 0.3), (8, 0.2, 0.2)):
        rows += [
            row("nominal", HEALTHY, life, 1.0),
            row("frozen", key, life, 1.0 - lost, left=1.0),
            row("fast", key, life, 1.0 - lost + back, left=0.04, matched=0.9),
        ]
    found = study.summaries(HEADER, rows)[key]
    assert found["frozen"].of_nominal.value == pytest.approx(0.7) and found["nominal"].of_nominal.value == 1.0
    assert found["fast"].against_frozen.value == pytest.approx(0.25)
    assert found["fast"].recovered.value == pytest.approx(0.5 / 0.6)
    assert (found["fast"].recovered.low, found["fast"].recovered.high) == pytest.approx((0.75, 1.0))
    assert found["fast"].actuation.value == pytest.approx(0.2) and found["frozen"].actuation.value == pytest.approx(1.0)
    assert found["fast"].settled.value == pytest.approx(1.0) and np.isinf(found["frozen"].settled.value)
    assert found["fast"].matched == pytest.approx(0.9)
    scores = study.scores(Evidence(study, HEADER, rows))
    assert scores is not None
    np.testing.assert_allclose(scores.by_method["fast"], [[0.9], [1.0]])
    (worst,) = [note for note in study.notes(Evidence(study, HEADER, rows)) if note.startswith("Worst of fast")]
    assert "25.0 [20.0, 30.0] % of nominal" in worst


def test_a_line_through_matched_fraction_and_recovery(sweep):
    levels = tuple(Level("k", str(i), float(i), BodyMass(scale=2.0)) for i in range(4))
    study = dataclasses.replace(sweep, methods=("nominal", "frozen", "fast"), levels=levels)
    rows = [row("nominal", HEALTHY, life, 1.0) for life in (7, 8)]
    for i, level in enumerate(levels):
        for life in (7, 8):
            rows.append(row("frozen", level.key, life, 0.5))
            rows.append(row("fast", level.key, life, 0.5 + 0.1 * i, matched=0.2 * i + 0.1))
    told = foretold(study.summaries(HEADER, rows))
    assert told is not None and told.levels == 4
    assert told.slope == pytest.approx(1.0) and told.r_squared == pytest.approx(1.0)
    assert foretold(dict(list(study.summaries(HEADER, rows).items())[:2])) is None


def test_a_sweep_from_end_to_end(sweep, tmp_path):
    header, rows = read_rows(run_study(sweep, tmp_path))
    lived = {(r["method"], r["level"]) for r in rows}
    assert ("nominal", HEALTHY) in lived and not any(m == "nominal" and at != HEALTHY for m, at in lived)
    assert {at for m, at in lived if m == "oracle"} == {LEVELS[0].key}
    assert {at for m, at in lived if m == "frozen"} == {level.key for level in LEVELS}
    drifting = next(r for r in rows if r["level"] == LEVELS[1].key)
    assert len(drifting["reward"]) == 340 // 20 and len(rows[0]["reward"]) == 440 // 20
    found = findings(Evidence(sweep, header, rows))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    gains = found["levels"][LEVELS[0].key]
    assert gains["frozen"]["actuation"]["value"] == pytest.approx(1.0, abs=0.01)
    assert gains["oracle"]["actuation"]["value"] < 0.02
    assert found["levels"][LEVELS[2].key]["frozen"]["actuation"]["value"] is None  # no map of the actions is wrong
    # What drifts is wrong by another amount all the time, and the runner's truth follows it.
    assert np.std(drifting["wrong"]) > 0.1 * np.mean(drifting["wrong"])
    figure = drawn(Evidence(sweep, header, rows), tmp_path, tmp_path)
    assert figure
    with Image.open(figure) as picture:
        assert picture.size[0] > 600
    assert {line[2] for line in sweep.table(Evidence(sweep, header, rows)).rows} == {"nominal", "frozen", "oracle"}
    done = (tmp_path / "small.jsonl").read_bytes()
    run_study(sweep, tmp_path)
    assert (tmp_path / "small.jsonl").read_bytes() == done


def test_many_levels_have_a_line_each(sweep):
    levels = tuple(Level("k", str(i), float(i), BodyMass(scale=2.0)) for i in range(13))
    study = dataclasses.replace(sweep, methods=("nominal", "frozen", "fast"), levels=levels)
    rows = [row("nominal", HEALTHY, life, 1.0) for life in (7, 8)]
    rows += [row(m, level.key, life, 0.97) for level in levels for m in ("frozen", "fast") for life in (7, 8)]
    lines = study.table(Evidence(study, HEADER, rows)).rows
    assert len(lines) == 13 and lines[0][:3] == ("k", "0", "97 [97, 97] %") and lines[0][4] == "–"  # not felt


@pytest.mark.parametrize("study", SWEEPS, ids=lambda s: s.name)
def test_declared_sweeps_are_sound(study):
    keys = [level.key for level in study.levels]
    assert len(set(keys)) == len(keys) and {"nominal", "frozen"} <= set(study.methods) <= METHODS.keys()
    assert min(study.lives) >= FIRST_FAULT and len(study.lives) >= 5
    known = {*keys, *(level.kind for level in study.levels)}
    assert {at for _, at in study.except_at} <= known
    for level in study.levels:
        life = study.life(level)
        assert all(steps % life.block == 0 for steps in (life.nominal, life.on, life.off))
    quick = study.quick()
    assert quick.steps < study.steps and find_study(quick.name) == quick and "rma" not in quick.methods
    json.dumps(study.definition())


# Cycles


@pytest.fixture
def cycles(tiny_run) -> CyclesStudy:
    protocol = Protocol(nominal=40, on=60, off=40, cycles=4, episode_steps=100, offset=50, redraw=False)
    methods = ("nominal", "frozen", "fast")
    return CyclesStudy("round", "a test", (str(tiny_run.path),), methods, protocol, GAINS, faults=(1, 2), seeds=(3, 4))


def test_the_same_fault_comes_back(cycles, tmp_path):
    header, rows = read_rows(run_study(cycles, tmp_path))
    frozen = [r for r in rows if r["method"] == "frozen"]
    assert [(r["fault"], r["seed"]) for r in frozen] == [(1, 3), (2, 4)]
    for each in frozen:
        wrong, reward = np.asarray(each["wrong"]), np.asarray(each["reward"])
        on = (np.arange(len(wrong)) * 20 - 40) % 100 < 60
        on[:2] = False
        assert (wrong[on] > 0).all() and len(reward) == 22
    over = cycles.over_cycles(header, rows)
    assert set(over["fast"]) == {"cycle 1", "cycle 2", "cycles 3 to 3", "cycles 4 to 4"}
    assert over["nominal"]["cycle 1"].on.value == 1.0 and np.isnan(over["frozen"]["cycle 1"].settled.value)
    assert all(end.value == 0.0 for end in cycles.trend(header, rows)["nominal"])
    evidence = Evidence(cycles, header, rows)
    found = findings(evidence)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    figure = drawn(evidence, tmp_path, tmp_path)
    assert figure and figure.stat().st_size > 10_000
    assert len(cycles.table(evidence).rows) == 3 * 4 and len(cycles.notes(evidence)) == 2


def test_a_fault_that_is_not_drawn_anew_is_the_same_in_every_cycle():
    from worldshift.run.online.protocol import Body, make_body

    protocol = Protocol(task="point-mass", nominal=1, on=1, off=1, redraw=False)
    seen = {}
    for redraw in (False, True):
        env = make_body(dataclasses.replace(protocol, redraw=redraw), ActuatorGain(Uniform(-0.5, 0.5)), Body(5, 0))
        env.reset(seed=0)
        maps = []
        for _ in range(6):
            found = env.get_wrapper_attr("action_matrix")()
            maps.append(np.diagonal(found[0]).copy())
            env.step(np.ones(2, np.float32))
        seen[redraw] = maps
    # Off, on, off, on, ...: steps 1 and 3 are ON.
    np.testing.assert_array_equal(seen[False][1], seen[False][3])
    assert not np.allclose(seen[True][1], seen[True][3]) and np.allclose(seen[False][0], 1.0)


def test_the_declared_cycles():
    study = STUDIES["after-effects"]
    assert isinstance(study, CyclesStudy) and isinstance(study, LivesStudy)
    assert study.protocol.cycles == 20 and not study.protocol.redraw and len(study.bodies) == 20
    assert {body.seed for body in study.bodies} == set(study.seeds)
