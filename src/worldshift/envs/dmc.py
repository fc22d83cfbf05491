"""dm_control suite tasks as Gymnasium environments: flat state, action repeat, headroom for corrections.

Protocol of TD-MPC2's published DMC wrapper: repeat 2, 500 agent steps, rewards summed; ReDRAW's is the same with the
last control step's reward. Deviation: commands up to
`headroom` times the actuator range are accepted (the range in memory is widened), so that a correction has room.
"""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

import warnings
from typing import Any, Literal

import gymnasium
import mujoco
import numpy as np
from absl import logging
from gymnasium import spaces
from jaxtyping import Float32

from worldshift.envs.camera import Camera

_SHORT = {"cup": "ball_in_cup"}


class DmcEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """A dm_control task. Observation (O,) float32 in the suite's order, action (A,) in [-headroom, headroom].

    Attributes:
        model: the live `mujoco.MjModel`; `reset` leaves it alone.
        data: the live `mujoco.MjData`.
        episode_steps: agent steps in an episode.
        episodic: whether the task can end an episode in a terminal state.
        pixels: whether an observation begins with an image.
    """

    def __init__(
        self,
        task: str,
        *,
        action_repeat: int = 2,
        episode_steps: int | None = None,
        headroom: float = 2.0,
        reward: Literal["sum", "last"] = "sum",
        cos_sin_angles: bool = False,
        observation: Literal["state", "pixels"] = "state",
    ):
        """`task` as `walker-walk`; `episode_steps` in agent steps (default: the task's 1000 control steps).

        `reward` of an agent step: the sum over its control steps, or the last one's (ReDRAW's protocol).
        `cos_sin_angles`: where a task shows its joint positions as they are (`reacher`), a hinge that turns freely is
        read as cosine and sine, side by side in its place; otherwise it counts its turns.
        `observation`: the task's own vector, or what the first camera sees (64 * 64 * 3 intensities from 0 to 255) and
        then the generalised velocities, which one frame does not show (ReDRAW).

        Raises:
            ValueError: unknown task, settings out of range, or images that cannot be drawn here.
        """
        if action_repeat < 1 or not 1 <= headroom < float("inf"):
            raise ValueError(
                f"action_repeat {action_repeat} and headroom {headroom} must both be at least 1 and finite."
            )
        if episode_steps is not None and episode_steps < 1:
            raise ValueError(f"episode_steps must be at least 1, not {episode_steps}.")
        with warnings.catch_warnings():  # dm_control looks for a display when it is imported; nothing here needs one
            warnings.filterwarnings("ignore", module="glfw")
            from dm_control import suite  # it takes a second: only when an environment is made
        from dm_control.rl import control

        domain, _, name = task.partition("-")
        domain, name = _SHORT.get(domain, domain).replace("-", "_"), name.replace("-", "_")
        if (domain, name) not in suite.ALL_TASKS:
            known = ", ".join(sorted(f"{d}-{t}" for d, t in suite.BENCHMARKING))
            raise ValueError(
                f"unknown task {task!r}: choose point-mass, gym:<id of an environment>, or one of {known}."
            )
        verbosity = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)  # MuJoCo has remarks on the suite's own XML that no user can act on
        try:
            self._dm = suite.load(domain, name, task_kwargs={"random": 0, "time_limit": float("inf")})
        finally:
            logging.set_verbosity(verbosity)
        self._task, self._physics = self._dm.task, self._dm.physics
        self.model, self.data = self._physics.model.ptr, self._physics.data.ptr
        self.headroom, self.action_repeat, self._summed = float(headroom), action_repeat, reward == "sum"
        self.episode_steps = episode_steps or 1000 // action_repeat
        self.episodic = type(self._task).get_termination is not control.Task.get_termination
        self._diverged = control.PhysicsError
        self._substeps = max(1, round(self._dm.control_timestep() / self._physics.timestep()))
        if not self.model.actuator_ctrllimited.all():
            raise ValueError(
                f"{task} has motors without bounds, so plus and minus 1 mean nothing: choose another task."
            )
        low, high = self.model.actuator_ctrlrange.T
        self._centre, self._half = (low + high) / 2, (high - low) / 2
        self.model.actuator_ctrlrange[:] = self._centre[:, None] + self._half[:, None] * [-headroom, headroom]
        self.action_space = spaces.Box(-headroom, headroom, self._half.shape, np.float32)
        free = (self.model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE) & (self.model.jnt_limited == 0)
        self._free_hinges = self.model.jnt_qposadr[free] if cos_sin_angles else np.zeros(0, int)
        self.pixels = observation == "pixels"
        self._camera = Camera(self.model) if self.pixels else None
        dim = self._observe().size
        self.observation_space = spaces.Box(-np.inf, np.inf, (dim,), np.float32)
        self._t = 0

    @property
    def dt(self) -> float:
        """Seconds of body time per agent step."""
        return self._dm.control_timestep() * self.action_repeat

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32[np.ndarray, " O"], dict[str, Any]]:
        """Starts an episode; the same seed gives the same start, whatever happened before."""
        super().reset(seed=seed)
        if seed is not None:
            self._task._random = np.random.RandomState(seed % 2**32)
        self._t = 0
        with self._physics.reset_context():
            self._task.initialize_episode(self._physics)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[Float32[np.ndarray, " O"], float, bool, bool, dict[str, Any]]:
        """One agent step: `action_repeat` control steps under one command (A,), rewards summed.

        Raises:
            ValueError: a command of another shape or not finite, or a simulation that has diverged.
        """
        action = np.asarray(action, np.float64)
        if action.shape != self._half.shape or not np.isfinite(action).all():
            raise ValueError(f"an action is {self._half.size} finite numbers, not {action.tolist()}.")
        ctrl = self._centre + self._half * action
        total, terminated = 0.0, False
        for _ in range(self.action_repeat):
            self._task.before_step(ctrl, self._physics)
            self._advance()
            self._task.after_step(self._physics)
            reward = float(self._task.get_reward(self._physics) or 0.0)
            total = total + reward if self._summed else reward
            terminated = self._task.get_termination(self._physics) == 0.0
            if terminated:
                break
        self._t += 1
        return self._observe(), total, terminated, self._t >= self.episode_steps, {}

    def _advance(self) -> None:
        try:
            self._physics.step(self._substeps)
        except self._diverged as error:
            raise ValueError(
                f"the simulation has diverged after agent step {self._t}: "
                "reset it and use smaller commands or a milder shift."
            ) from error

    def _observe(self) -> np.ndarray:
        if self._camera:
            frame = self._camera.frame(self.data).ravel()
            return np.concatenate([frame, self._physics.velocity()], dtype=np.float32)
        return self.state()

    def state(self) -> Float32[np.ndarray, " S"]:
        """The task's own vector as it is now, whatever is observed."""
        obs = self._task.get_observation(self._physics)
        if len(self._free_hinges) and np.array_equal(obs.get("position", ()), self.data.qpos):
            angle = obs["position"]
            parts = [[np.cos(x), np.sin(x)] if joint in self._free_hinges else [x] for joint, x in enumerate(angle)]
            obs["position"] = np.concatenate(parts)
        return self._flat(obs)

    @staticmethod
    def _flat(obs: dict[str, Any]) -> np.ndarray:
        return np.concatenate([np.ravel(v) for v in obs.values()]).astype(np.float32)
