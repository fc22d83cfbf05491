"""Shifts of what a camera sees: states never notice, frames do, the more the stronger, and the model comes back."""

import copy

import numpy as np
import pytest

from worldshift import envs
from worldshift.models.vision import PIXELS
from worldshift.shifts import CameraPose, Colours, Constant, Lighting, Shifted, StepOnOff
from worldshift.shifts.simulator import DERIVED

LOOKS = [
    Colours(),
    Colours(0.4),
    Lighting(0.2),
    Lighting(1.5),
    CameraPose(),
    CameraPose(move=(0.2, 0.0, 0.1), turn=(0.0, 0.1, 0.2)),
]
SHOWN = ("mat_rgba", "geom_rgba", "light_diffuse", "light_ambient", "cam_pos", "cam_quat")


def shown(env):
    """All that a camera's picture depends on, but for where the body is."""
    model = env.unwrapped.model
    head = model.vis.headlight
    return [getattr(model, name).copy() for name in SHOWN] + [head.diffuse.copy(), head.ambient.copy()]


@pytest.mark.parametrize("shift", LOOKS, ids=lambda s: s.to_json())
def test_the_body_moves_as_before_and_looks_come_back(shift):
    plain, other = envs.make("pendulum-swingup"), envs.make("pendulum-swingup")
    nominal = shown(other)
    env = Shifted(other, shift, StepOnOff(start=1, on=2, off=2))
    same = [np.array_equal(plain.reset(seed=0)[0], env.reset(seed=0)[0])]
    looks = []
    for _ in range(5):
        same.append(np.array_equal(plain.step(np.ones(1))[0], env.step(np.ones(1))[0]))
        looks.append(all(map(np.array_equal, shown(other), nominal)))
    assert all(same) and looks == [True, False, False, True, True]


@pytest.mark.parametrize("shift", LOOKS, ids=lambda s: s.to_json())
def test_it_writes_what_it_says(shift):
    env = envs.make("pendulum-swingup")
    model = env.unwrapped.model
    nominal = copy.copy(model)
    Shifted(env, shift).reset(seed=0)
    names = [n for n in dir(model) if isinstance(getattr(model, n, None), np.ndarray)]
    touched = {n for n in names if not np.array_equal(getattr(model, n), getattr(nominal, n))}
    head = model.vis.headlight
    if isinstance(shift, Lighting):
        np.testing.assert_allclose(head.diffuse, shift.scale * nominal.vis.headlight.diffuse, rtol=1e-5)
    else:
        assert touched & set(shift.writes)
    assert touched <= set(shift.writes) | (set(DERIVED) if shift.derives else set())


@pytest.mark.parametrize(
    "shift", [Colours(), Lighting(0.0), CameraPose(turn=(0.0, 0.0, 0.8))], ids=lambda s: s.to_json()
)
def test_the_stronger_the_more_is_seen(seen, shift):
    before = seen.reset(seed=0)[0][:PIXELS]
    changes = []
    for strength in (0.25, 0.5, 1.0):
        env = Shifted(seen, shift, Constant(strength))
        changes.append(np.abs(env.reset(seed=0)[0][:PIXELS] - before).mean())
        env.restore()
    assert 0.3 < changes[0] < changes[1] < changes[2]


def test_a_turned_camera_turns_the_picture(seen):
    """By a quarter about the line of sight: columns become rows."""
    before = seen.reset(seed=0)[0][:PIXELS].reshape(64, 64, 3)
    after = Shifted(seen, CameraPose(turn=(0.0, 0.0, np.pi / 2))).reset(seed=0)[0][:PIXELS].reshape(64, 64, 3)
    assert np.abs(np.rot90(before, -1) - after).mean() < 0.3 * np.abs(before - after).mean()


def test_unknown_cameras_are_refused():
    with pytest.raises(ValueError, match="the model has no camera 'rear'; it has: fixed"):
        Shifted(envs.make("pendulum-swingup"), CameraPose(cameras=("rear",)))
