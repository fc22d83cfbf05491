"""Pretraining end to end on small bodies: what it leaves behind, and that a killed run goes on as if never killed."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from worldshift import checkpoint
from worldshift.agents.agent import load_agent
from worldshift.agents.mppi import PlannerConfig
from worldshift.agents.tdmpc2 import LearnerConfig
from worldshift.envs import BatchEnv, make
from worldshift.files import held
from worldshift.models import latent
from worldshift.models.latent import Size
from worldshift.run.evaluate import evaluate
from worldshift.run.training.pretrain import PretrainConfig, pretrain, pretrain_seeds
from worldshift.shifts import ActuatorGain, Shifted, Uniform

SMALL = Size(16, 16, 16, 2, 2)
CONFIG = PretrainConfig(
    task="cup-catch",
    size=0,
    num_envs=2,
    episode_steps=25,
    agent_steps=1300,  # 20 rounds of random actions, then 6 with the policy
    updates_per_dispatch=10,
    eval_every=100,
    eval_episodes=2,
    learner=LearnerConfig(batch=8, horizon=2),
)
KILLED_AFTER = 1150  # between the savings at 1100 and 1200


@pytest.fixture(scope="module", autouse=True)
def _small_models() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(latent.SIZES, 0, SMALL)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, _small_models: None) -> Path:
    """A run that was never interrupted."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert pretrain(CONFIG, out) == out / "agent"
    return out


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def assert_same_run(one: Path, other: Path) -> None:
    """Everything that a run leaves behind, bit by bit; only the clock may differ."""
    for part in ("state", "agent", "best"):
        stored = [checkpoint.load(out / part)[0] for out in (one, other)]
        assert stored[0].keys() == stored[1].keys()
        for name, value in stored[0].items():
            if name != "progress/seconds":
                assert np.asarray(value).tobytes() == np.asarray(stored[1][name]).tobytes(), f"{part}: {name}"
    assert without_time(log(one)) == without_time(log(other))


# What a run leaves behind


def test_the_log_has_a_row_for_each_round(finished):
    rows = log(finished)
    assert [row["agent_steps"] for row in rows] == list(range(50, 1301, 50))
    assert [row["agent_steps"] for row in rows if "eval_return" in row] == [1100, 1200, 1300]
    assert all(np.isfinite(value) for row in rows for value in row.values())
    updates = [row["updates"] for row in rows]
    assert updates[:20] == [0] * 19 + [500]  # half an update for each random step, at once
    # From then on half an update a step, ten to a dispatch; fewer than two dispatches are ever owed.
    assert all(0 <= 500 + 25 * n - done <= 12 for n, done in enumerate(updates[19:]))
    assert {"loss", "consistency", "reward", "value", "policy_loss", "q_scale", "grad_norm"} <= rows[-1].keys()
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)


def test_the_agent_is_what_was_evaluated_last(finished):
    agent, config = load_agent(finished / "agent")
    assert agent.planner is None and agent.discount == CONFIG.learner.discount(25)
    assert config["training"] == json.loads(json.dumps(vars_of(CONFIG)))
    batch = BatchEnv([lambda: make("cup-catch", episode_steps=25)] * 2)
    memory = agent.init_memory(2)
    act = lambda obs, t: np.asarray(agent.act(memory, obs, jax.random.key(0))[0])  # noqa: E731
    result = evaluate(batch, act, steps=25)
    assert result.returns.mean() == pytest.approx(log(finished)[-1]["eval_return"], abs=1e-6)


def vars_of(config: PretrainConfig) -> dict[str, Any]:
    return vars(config) | {"learner": vars(config.learner), "planning": vars(config.planning)}


def test_the_replay_holds_every_step_that_was_lived(finished):
    state, manifest = checkpoint.load(finished / "state")
    assert manifest.kind == "training"
    assert state["replay/lengths"].tolist() == [25] * 52
    assert state["replay/obs"].shape == (52 * 26, 8) and np.abs(state["replay/action"]).max() <= 1
    returns = state["replay/reward"].reshape(52, 26).sum(1)
    expected = [row["train_return"] for row in log(finished)]
    np.testing.assert_allclose(returns.reshape(26, 2).mean(1), expected, rtol=1e-5)
    starts = state["replay/obs"].reshape(52, 26, 8)[:, 0]
    assert len(np.unique(starts, axis=0)) == 52  # no start state twice


# Killed, stopped, resumed


