"""Studies: sound definitions, rows that survive interruption, and findings that agree with the simulator."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from worldshift import zoo
from worldshift.adapt.fast_reflex import FastReflex
from worldshift.cli.results_verb import findings
from worldshift.run.online.comparison import compare, seconds_per_step
from worldshift.run.online.methods import GAINS, METHODS, PLANNER, SPACED, SamplingAgent, build
from worldshift.run.online.metrics import actuation_error, course
from worldshift.run.online.protocol import Body, Protocol, read_rows
from worldshift.run.online.show import panels
from worldshift.studies.agents import ANCHORS, AgentStudy, trainings
from worldshift.studies.contract import Evidence, by_method
from worldshift.studies.declared import STUDIES, find_study, load_study
from worldshift.studies.lives import LivesStudy
from worldshift.studies.paper_table import PaperTableStudy
from worldshift.studies.reflex_cases import FIRST_FAULT
from worldshift.studies.runner import run_study
from worldshift.studies.sections import drawn

PROTOCOL = Protocol(nominal=40, on=60, off=20, episode_steps=20, offset=10)


def one(found):
    (only,) = found.values()
    return only


@pytest.fixture
def study(tiny_run) -> LivesStudy:
    return LivesStudy(
        "small", "a test", (str(tiny_run.path),), ("nominal", "frozen", "oracle"), PROTOCOL, GAINS, (1000, 1001), (0, 1)
    )


@pytest.mark.parametrize("study", [s for s in STUDIES.values() if type(s) is LivesStudy], ids=lambda s: s.name)
def test_definitions_are_sound(study):
    p = study.protocol
    assert all(steps % p.block == 0 for steps in (p.nominal, p.on, p.off))
    assert set(study.methods) <= METHODS.keys() and "frozen" in study.methods
    assert study.shift is None or min(study.faults) >= FIRST_FAULT
    assert len(set(study.bodies)) == len(study.faults) * len(study.seeds)
    quick = study.quick()
    assert quick.protocol.steps < p.steps and quick.name == f"{study.name}-quick" and find_study(quick.name) == quick
    assert all(steps % p.block == 0 for steps in (quick.protocol.nominal, quick.protocol.on, quick.protocol.off))


def test_studies_measure_what_was_promised():
    fast, none = STUDIES["step-gains"], STUDIES["no-shift"]
    assert isinstance(fast, LivesStudy) and isinstance(none, LivesStudy)
    assert len(fast.faults) == 20 and len(fast.seeds) == 2 and fast.protocol.on * 0.05 >= 75
    assert len(none.seeds) >= 16 and none.shift is None
    paper = STUDIES["paper-table"]
    assert isinstance(paper, PaperTableStudy)
    assert paper.protocol.on == 75 * paper.protocol.episode_steps and len(paper.bodies) == 20
    assert not set(paper.faults) & set(fast.faults)


def test_rows_of_the_runner_agree_with_the_fault(tiny_run):
    shipped = zoo.load(tiny_run.path)
    bodies = [Body(1000, 0), Body(1001, 0)]
    found = compare(shipped, ("nominal", "frozen", "oracle"), PROTOCOL, GAINS, bodies)
    frozen, oracle, nominal = (course(found.rows[m], PROTOCOL, found.dt) for m in ("frozen", "oracle", "nominal"))
    assert (frozen.before["wrong"] == 0).all() and (frozen.on["wrong"] > 0).all()
    assert actuation_error(frozen.on, 1) == pytest.approx(1.0, abs=1e-3)
    assert (actuation_error(oracle.on, 1) < 0.02).all()
    assert (nominal.on["wrong"] == 0).all()
    # Nothing is left to correct once the fault is over, and the oracle knows.
    assert (frozen.off["left"] == 0).all() and (oracle.off["left"] < 1e-3).all()
    assert np.array_equal(frozen.before["reward"], nominal.before["reward"])
    assert found.dt == 0.05 and set(found.ms) == {"nominal", "frozen", "oracle"}


def test_finished_parts_are_kept(study, tmp_path):
    path = run_study(study, tmp_path, methods=["frozen"])
    first = path.read_text().splitlines()
    told = []
    assert run_study(study, tmp_path, report=lambda *x: told.append(x)) == path
    header, rows = read_rows(path)
    assert [(p["agent"], p["method"]) for p in header["pairs"]] == [
        (study.agents[0], m) for m in ("frozen", "nominal", "oracle")
    ]
    assert path.read_text().splitlines()[1:5] == first[1:]
    assert [x for x in told if x[1] == "frozen"] == [(study.agents[0], "frozen", PROTOCOL.steps)]
    assert len(rows) == 12 and all("gain" not in row and len(row["reward"]) == 6 for row in rows)
    done = path.read_bytes()
    run_study(study, tmp_path)
    assert path.read_bytes() == done


def test_an_interruption_loses_the_part_under_way_only(study, tmp_path):
    def stop(agent, method, steps):
        if method == "frozen" and steps == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path, report=stop)
    header, rows = read_rows(tmp_path / "small.jsonl")
    assert [p["method"] for p in header["pairs"]] == ["nominal"] and len(rows) == 4
    whole = run_study(study, tmp_path).read_text().splitlines()[1:]
    again = run_study(study, tmp_path / "afresh").read_text().splitlines()[1:]
    assert whole == again


def test_processes_that_run_one_study_at_once_keep_each_others_rows(study, tmp_path):
    def another_process(agent: str, method: str, steps: int) -> None:
        if method == "frozen":  # is being run, while someone else finishes another method
            run_study(study, tmp_path, methods=["oracle"])

    path = run_study(study, tmp_path, methods=["frozen"], report=another_process)
    header, rows = read_rows(path)
    assert {each["method"] for each in header["pairs"]} == {row["method"] for row in rows} == {"frozen", "oracle"}
    assert len(header["pairs"]) == 2 and len(rows) == 2 * len(study.bodies)


def test_rows_of_another_definition_or_agent_are_not_mixed_in(study, tmp_path, tiny_run):
    path = run_study(study, tmp_path, methods=["nominal"])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="another definition of small: pass --fresh"):
        run_study(dataclasses.replace(study, seeds=(0, 2)), tmp_path)
    header, rows = json.loads(before.splitlines()[0]), before.splitlines()[1:]
    header["header"]["pairs"][0]["fingerprint"] = "0" * 16
    path.write_bytes(b"\n".join([json.dumps(header).encode(), *rows]))
    with pytest.raises(ValueError, match=r"another .* than there is now: pass --fresh"):
        run_study(study, tmp_path)
    assert [
        p["method"] for p in read_rows(run_study(study, tmp_path, methods=["nominal"], fresh=True))[0]["pairs"]
    ] == ["nominal"]


def test_what_is_asked_for_is_run_anew_and_the_rest_is_kept(study, tmp_path):
    path = run_study(study, tmp_path)
    rows = read_rows(path)[1]
    ran = []
    run_study(study, tmp_path, methods=["frozen"], agents=study.agents, fresh=True, report=lambda *x: ran.append(x[:2]))
    again, anew = read_rows(path)
    assert [p["method"] for p in again["pairs"]] == ["nominal", "oracle", "frozen"] and len(anew) == len(rows)
    kept = [row for row in rows if row["method"] != "frozen"]
    assert anew[: len(kept)] == kept and ran.count((study.agents[0], "frozen")) > ran.count((study.agents[0], "oracle"))


def test_user_errors_leave_nothing_behind(study, tmp_path):
    with pytest.raises(ValueError, match="no method 'fast'; it has nominal, frozen, oracle"):
        run_study(study, tmp_path, methods=["fast"])
    with pytest.raises(ValueError, match="small has no agent 'walker'; it has "):
        run_study(study, tmp_path, agents=["walker"])
    with pytest.raises(ValueError, match="there is no agent 'gone'"):
        run_study(dataclasses.replace(study, agents=("gone",)), tmp_path)
    with pytest.raises(ValueError, match="no study 'nope': choose among base-agents"):
        find_study("nope")
    with pytest.raises(ValueError, match="worldshift study step-gains"):
        load_study("step-gains", tmp_path)
    assert not list(tmp_path.iterdir())


def test_findings_of_gains(study, tmp_path):
    header, rows = read_rows(run_study(study, tmp_path))
    found = findings(Evidence(study, header, rows))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(one(found["bodies"])) == {"nominal", "frozen", "oracle"} and list(found["agents"]) == list(study.agents)
    assert one(found["bodies"])["frozen"]["actuation_end"]["value"] == pytest.approx(1.0, abs=0.01)
    assert one(found["bodies"])["oracle"]["actuation_end"]["value"] < 0.02
    assert one(found["bodies"])["oracle"]["ms"] > 0
    figure = drawn(Evidence(study, header, rows), tmp_path / "figures", tmp_path)
    assert figure and figure == tmp_path / "figures" / "small.png" and figure.stat().st_size > 10_000


def test_panels_place_the_fault(study, tmp_path):
    _, rows = read_rows(run_study(study, tmp_path))
    reward, actuation = panels(by_method(rows), PROTOCOL, 0.05)
    assert reward.on == actuation.on == ((0.0, 3.0),)
    assert reward.curves["frozen"].x.tolist() == pytest.approx([-1, 0, 1, 2, 3, 4])
    assert "nominal" not in actuation.curves
    assert actuation.curves["frozen"].y[:3] == pytest.approx(1.0, abs=0.01)


def test_findings_without_a_fault_are_what_adapting_costs(study, tmp_path):
    healthy = dataclasses.replace(
        study, methods=("frozen", "fast"), shift=None, protocol=Protocol(nominal=60, on=0, off=0, episode_steps=20)
    )
    header, rows = read_rows(run_study(healthy, tmp_path))
    found = findings(Evidence(healthy, header, rows))
    assert one(found["bodies"])["frozen"]["harm"]["value"] == 0.0
    assert abs(one(found["bodies"])["fast"]["harm"]["value"]) < 0.5
    assert drawn(Evidence(healthy, header, rows), tmp_path, tmp_path) is None


def test_agents_are_measured_and_their_curve_is_kept(tiny_run, tmp_path):
    study = AgentStudy("agents", "a test", (str(tiny_run.path),), episodes=2)
    header, rows = read_rows(run_study(study, tmp_path))
    (row,) = rows
    assert row["task"] == "walker-walk" and len(row["returns"]) == 2 and row["agent_steps"] == 20
    assert row["mean"] == pytest.approx(np.mean(row["returns"]), abs=0.01) and row["min"] == pytest.approx(
        min(row["returns"]), abs=0.01
    )
    ((frames, score),) = row["curve"]
    assert frames == 80 and 0 < score < 40  # 40 agent steps, action repeat 2
    assert findings(Evidence(study, header, rows))["agents"][study.agents[0]]["mean"] == row["mean"]


def test_official_scores_stop_where_ours_do(tmp_path):
    anchors = tmp_path / ANCHORS
    points = [{"frames": f, "mean": 900.0, "std": 1.0} for f in (100_000, 200_000, 500_000)]
    anchors.write_text(json.dumps({"tasks": {"walker-walk": points}}))
    rows = [{"agent": "a", "task": "walker-walk", "curve": [[100_000, 800.0], [140_000, 900.0]]}]
    training = trainings(rows, anchors)["walker-walk"]
    assert [f for f, *_ in training.theirs] == [100_000, 200_000]
    assert training.ours == {"a": [(100_000, 800.0), (140_000, 900.0)]}


def test_the_committed_official_scores_can_be_drawn():
    official = json.loads((Path(__file__).parents[2] / "results" / ANCHORS).read_text())
    assert {"walker-walk", "cheetah-run", "cup-catch"} <= official["tasks"].keys()
    assert official["tasks"]["walker-walk"][0] == {"frames": 100_000, "mean": 961.9, "std": 10.2}


def test_methods_by_name(tiny_run, tmp_path):
    shipped = zoo.load(tiny_run.path)
    for method in (
        METHODS.keys() - SPACED.keys() - {"rma", "fast, planner, own calibration"}
    ):  # which prepare themselves for minutes
        assert hasattr(build(method, shipped, PROTOCOL), "observe")
    with pytest.raises(ValueError, match="unknown method 'magic': choose among nominal"):
        build("magic", shipped, PROTOCOL)
    fast, planned = (build(m, shipped, PROTOCOL) for m in ("fast", "fast, planner"))
    assert isinstance(fast, FastReflex) and isinstance(planned, FastReflex)
    assert fast.agent.planner is None and planned.agent.planner == PLANNER
    with pytest.raises(ValueError, match="trained for walker-walk and cannot live through cheetah-run"):
        compare(shipped, ["frozen"], dataclasses.replace(PROTOCOL, task="cheetah-run"), None, [Body(0, 0)])
    shutil.copytree(tiny_run.path / "agent", tmp_path / "bare" / "agent")
    with pytest.raises(ValueError, match="worldshift calibrate"):
        build("fast", zoo.load(tmp_path / "bare"), PROTOCOL)


def test_a_sampled_agent_acts_as_it_explores(tiny_run):
    agent = zoo.load(tiny_run.path).agent
    sampled = SamplingAgent(agent.model, agent.planner, agent.discount)
    obs, memory, key = np.ones((1, 24), np.float32), agent.init_memory(1), jax.random.key(1)
    assert np.array_equal(sampled.act(memory, obs, key)[0], agent.explore(memory, obs, key)[0])
    assert not np.array_equal(sampled.act(memory, obs, key)[0], agent.act(memory, obs, key)[0])


def test_body_time_needs_a_clock():
    assert seconds_per_step("walker-walk") == 0.05
    assert seconds_per_step("point-mass") > 0
    with pytest.raises(ValueError, match="does not say how long a step lasts"):
        seconds_per_step("gym:MountainCarContinuous-v0")
