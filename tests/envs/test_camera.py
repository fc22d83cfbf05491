"""What a camera sees: the body, from the right side up, and changes of its looks."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

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
