"""Distilling an agent of images on the real body: it acts from images, resumes bit by bit, refuses who cannot teach."""

import json
from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
import pytest

from worldshift import checkpoint, envs
from worldshift.agents.draw_agent import load_draw
from worldshift.envs.beside import StateBeside
from worldshift.models.vision import PIXELS
from worldshift.run import pairs
from worldshift.run.training.distil import DistilConfig, distil
from worldshift.zoo import load_dreamer

CONFIG = DistilConfig(
    teacher="draw-pendulum-swingup-1",
    agent_steps=320,
    num_envs=4,
    length=20,
    batch=64,
    updates_per_step=0.3125,
    eval_every=160,
    eval_episodes=1,
)


@pytest.fixture(scope="module")
def out(tmp_path_factory, seen):
    path = tmp_path_factory.mktemp("distil") / "run"
    distil(CONFIG, path)
    return path


def test_the_state_beside_an_image_is_the_same_moments(seen):
    env = StateBeside(pairs.make("pixels:reacher-easy"))
    plain = pairs.make("reacher-easy")
    row, state = env.reset(seed=5)[0], plain.reset(seed=5)[0]
    assert env.observation_space.contains(row) and env.seen == PIXELS + 2
    for action in np.random.default_rng(0).uniform(-1, 1, (5, 2)).astype(np.float32):
        np.testing.assert_array_equal(row[env.seen :], state)
        row, state = env.step(action)[0], plain.step(action)[0]
    with pytest.raises(ValueError, match="name a task of pixels, as pixels:cup-catch"):
        StateBeside(plain)


def test_a_student_is_its_teacher_with_other_eyes(out):
    agent, config = load_draw(out / "agent")
    teacher = load_dreamer(CONFIG.teacher)[0]
    assert config["training"]["task"] == "pixels:pendulum-swingup" and config["pixels"]
    assert config["training"]["teacher"] == CONFIG.teacher
    for ours, theirs in ((agent.policy, teacher.policy), (agent.model.dynamics, teacher.model.dynamics)):
        pairs_of = zip(*(jax.tree.leaves(eqx.filter(tree, eqx.is_array)) for tree in (ours, theirs)), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs_of)
    env = envs.make("pixels:pendulum-swingup", headroom=1.0)
    obs = env.reset(seed=0)[0][None]
    action = np.asarray(agent.act(None, obs, jax.random.key(0))[0])
    assert action.shape == (1, 1) and np.abs(action).max() <= 1
    scale = np.asarray(agent.model.scale)
    assert scale.shape == (1,) and scale[0] > 0.1  # velocities in units of their spread


def test_what_is_learned_falls(out):
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [row["updates"] for row in rows] == [25, 50, 75, 100]
    assert ["eval_return" in row for row in rows] == [False, True, False, True]
    assert rows[-1]["kl"] < 0.5 * rows[0]["kl"]


def test_stopped_and_resumed_equals_uninterrupted(out, tmp_path):
    distil(CONFIG, tmp_path, stop_after=160)
    distil(CONFIG, tmp_path)
    ours, theirs = (checkpoint.load(folder / "state")[0] for folder in (tmp_path, out))
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"progress/seconds"}:
        np.testing.assert_array_equal(np.asarray(ours[name]), np.asarray(theirs[name]), err_msg=name)
    with pytest.raises(ValueError, match="holds a run with another batch"):
        distil(replace(CONFIG, batch=8), tmp_path)


def test_a_shift_acts_while_frames_are_collected_and_is_drawn_anew_each_round(tmp_path, seen):
    few = replace(CONFIG, agent_steps=160, updates_per_step=0.0)
    wind = {"kind": "ConstantTorque", "joints": ["hinge"], "torque": {"kind": "Uniform", "low": -5.0, "high": 5.0}}
    runs = {}
    for name, shift in (("calm", None), ("windy", json.dumps(wind)), ("again", json.dumps(wind))):
        distil(replace(few, collect_shift=shift), tmp_path / name, stop_after=80 if name == "again" else None)
        if name == "again":  # a run that goes on meets the draws that it would have met
            distil(replace(few, collect_shift=shift), tmp_path / name)
        runs[name] = checkpoint.load(tmp_path / name / "state", kind="training", part="replay")[0]
    obs = {name: np.asarray(replay["obs"]).reshape(8, 21, -1) for name, replay in runs.items()}
    np.testing.assert_array_equal(obs["again"], obs["windy"])
    np.testing.assert_array_equal(obs["calm"][:, 0], obs["windy"][:, 0])  # the same starts
    pushed = (obs["windy"] - obs["calm"])[:, -1, 0]  # velocities; who acts at random acts alike
    assert np.abs(pushed[[3, 7]]).min() > 1e-2 and abs(pushed[3] - pushed[7]) > 1e-2
    ends = [
        json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[-1])["eval_return"]
        for name in ("calm", "windy")
    ]
    assert ends[0] == ends[1]  # the student is measured without it


@pytest.mark.parametrize("name", ["draw-pixels-pendulum-swingup-1", "rssm-pendulum-swingup-1"])
def test_who_cannot_teach_is_told(name, tmp_path):
    with pytest.raises(ValueError, match=f"{name} cannot teach: take a DRAW agent of states"):
        distil(replace(CONFIG, teacher=name), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("num_envs", 0, "num_envs must be at least 1"),
        ("anneal", 2.0, "anneal is a share of the run"),
        ("learning_rate", float("nan"), "learning_rate must be a number"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(field, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(CONFIG, **{field: value})
