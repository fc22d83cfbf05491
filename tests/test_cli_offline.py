"""The commands of offline adaptation, as a user types them, from pretraining to an adapted agent."""

import json
import shlex
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from worldshift import cli, envs
from worldshift.adapt.offline import PAPER as PUBLISHED
from worldshift.adapt.offline import OfflineConfig
from worldshift.adapt.residual import PAPER as PAPER_RESIDUAL
from worldshift.agents.draw import PAPER
from worldshift.agents.imagination import ActorCriticConfig
from worldshift.cli import demo_verb
from worldshift.cli.adapt_residual import ENOUGH, Published, Residual
from worldshift.cli.pretrain_verb import Verb
from worldshift.data.episodes import load_episodes
from worldshift.run.offline.demo import ResidualDemo

SMALL = (
    "--learner.batch 4 --learner.length 8 --learner.starts 8 --learner.ensemble 2 --learner.ensemble-units 16 "
    "--learner.task.horizon 3 --learner.explorer.horizon 3 --num-envs 2 --eval-episodes 2 --random-rounds 1 "
    "--updates-per-step 0.01 --updates-per-dispatch 5 --agent-steps 1000"
)
ADAPT = (
    "--batch 4 --length 8 --starts 8 --lead 2 --policy.horizon 3 --residual.width 16 --updates 10 --measure-every 5 "
    "--episodes 1"
)
REVERSED = '{"kind": "ActionSign"}'


def run(line: str, *more: str) -> int:
    return cli.main([*shlex.split(line), *more])


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, Path]:
    """A pretrained agent, and episodes of the target."""
    root = tmp_path_factory.mktemp("offline")
    agent, data = root / "agent", root / "target"
    assert run(f"pretrain --out {agent} {SMALL}") == 0
    assert run(f"record {data} --agent {agent} --transitions 1200 --shift", REVERSED) == 0
    return {"agent": agent, "data": data}


def test_adapt_in_a_simulated_target(places, tmp_path, capsys):
    out = tmp_path / "adapted"
    line = f"adapt residual --agent {places['agent']} --data {places['data']} --out {out} {ADAPT} --json --simulate"
    assert run(line, REVERSED) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["updates"] for row in found["curve"]] == [0, 5, 10] and found["transitions"] == 1200
    assert all(np.isfinite(row["held_out_kl"]) and row["target_return"] >= 0 for row in found["curve"])
    assert found["zero_shot_return"] >= 0 and np.isfinite(found["expected_kl"])
    assert found["expressed"] == (found["curve"][-1]["held_out_kl"] <= ENOUGH * found["expected_kl"])
    assert [json.loads(row) for row in (out / "curve.jsonl").read_text().splitlines()] == found["curve"]
    assert (out / "residual" / "manifest.json").is_file()

    assert run(f"eval {out} --episodes 2 --json --shift", REVERSED) == 0
    assert len(json.loads(capsys.readouterr().out)["returns"]) == 2


def test_what_was_adapted_records_in_the_simulated_target(places, tmp_path, capsys):
    line = f"adapt residual --agent {places['agent']} --data {places['data']} {ADAPT} --json"
    assert run(f"{line} --out {tmp_path / 'own'} --own 200 --turns 2 --simulate", REVERSED) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["transitions"] == 1400 and [row["updates"] for row in found["curve"]] == [0, 5, 10]
    assert run(f"eval {tmp_path / 'own'} --episodes 2 --json --shift", REVERSED) == 0
    manifest = json.loads((tmp_path / "own" / "agent" / "manifest.json").read_text())
    own = manifest["config"]["training"]["own"]
    assert (own["transitions"], own["turns"], own["shift"]["kind"]) == (200, 2, "ActionSign")


def test_presets_set_what_is_not_said():
    paper = Verb.defaults(["--preset", "paper", "--seed", "3"])
    assert paper.config.learner == PAPER and paper.config.size == "paper" and paper.config.updates_per_step == 0.5
    assert Verb.defaults(["--preset=small"]).config.size == "small" and Verb.defaults([]) == Verb()
    with pytest.raises(SystemExit):
        run("pretrain --preset huge")