def test_killed_and_resumed_is_bit_by_bit_the_run_that_was_not(finished, tmp_path):
    out = tmp_path / "run"
    with subprocess.Popen([sys.executable, __file__, str(out)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert log(out)[-1]["agent_steps"] == KILLED_AFTER  # its rounds since the last saving are going to be lived again
    with open(out / "log.jsonl", "a") as file:
        file.write('{"agent_steps": 1200, "upd')  # as if it had been writing
    steps = []
    pretrain(CONFIG, out, report=lambda done, row: steps.append(done))
    assert steps == [1150, 1200, 1250, 1300]
    assert_same_run(out, finished)


def run_until_killed(out: Path) -> None:
    """In a process of its own: trains, says when it is time, and waits."""
    latent.SIZES[0] = SMALL

    def report(done: int, row: dict[str, Any]) -> None:
        if done == KILLED_AFTER:
            print("now", flush=True)
            time.sleep(600)

    pretrain(CONFIG, out, report=report)


def test_stopped_and_resumed_is_the_run_that_was_not(finished, tmp_path):
    pretrain(CONFIG, tmp_path, stop_after=1101)  # at the end of that round, which no evaluation was due in
    assert log(tmp_path)[-1]["agent_steps"] == 1150 and "eval_return" not in log(tmp_path)[-1]
    steps = []
    pretrain(CONFIG, tmp_path, report=lambda done, row: steps.append(done))
    assert steps == [1200, 1250, 1300]
    assert_same_run(tmp_path, finished)


def test_under_a_random_shift_every_body_of_every_round_is_another(tmp_path, monkeypatch):
    """And a run that goes on meets those that it would have met."""
    drawn = []

    class Noted(Shifted):
        def reset(self, **arguments):
            obs, info = super().reset(**arguments)
            drawn.append(tuple(info["shift"]["kinds"][0]["p"]))
            return obs, info

    monkeypatch.setattr("worldshift.run.training.pretrain.Shifted", Noted)
    config = replace(CONFIG, shift=ActuatorGain(Uniform(-0.5, 0.5)).to_json(), agent_steps=150)
    pretrain(config, tmp_path / "whole")
    whole = drawn[:]
    assert len(whole) == len(set(whole)) == 8 and np.abs(whole).max() <= 0.5  # 2 bodies in 3 rounds, 2 evaluated
    drawn.clear()
    pretrain(config, tmp_path / "parts", stop_after=100)
    pretrain(config, tmp_path / "parts")
    assert drawn == whole
    lived = [checkpoint.load(tmp_path / run / "state")[0]["replay/obs"] for run in ("whole", "parts")]
    np.testing.assert_array_equal(*lived)


def test_a_finished_run_has_nothing_left_to_do(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    assert pretrain(CONFIG, out, report=lambda *_: pytest.fail("it went on")) == out / "agent"
    assert files(out) == files(finished)


def test_a_finished_run_can_be_made_longer(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    steps = []
    pretrain(replace(CONFIG, agent_steps=1350), out, report=lambda done, row: steps.append(done))
    assert steps == [1350] and [row["agent_steps"] for row in log(out)] == list(range(50, 1351, 50))


def test_starting_over_forgets_the_old_run(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    other = replace(CONFIG, seed=2)
    pretrain(other, out, resume=False, stop_after=50)
    assert [row["agent_steps"] for row in log(out)] == [50]
    assert checkpoint.read_manifest(out / "state").config["seed"] == 2
    with pytest.raises(RuntimeError, match="stop here"):
        pretrain(CONFIG, out, resume=False, report=_stop)  # dies before it has saved anything
    assert not (out / "state").exists()


def test_a_second_stage_begins_where_another_run_ended(finished, tmp_path):
    """With other losses; its steps count, and the first run is left as it was."""
    before, out = files(finished), tmp_path / "stage-2"
    second = replace(
        CONFIG, begin_from=str(finished), agent_steps=1400, learner=replace(CONFIG.learner, action_cost_weight=1.0)
    )
    pretrain(second, out)
    assert files(finished) == before
    assert [row["agent_steps"] for row in log(out)] == [1350, 1400]
    first, last = (checkpoint.load(run / "state")[0] for run in (finished, out))
    count = len(first["replay/obs"])
    np.testing.assert_array_equal(last["replay/obs"][:count], first["replay/obs"])
    assert len(last["replay/obs"]) == count + 2 * 2 * 26
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint at"):
        pretrain(replace(second, begin_from=str(tmp_path / "nothing")), tmp_path / "other")


def _stop(done: int, row: dict[str, Any]) -> None:
    raise RuntimeError("stop here")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 2}, "seed"),
        ({"task": "walker-walk"}, "task"),
        ({"learner": LearnerConfig(batch=9, horizon=2)}, "learner"),
        ({"num_envs": 1, "seed": 3}, "seed and num_envs"),
    ],
)
def test_a_run_of_another_configuration_is_refused_and_left_alone(finished, change, named):
    before = files(finished)
    with pytest.raises(ValueError, match=f"holds a run with another {named}; choose another output directory") as error:
        pretrain(replace(CONFIG, **change), finished)
    assert "\n" not in str(error.value) and files(finished) == before


# Other bodies, other ways of acting


def test_two_processes_do_not_train_in_one_directory(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    before = files(out)
    with held(out), pytest.raises(ValueError, match="in use by another process"):
        pretrain(replace(CONFIG, agent_steps=1400), out)
    assert files(out) == before
    pretrain(replace(CONFIG, agent_steps=1400), out)
    assert log(out)[-1]["agent_steps"] == 1400


def test_an_episodic_body_trains_its_termination_head(tmp_path):
    config = replace(CONFIG, task="gym:InvertedPendulum-v5", num_envs=2, agent_steps=1100)
    pretrain(config, tmp_path)
    rows, (agent, _) = log(tmp_path), load_agent(tmp_path / "agent")
    assert agent.model.termination_head is not None
    assert np.isfinite(rows[-1]["termination"]) and rows[-1]["termination"] < np.log(2)  # better than not knowing
    state, _ = checkpoint.load(tmp_path / "state")
    lengths, ends = state["replay/lengths"], np.cumsum(state["replay/lengths"] + 1)
    assert lengths.sum() == 1100 and lengths.max() <= 25 and len(lengths) > 44  # it fell, often
    terminated = state["replay/terminated"]
    last = ends - 2  # the last row of an episode has no action
    fell = terminated[last] == 1
    assert fell.sum() == terminated.sum() > 20  # only in last steps
    # It falls where its pole leans by more than 0.2 rad, and nowhere else.
    angle = np.abs(state["replay/obs"][ends - 1, 1])
    assert (angle[fell] > 0.2).all() and (angle[~fell] <= 0.2).all()
    whole = [n for n, f in zip(lengths, fell, strict=True) if f or n == 25]
    assert rows[0]["train_return"] <= max(whole)


def test_the_planner_collects_and_is_stored(finished, tmp_path):
    planning = PlannerConfig(horizon=2, iterations=2, samples=16, policy_samples=4, elites=4)
    pretrain(replace(CONFIG, planner=True, planning=planning, agent_steps=1050, eval_every=50), tmp_path)
    agent, _ = load_agent(tmp_path / "agent")
    assert agent.planner == planning
    planned, plain = (checkpoint.load(out / "state")[0]["replay/action"] for out in (tmp_path, finished))
    seeds = 40 * 26
    np.testing.assert_array_equal(planned[:seeds], plain[:seeds])  # random steps are the same
    assert np.abs(planned[seeds:]).max() <= 1 and planned[seeds:].any()
    assert not np.array_equal(planned[seeds:], plain[seeds : len(planned)])
    assert np.isfinite(log(tmp_path)[-1]["eval_return"])


# Refusals


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_envs": 0}, "num_envs must be at least 1, not 0"),
        ({"updates_per_dispatch": 0}, "updates_per_dispatch must be at least 1"),
        ({"agent_steps": -5}, "agent_steps must be at least 1, not -5"),
        ({"updates_per_step": -0.1}, "updates_per_step must be a number of at least 0"),
        ({"updates_per_step": float("nan")}, "updates_per_step must be a number of at least 0"),
        ({"anneal": 1.5}, "anneal is a share"),
        ({"size": 7}, "model size 7 is not one of"),
        ({"task": "walker-fly"}, "unknown task 'walker-fly'"),
        ({"task": "gym:NoSuchEnv-v0"}, "cannot make 'NoSuchEnv-v0'"),
        ({"episode_steps": 1}, "episodes of 1 agent steps are shorter than the horizon 2"),
        ({"buffer": 25}, "a buffer of 25 cannot hold an episode of 25 agent steps"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(tmp_path, change, words):
    with pytest.raises(ValueError, match=words):
        pretrain(replace(CONFIG, **change), tmp_path / "run")
    assert not list(tmp_path.iterdir())


# Several seeds at once


def test_seeds_side_by_side_are_the_runs_they_are_alone(tmp_path):
    few = replace(CONFIG, agent_steps=1100)
    outs = {seed: tmp_path / f"run-{seed}" for seed in (1, 2)}
    pretrain(replace(few, seed=2), outs[2], stop_after=1050)  # one of them was stopped earlier, and the other not begun
    steps = []
    pretrain_seeds(few, outs, report=lambda done, row: steps.append(done))
    assert steps == [1100]
    for seed, out in outs.items():
        pretrain(replace(few, seed=seed), tmp_path / f"alone-{seed}")
        ours, theirs = (log(folder)[-1] for folder in (out, tmp_path / f"alone-{seed}"))
        assert ours["updates"] == theirs["updates"] == 540
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-2)
        assert load_agent(out / "agent")[1]["training"]["seed"] == seed
    assert log(outs[1])[-1]["loss"] != log(outs[2])[-1]["loss"]


if __name__ == "__main__":
    run_until_killed(Path(sys.argv[1]))
