"""The demo on a small scale: every method, every file, and the numbers that they show."""

import json

import numpy as np
import pytest
from PIL import Image

from worldshift import zoo
from worldshift.envs import make
from worldshift.run.online.demo import METHODS, SIZE, ReflexDemo, reflex_demo
from worldshift.run.online.methods import GAINS
from worldshift.run.online.protocol import Protocol
from worldshift.shifts import Shifted, StepOnOff

DEMO = ReflexDemo(
    seed=5,
    bodies=2,
    protocol=Protocol(nominal=40, on=60, off=20, episode_steps=20, offset=10),
    film_s=(-0.5, 1.0),
)


@pytest.fixture(scope="module")
def found(tiny_run, tmp_path_factory):
    out, told = tmp_path_factory.mktemp("demo"), []
    shipped = zoo.load(tiny_run.path)
    return reflex_demo(shipped, out, DEMO, report=lambda *x: told.append(x)), out, told, shipped


def test_every_method_lives_all_of_it(found):
    result, _, told, _ = found
    assert list(result.summaries) == list(METHODS)
    assert told == [(m, t + 1) for m in METHODS for t in range(DEMO.protocol.steps)]
    assert all(s.bodies == 2 and s.draws == 1 and s.ms > 0 for s in result.summaries.values())
    assert result.summaries["frozen"].actuation_end.value == pytest.approx(1.0, abs=1e-4)
    assert result.summaries["oracle"].actuation_end.value < 0.02


def test_the_fault_is_the_one_that_its_seed_draws(found):
    env = Shifted(make("walker-walk"), GAINS, StepOnOff(start=0, on=60, off=20), seed=DEMO.seed)
    env.reset(seed=0)
    truth = env.action_matrix()
    env.close()
    assert truth is not None and found[0].gains == [round(float(g), 3) for g in np.diagonal(truth[0])]
    assert len(set(found[0].gains)) == 6 and all(0.5 <= g <= 1.5 for g in found[0].gains)


def test_pictures(found):
    _, out, _, _ = found
    assert sorted(p.name for p in out.iterdir()) == ["film.gif", "film.png", "numbers.json", "reflex.png"]
    with Image.open(out / "film.gif") as moving:
        frames = [moving.seek(i) or moving.info["duration"] for i in range(moving.n_frames)]
        assert moving.size[0] > 2 * SIZE[0]
        # Every second agent step from 0.5 s before to 1 s after, each for 0.1 s; equal frames are stored once.
        assert sum(frames) == pytest.approx(1500, abs=100)
    with Image.open(out / "film.png") as strip:
        assert strip.size[0] > 8 * SIZE[0] and strip.size[1] > 2 * SIZE[1]
    with Image.open(out / "reflex.png") as figure:
        assert figure.size[0] > 800


def test_numbers_are_what_was_found(found):
    result, out, _, shipped = found
    stored = json.loads((out / "numbers.json").read_text())
    assert stored == json.loads(json.dumps(result.as_json(DEMO, shipped)))
    assert stored["methods"]["layered"]["reward"] == pytest.approx(result.summaries["layered"].reward, rel=1e-4)
    assert stored["dt"] == 0.05 and stored["seed"] == 5


def test_the_demo_fits_the_agent_that_it_is_given(tiny_run):
    demo = ReflexDemo.of(zoo.load(tiny_run.path), seed=2)
    assert (demo.seed, demo.protocol.task, demo.protocol.episode_steps, demo.protocol.offset) == (
        2,
        "walker-walk",
        20,
        10,
    )


def test_what_cannot_be_shown_is_refused_before_anything_is_written(tiny_run, tmp_path):
    shipped = zoo.load(tiny_run.path)
    taken = tmp_path / "file"
    taken.write_text("mine")
    with pytest.raises(ValueError, match="is a file"):
        reflex_demo(shipped, taken, DEMO)
    bare = zoo.Shipped("x", shipped.path, shipped.agent, None, shipped.config, {})
    with pytest.raises(ValueError, match="worldshift calibrate"):
        reflex_demo(bare, tmp_path / "new", DEMO)
    assert taken.read_text() == "mine" and not (tmp_path / "new").exists()
