"""The point mass of RWM (arXiv 2505.15589, fig. 1B and C): two motors push a disc across a table towards a target.

Numbers are those of the first author's public fork: 0.3 kg, gear 0.1, 0.02 s, no damping, from (-0.1, 0) to (0.1, 0.1).
Deviation: walls stand at 0.5 m instead of 0.29 m, so that a rotated policy drifts freely and does not lean on a wall.
"""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from typing import Any

import gymnasium
import mujoco
import numpy as np
from dm_control.utils import rewards
from gymnasium import spaces
from jaxtyping import Float, Float32

START = (-0.1, 0.0)
"""Where an episode begins (m)."""
TARGET = (0.1, 0.1)
"""Where the mass is paid to be (m)."""
TARGET_RADIUS = 0.01
"""Full reward inside this distance of the target (m)."""
REWARD_MARGIN = 0.15
"""Distance beyond the radius at which the reward of a control step has fallen to 0.1 (m)."""
ARENA = 0.5
"""The walls stand at plus and minus this (m)."""
MASS = 0.3
"""Mass of the disc (kg)."""
GEAR = 0.1
"""Force for a command of 1 (N)."""
ACTION_REPEAT = 2
EPISODE_STEPS = 200

_XML = f"""
<mujoco model="point mass">
  <option timestep="0.02">
    <flag contact="disable"/>
  </option>
  <worldbody>
    <geom name="table" type="plane" size="{ARENA} {ARENA} 0.1" rgba="0.88 0.91 0.94 1"/>
    <geom name="halo" type="cylinder" pos="{TARGET[0]} {TARGET[1]} 0.001" size="0.03 0.001" rgba="0.93 0.76 0.73 1"/>
    <geom name="target" type="sphere" pos="{TARGET[0]} {TARGET[1]} 0.01" size="{TARGET_RADIUS}" rgba="0.8 0.36 0.33 1"/>
    <body name="pointmass" pos="0 0 0.02">
      <joint name="x" type="slide" axis="1 0 0" limited="true" range="-{ARENA} {ARENA}"/>
      <joint name="y" type="slide" axis="0 1 0" limited="true" range="-{ARENA} {ARENA}"/>
      <geom name="pointmass" type="sphere" size="0.02" mass="{MASS}" rgba="0.25 0.45 0.75 1"/>
    </body>
  </worldbody>
  <actuator>
    <motor name="x" joint="x" gear="{GEAR}" ctrllimited="true" ctrlrange="-1 1"/>
    <motor name="y" joint="y" gear="{GEAR}" ctrllimited="true" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""


class PointMassEnv(gymnasium.Env):
    """A disc on a frictionless table, pushed by two motors: observation (x, y, vx, vy) in m and m/s, action (ux, uy).

    A command of 1 is a force of 0.1 N. An agent step holds the command for two control steps (0.04 s) and its reward is
    the sum over them, so that a return is out of 400. Nothing terminates an episode early.

    Attributes:
        model: the live MuJoCo model; shifts may change it, `reset` leaves it alone.
        data: the live MuJoCo state.
        episode_steps: agent steps in an episode.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - the form that Gymnasium asks for

    def __init__(self, *, headroom: float = 2.0, episode_steps: int | None = None, start_jitter: float = 0.0):
        """Builds the table.

        Args:
            headroom: commands are accepted in plus and minus this; a policy trained in plus and minus 1 leaves the rest
                to corrections. Beyond it MuJoCo clamps.
            episode_steps: agent steps in an episode; the paper's 200 by default.
            start_jitter: the start is drawn uniformly within this distance of the nominal one, in x and in y (m).
        """
        if not (np.isfinite(headroom) and headroom >= 1.0):
            raise ValueError(f"headroom must be a number of at least 1, not {headroom}: the base policy needs ±1.")
        if episode_steps is not None and episode_steps < 1:
            raise ValueError(f"episode_steps must be at least 1, not {episode_steps}.")
        room = ARENA - max(map(abs, START))
        if not 0.0 <= start_jitter <= room:
            raise ValueError(f"start_jitter must lie between 0 and {room:g} m (the walls), not {start_jitter}.")
        self.model = mujoco.MjModel.from_xml_string(_XML)
        self.model.actuator_ctrlrange[:] = (-headroom, headroom)
        self.data = mujoco.MjData(self.model)
        self.headroom = float(headroom)
        self.start_jitter = float(start_jitter)
        self.episode_steps = episode_steps or EPISODE_STEPS
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
        self.action_space = spaces.Box(-self.headroom, self.headroom, (2,), np.float32)
        self._step = 0

    @property
    def dt(self) -> float:
        """Body time of one agent step (s)."""
        return self.model.opt.timestep * ACTION_REPEAT

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32[np.ndarray, "4"], dict[str, Any]]:
        """Puts the mass at rest at the nominal start plus jitter, or exactly at `options["start"]` (x, y in m)."""
        super().reset(seed=seed)
        start = np.asarray(START) + self.np_random.uniform(-self.start_jitter, self.start_jitter, 2)
        if options:
            start = _start_from(options)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] = start
        mujoco.mj_forward(self.model, self.data)
        self._step = 0
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[Float32[np.ndarray, "4"], float, bool, bool, dict[str, Any]]:
        """Holds the command (2,) for one agent step (0.04 s)."""
        action = np.asarray(action, np.float64)
        if action.shape != (2,) or not np.isfinite(action).all():
            raise ValueError(f"The point mass takes an action of 2 finite numbers, not {action.tolist()}.")
        self.data.ctrl[:] = action
        reward = 0.0
        for _ in range(ACTION_REPEAT):
            mujoco.mj_step(self.model, self.data)
            reward += self._reward()
        self._step += 1
        return self._observe(), reward, False, self._step >= self.episode_steps, {}

    def _observe(self) -> Float32[np.ndarray, "4"]:
        return np.concatenate([self.data.qpos, self.data.qvel]).astype(np.float32)

    def _reward(self) -> float:
        distance = float(np.hypot(*(self.data.qpos - TARGET)))
        return float(rewards.tolerance(distance, bounds=(0.0, TARGET_RADIUS), margin=REWARD_MARGIN))