def test_adapting_has_a_preset_of_published_numbers():
    paper = Published(agent="a", data=(), out=Path("b")).config
    assert paper == PUBLISHED and paper.residual == PAPER_RESIDUAL and paper.learning_rate == 1e-2
    assert paper.starts == 341 and paper.policy.horizon == 40 and paper.actor == "fresh" and paper.lead == 0
    assert Residual(agent="a", data=(), out=Path("b")).config == OfflineConfig()


def test_single_numbers_of_a_preset_can_be_changed(tmp_path, capsys):
    """Refused by the last of them, so that nothing of the preset's size is trained here."""
    assert (
        run(f"pretrain --preset paper --learner.length 900 --num-envs 2 --eval-episodes 2 --out {tmp_path / 'p'}") == 2
    )
    assert "shorter than windows of 900" in capsys.readouterr().err


def test_an_agent_is_evaluated_where_it_was_trained(places, tmp_path, capsys):
    """Without a shift of its own the command takes the one that an oracle was trained under."""
    oracle = tmp_path / "oracle"
    assert run(f"pretrain --out {oracle} {SMALL} --shift", REVERSED) == 0
    capsys.readouterr()
    lines = (f"eval {oracle} --episodes 2 --json --card", f"eval {oracle} --episodes 2 --json --shift '{REVERSED}'")
    by_default, asked = (json.loads(capsys.readouterr().out) for line in lines if run(line) == 0)
    assert by_default["shift"] == asked["shift"] and by_default["returns"] == asked["returns"]
    card = json.loads((oracle / "card.json").read_text())
    assert card["evaluation"]["returns"] == asked["returns"] and card["training"]["shift"] == REVERSED


def test_recorded_episodes_are_read_without_a_reward(places, capsys):
    line = f"eval {places['agent']} --data {places['data']}"
    assert run(f"{line} --json") == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(found["decisions"]) == 1200 and found["paid"] == [None] * found["episodes"]
    assert found["read_per_decision"] == pytest.approx(sum(found["read"]) / 1200, abs=1e-3)
    assert run(line) == 0
    assert f"a decision over {found['episodes']} episodes, as the model of" in capsys.readouterr().out


def test_adapt_without_a_simulation_prints_the_held_out_error(places, tmp_path, capsys):
    """From two recordings at once, here twice the same."""
    out, data = tmp_path / "adapted", places["data"]
    assert run(f"adapt residual --agent {places['agent']} --data {data} {data} --out {out} {ADAPT}") == 0
    said = capsys.readouterr().out
    assert "held-out error" in said and "return in the target" not in said
    assert "would be off by" in said and "the correction expresses" in said


