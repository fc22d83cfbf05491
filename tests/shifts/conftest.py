"""Two small environments with known answers, and a fingerprint of everything that a MuJoCo model holds."""

# MuJoCo ships no type stubs, and an environment's `.model` or a kind's own parameters are not in the base types.
# pyright: reportAttributeAccessIssue=false

import hashlib
from collections.abc import Callable

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium import spaces

ARM = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 0.1" friction="0.9 0.01 0.001"/>
    <body name="upper" pos="0 0 2">
      <joint name="shoulder" type="hinge" axis="0 1 0" damping="0.3"/>
      <geom name="upper" type="capsule" size="0.05 0.25" pos="0 0 -0.25"/>
      <site name="elbow" pos="0 0 -0.5"/>
      <body name="lower" pos="0 0 -0.8">
        <joint name="elbow" type="hinge" axis="0 1 0" pos="0 0 0.3" damping="0.1"/>
        <geom name="lower" type="capsule" size="0.04 0.3"/>
      </body>
    </body>
    <body name="ball" pos="1 0 3">
      <freejoint name="ball"/>
      <geom name="ball" type="sphere" size="0.1" mass="2"/>
    </body>
  </worldbody>
  <actuator>
    <motor name="shoulder" joint="shoulder" gear="2" ctrllimited="true" ctrlrange="-2 2"/>
    <motor name="elbow" joint="elbow" gear="2" ctrllimited="true" ctrlrange="-2 2"/>
    <motor name="push" joint="shoulder" gear="1" ctrllimited="true" ctrlrange="-2 2"/>
  </actuator>
</mujoco>
"""


class Arm(gymnasium.Env):
    """A two-link arm and a free ball in MuJoCo, in the form of Gymnasium's own bodies: `.model` and `.data`."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self):
        self.model = mujoco.MjModel.from_xml_string(ARM)
        self.data = mujoco.MjData(self.model)
        self.action_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, (self.model.nq + self.model.nv,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:2] = self.np_random.uniform(-0.5, 0.5, 2)
        mujoco.mj_forward(self.model, self.data)
        return self._observe(), {}

    def step(self, action):
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data, 4)
        return self._observe(), 0.0, False, False, {}

    def _observe(self):
        return np.concatenate([self.data.qpos, self.data.qvel]).astype(np.float32)


class Echo(gymnasium.Env):
    """No simulator at all: the observation is the action that arrived, after a leading 1."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, actions: int = 3, bound: float = 2.0):
        self.action_space = spaces.Box(-bound, bound, (actions,), np.float32)
        self.observation_space = spaces.Box(-100.0, 100.0, (actions + 1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.eye(1, 1 + self.action_space.low.size, dtype=np.float32)[0], {}

    def step(self, action):
        return np.concatenate([[1.0], action]).astype(np.float32), 0.0, False, False, {"arrived": np.array(action)}


def _fingerprint(model: mujoco.MjModel) -> str:
    digest = hashlib.sha256()
    for owner in (model, model.opt, model.stat):
        for name in sorted(n for n in dir(owner) if not n.startswith("_")):
            value = getattr(owner, name)
            if isinstance(value, np.ndarray):
                digest.update(value.tobytes())
            elif isinstance(value, (int, float)):
                digest.update(repr(value).encode())
    return digest.hexdigest()


def _changed(before: mujoco.MjModel, after: mujoco.MjModel) -> set[str]:
    names = (n for n in dir(before) if not n.startswith("_") and isinstance(getattr(before, n), np.ndarray))
    different = {n for n in names if getattr(before, n).tobytes() != getattr(after, n).tobytes()}
    for group in ("opt", "stat"):
        old, new = getattr(before, group), getattr(after, group)
        for name in (n for n in dir(old) if not n.startswith("_")):
            if not callable(getattr(old, name)) and not np.array_equal(getattr(old, name), getattr(new, name)):
                different.add(f"{group}.{name}")
    return different


@pytest.fixture
def arm() -> Arm:
    return Arm()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture(scope="module")
def new_echo() -> type[Echo]:
    """Makes echoes, for tests that need more than one."""
    return Echo


@pytest.fixture(scope="module")
def new_arm() -> type[Arm]:
    """Makes arms."""
    return Arm


@pytest.fixture(scope="module")
def fingerprint() -> Callable[[mujoco.MjModel], str]:
    """A hash of all arrays and options of a model."""
    return _fingerprint


@pytest.fixture(scope="module")
def changed() -> Callable[[mujoco.MjModel, mujoco.MjModel], set[str]]:
    """Names of the arrays and options in which two models differ."""
    return _changed
