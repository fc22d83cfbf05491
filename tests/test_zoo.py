"""Agents by name and by path, what belongs to them, and what is refused."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift import zoo
from worldshift.checkpoint import CheckpointError


def test_a_task_means_the_best_of_its_seeds(tiny_zoo):
    assert zoo.names() == ["walker-walk-1"]
    by_name, by_task = zoo.load("walker-walk-1"), zoo.load("walker-walk")
    assert by_name.name == by_task.name == "walker-walk-1"
    assert by_name.path == tiny_zoo / "walker-walk-1" / "agent"
    assert by_name.task == "walker-walk" and by_name.calibration is not None
    for seed, mean in ((2, 900.0), (3, 800.0)):
        shutil.copytree(tiny_zoo / "walker-walk-1", tiny_zoo / f"walker-walk-{seed}")
        zoo.write_card(zoo.find(f"walker-walk-{seed}"), {"mean": mean})
    assert zoo.find("walker-walk") == tiny_zoo / "walker-walk-2" / "agent"  # seed 1 has no card
    assert zoo.find("walker-walk-3") == tiny_zoo / "walker-walk-3" / "agent"


def test_a_run_is_found_by_its_directory_or_its_checkpoint(tiny_run):
    run, agent = zoo.load(str(tiny_run.path)), zoo.load(tiny_run.path / "agent")
    assert run.path == agent.path == tiny_run.path / "agent"
    assert run.calibration is not None and agent.calibration is not None
    assert run.config["seed"] == 3
    obs = jnp.ones((1, 24))
    assert np.array_equal(run.agent.model.encode(obs), agent.agent.model.encode(obs))


@pytest.mark.parametrize("name", ["walker-run", "/no/such/place", "..", ""])
def test_an_unknown_agent_is_refused_with_the_names_that_there_are(tiny_zoo, name):
    with pytest.raises(ValueError, match=r"no agent .*walker-walk-1.*training run\.$"):
        zoo.load(name)


def test_without_a_calibration_the_way_to_one_is_said(tiny_run, tmp_path):
    shutil.copytree(tiny_run.path / "agent", tmp_path / "run" / "agent")
    shipped = zoo.load(tmp_path / "run")
    assert shipped.calibration is None
    with pytest.raises(ValueError, match=f"worldshift calibrate {tmp_path / 'run'}"):
        shipped.calibrated()


def test_the_calibration_of_another_agent_is_refused(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run.path, run)
    shipped = zoo.load(run)
    model = shipped.agent.model
    changed = zoo.Agent(model.__class__(model.obs_dim, model.action_dim, size=1, key=jax.random.key(99)), None, 0.99)
    changed.save(run / "agent", shipped.config)
    with pytest.raises(ValueError, match="made for another agent"):
        zoo.load(run)
    assert zoo.load(run, calibrated=False).calibration is None


def test_a_damaged_agent_is_not_taken_for_a_missing_one(tiny_run, tmp_path):
    shutil.copytree(tiny_run.path, tmp_path / "run")
    (data,) = (tmp_path / "run" / "agent").glob("*.safetensors")
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="damaged"):
        zoo.load(tmp_path / "run")


def test_a_card_says_how_the_agent_was_made(tiny_run, tmp_path):
    shutil.copytree(tiny_run.path, tmp_path / "run")
    shipped = zoo.load(tmp_path / "run")
    path = zoo.write_card(shipped.path, {"mean": 12.5})
    card = json.loads(path.read_text())
    assert path == tmp_path / "run" / "card.json" and zoo.load(tmp_path / "run").card == card
    assert card["evaluation"] == {"mean": 12.5}
    assert (card["task"], card["seed"], card["agent_steps"], card["updates"]) == ("walker-walk", 3, 40, 0)
    assert card["command"].startswith("worldshift train --task walker-walk")
    assert card["fingerprint"] == zoo.fingerprint(shipped.path)


def test_files_of_a_bare_checkpoint_do_not_mix_with_its_neighbours(tmp_path):
    assert zoo.beside(tmp_path / "run" / "agent", "card.json") == tmp_path / "run" / "card.json"
    assert zoo.beside(tmp_path / "a", "calibration") != zoo.beside(tmp_path / "b", "calibration")


def test_what_is_shipped_is_complete_and_small():
    size = 0
    for name in zoo.names():
        path = zoo.find(name)
        if zoo.kind(name) == "draw":
            _, config = zoo.load_dreamer(name)
            task, card = config["training"]["task"], json.loads(zoo.beside(path, "card.json").read_text())
        else:
            shipped = zoo.load(name)
            task, card = shipped.task, shipped.card
            assert shipped.calibration is not None or task != "walker-walk", f"{name}: the demo needs it"
        assert card["task"] == task and card["fingerprint"] == zoo.fingerprint(path), name
        assert {"task", "seed", "command", "agent_steps", "updates", "evaluation"} <= card.keys(), name
        assert zoo.beside(path, "log.jsonl").is_file(), name
        size += sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
    assert size < 108e6