def _start_from(options: dict[str, Any]) -> Float[np.ndarray, "2"]:
    if set(options) != {"start"}:
        raise ValueError(f"The point mass knows one reset option, 'start' (x, y in m), not {sorted(options)}.")
    start = np.asarray(options["start"], np.float64)
    if start.shape != (2,) or not (np.abs(start) <= ARENA).all():
        raise ValueError(f"The start must be (x, y) within the walls at ±{ARENA} m, not {options['start']}.")
    return start


def signed_deviation(trajectory: Float[np.ndarray, "T O"]) -> float:
    """How far a trajectory passes beside the midpoint between start and target: the metric of fig. 1C.

    The straight line runs from the nominal start to the target. The deviation is read, along the perpendicular through
    its midpoint, where the trajectory first crosses that (interpolated linearly between two samples).

    Args:
        trajectory: positions or whole observations of an episode, x and y first (m), from the one that `reset` gave.

    Returns:
        Signed distance (m): positive when the mass passes on the left of the line as seen from the start, which is
        where a policy goes whose actions are rotated anticlockwise. NaN when the trajectory never gets half-way.
    """
    start, target = np.asarray(START), np.asarray(TARGET)
    along = (target - start) / np.linalg.norm(target - start)
    left = np.array([-along[1], along[0]])
    offset = trajectory[:, :2] - (start + target) / 2
    forward, sideways = offset @ along, offset @ left
    beyond = np.flatnonzero(forward >= 0.0)
    if beyond.size == 0:
        return float("nan")
    after = int(beyond[0])
    if after == 0:
        return float(sideways[0])
    share = -forward[after - 1] / (forward[after] - forward[after - 1])
    return float(sideways[after - 1] + share * (sideways[after] - sideways[after - 1]))