def test_recordings_say_how_they_were_made(places, tmp_path, capsys):
    assert run(f"record {tmp_path / 'random'} --task pendulum-swingup --behaviour random --transitions 500 --json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["episodes"] == 1 and found["behaviour"] == "random" and found["shift"] is None
    about = json.loads((places["data"] / "manifest.json").read_text())["about"]
    assert about["task"] == "pendulum-swingup" and about["shift"]["kind"] == "ActionSign"


def test_the_demos_second_act(tmp_path, monkeypatch, capsys):
    config = OfflineConfig(lead=1, batch=4, length=8, starts=8, policy=ActorCriticConfig(horizon=3))
    small = partial(ResidualDemo, transitions=1200, updates=4, measure_every=2, episodes=1, config=config)
    monkeypatch.setattr(demo_verb, "ResidualDemo", small)
    assert run(f"demo residual --out {tmp_path / 'one'} --json") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["returns"]) == ["zero-shot", "residual", "oracle"] and found["transitions"] == 1200
    assert all(Path(file).is_file() for file in found["files"])
    assert run(f"demo residual --out {tmp_path / 'two'}") == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("zero-shot", "residual", "oracle", "reads it", "dreams.png"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("adapt residual --agent AGENT --data NOWHERE --out NEW", "is not a folder of episodes"),
        ("adapt residual --agent AGENT --data DATA --out DATA", "exists already"),
        ("adapt residual --agent AGENT --data DATA --out NEW --transitions 5000", "the data has 1200"),
        ("adapt residual --agent AGENT --data DATA --out NEW --length 900", "900 observations in a row"),
        ("adapt residual --agent nobody --data DATA --out NEW", "there is no agent 'nobody'"),
        ("adapt residual --agent walker-walk-2 --data DATA --out NEW", "is not a DRAW agent"),
        ("adapt residual --agent AGENT --data DATA --out NEW --average 0", "average a rate above 0"),
        ("adapt residual --agent AGENT --data DATA --out NEW --preset paper --starts 0", "starts must be at least 1"),
        ("adapt residual --agent AGENT --data DATA --out NEW --preset paper --length 900", "900 observations in a row"),
        ("adapt residual --agent AGENT --data DATA --out NEW --length 1", "length must be at least 2"),
        ("adapt residual --agent AGENT --data DATA --out NEW --own 100", "--own needs the simulated target"),
        ("record NEW", "say what to record"),
        ("record NEW --task pendulum-swingup", "needs an agent"),
        ("record DATA --task pendulum-swingup --behaviour random --transitions 500", "exists already"),
        ("record NEW --task cup-fly --behaviour random", "unknown task 'cup-fly'"),
        ("pretrain --out AGENT --seed 5", "another seed"),
        ("pretrain --out NEW --agent-steps 0", "agent_steps must be at least 1"),
        ("distil --teacher walker-walk-2 --out NEW", "is not a DRAW agent"),
        ("distil --teacher rssm-pendulum-swingup --out NEW", "cannot teach: take a DRAW agent of states"),
        ("distil --teacher AGENT --out NEW --anneal 2", "anneal is a share of the run"),
        ("eval AGENT --planner on", "has no planner"),
        ("eval AGENT --data NOWHERE", "is not a folder of episodes"),
        ("eval AGENT --data DATA --card", "leave --card"),
        ("eval draw-cup-catch-1 --data DATA", "take the agent of this body"),
        ("eval walker-walk-2 --data DATA", "another kind of agent"),
        ("demo residual --agent walker-walk-2 --out NEW", "is not a DRAW agent"),
    ],
)
def test_wrong_use_ends_with_a_sentence(places, tmp_path, capsys, line, words):
    names = {"AGENT": places["agent"], "DATA": places["data"], "NOWHERE": tmp_path / "none", "NEW": tmp_path / "new"}
    for name, place in names.items():
        line = line.replace(name, str(place))
    assert run(line) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and said.out == ""
    assert not (tmp_path / "new").exists() or not any((tmp_path / "new").glob("*/manifest.json"))


def test_every_step_takes_images(tmp_path, capsys):
    """The same commands, on a task that is seen by its camera."""
    task, agent, data, out = "pixels:pendulum-swingup", tmp_path / "agent", tmp_path / "data", tmp_path / "adapted"
    try:
        envs.make(task).close()
    except ValueError as error:  # as the library says it
        pytest.skip(str(error))
    small = "--num-envs 1 --eval-episodes 1 --agent-steps 1000 --learner.starts 4 --learner.ensemble 2"
    assert run(f"pretrain --task {task} --out {agent} {SMALL} {small}") == 0
    assert run(f"record {data} --agent {agent} --transitions 600 --shift", REVERSED) == 0
    (episode, *_) = load_episodes(data).episodes
    assert episode.image is not None and episode.image.shape[1:] == (64, 64, 3) and episode.image.std() > 5
    assert run(f"adapt residual --agent {agent} --data {data} --out {out} {ADAPT} --simulate", REVERSED) == 0
    assert "held-out error" in capsys.readouterr().out
    assert run(f"eval {out} --episodes 1 --json --shift", REVERSED) == 0
    assert json.loads(capsys.readouterr().out)["task"] == task


def test_an_agent_of_states_teaches_one_of_images(places, tmp_path, capsys, seen):
    out = tmp_path / "student"
    small = "--agent-steps 80 --num-envs 4 --length 20 --batch 8 --updates-per-step 0.3125 --eval-episodes 1"
    assert run(f"distil --teacher {places['agent']} --out {out} {small} --json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["task"] == "pixels:pendulum-swingup" and told["agent_steps"] == 80 and told["updates"] == 25
    assert run(f"record {tmp_path / 'data'} --agent {out} --transitions 50 --length 50 --json") == 0
    assert json.loads(capsys.readouterr().out)["task"] == told["task"]
