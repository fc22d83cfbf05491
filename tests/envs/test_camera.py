"""What a camera sees: the body, from the right side up, and changes of its looks."""

from functools import partial

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from worldshift import envs
from worldshift.envs import camera
from worldshift.models.vision import PIXELS


def test_an_observation_is_a_frame_and_the_velocities(seen):
    obs, _ = seen.reset(seed=0)
    assert obs.shape == (PIXELS + 1,) and obs.dtype == np.float32 and seen.observation_space.contains(obs)
    frame = obs[:PIXELS]
    assert frame.min() >= 0 and frame.max() <= 255 and frame.std() > 5 and (frame == np.round(frame)).all()
    seen.step(np.ones(1))
    assert seen.step(np.ones(1))[0][-1] == pytest.approx(seen.unwrapped.data.qvel[0])


def test_the_same_state_gives_the_same_frame(seen):
    first, again = seen.reset(seed=3)[0], seen.reset(seed=3)[0]
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - seen.reset(seed=4)[0])[:PIXELS].max() > 20


@pytest.mark.usefixtures("seen")
def test_side_by_side_each_body_is_seen_by_its_own_camera():
    """Cameras share one OpenGL context: none may draw into another's frame."""
    makers = [partial(envs.make, "pixels:pendulum-swingup", headroom=1.0)] * 3
    batch, alone = envs.BatchEnv(makers), [envs.BatchEnv(makers[:1]) for _ in makers]
    try:
        first = batch.reset([1, 2, 3])
        np.testing.assert_array_equal(first, np.concatenate([one.reset([i + 1]) for i, one in enumerate(alone)]))
        pushes = np.array([[1.0], [-1.0], [0.0]])
        for _ in range(5):
            step, steps = batch.step(pushes), [one.step(pushes[i : i + 1]) for i, one in enumerate(alone)]
            np.testing.assert_array_equal(step.obs, np.concatenate([s.obs for s in steps]))
        assert np.abs(step.obs[0] - step.obs[1])[:PIXELS].max() > 20
    finally:
        for each in (batch, *alone):
            each.close()


def test_up_is_up(seen):
    """The pole hangs below its hinge, or stands above."""
    seen.reset(seed=0)
    frames = []
    for angle in (0.0, np.pi):
        seen.unwrapped.data.qpos[:] = angle
        seen.unwrapped._physics.forward()
        frames.append(seen.unwrapped._observe()[:PIXELS].reshape(64, 64, 3))
    rows = np.abs(frames[0] - frames[1]).sum((1, 2))
    upright, hanging = (f[:, 28:36].astype(float) - np.minimum(*frames)[:, 28:36] for f in frames)
    centre = lambda x: float((x.sum((1, 2)) * np.arange(64)).sum() / x.sum())  # noqa: E731
    assert rows.max() > 0 and centre(upright) < centre(hanging), "row 0 is the top"


def test_looks_can_be_changed(seen):
    before = seen.reset(seed=0)[0]
    colours = seen.unwrapped.model.mat_rgba
    old = colours.copy()
    colours[:, :3] = 1 - colours[:, :3]
    after = seen.reset(seed=0)[0]
    colours[:] = old
    assert np.abs(before - after)[:PIXELS].mean() > 1
    np.testing.assert_array_equal(seen.reset(seed=0)[0], before)


@pytest.mark.filterwarnings("ignore:.*A Box observation space")
def test_it_is_a_gymnasium_environment(seen):
    check_env(seen, skip_render_check=True)


def test_what_to_install_is_said_in_one_sentence(monkeypatch):
    def nothing(name):
        raise ImportError(name)

    monkeypatch.setattr(camera.importlib, "import_module", nothing)
    camera._context.cache_clear()
    with pytest.raises(ValueError, match="apt-get install libegl1"):
        camera._context()
    camera._context.cache_clear()
