"""Any Gymnasium environment with state observations and continuous actions, in the form that every method here expects.

Observations become one flat float32 vector; actions of plus and minus 1 mean the environment's own bounds.
Headroom beyond 1 (RWM, arXiv 2505.15589: corrections need room) is real on MuJoCo bodies only; others saturate at 1.
"""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces
from jaxtyping import Float, Float32


class FromGym(gymnasium.Env):
    """A Gymnasium environment, adapted: flat float32 observation (O,), action (A,) in plus and minus `headroom`.

    An agent step holds its command for `action_repeat` steps of the environment, sums their rewards and stops at once
    when one of them terminates or truncates the episode; both signals are passed on, and `info` is that of the last.

    On a MuJoCo body whose action bounds are its motors' control ranges, `headroom` widens those ranges in memory until
    `close`, so a command of 2 doubles the force. The environment's own action cost, if any, then sees that command.
    Every other environment receives commands clipped to its own bounds; `reach` says which of the two holds.

    Attributes:
        env: the environment inside.
        reach: commands act on the body up to this: `headroom`, or 1 where the environment's bounds are final.
        episode_steps: agent steps after which an episode is truncated, as asked for or as the environment's
            registration says, whichever comes first; None where neither does.
    """

    def __init__(
        self,
        env_id_or_env: str | gymnasium.Env,
        *,
        action_repeat: int = 1,
        headroom: float = 1.0,
        episode_steps: int | None = None,
    ):
        """Adapts an environment, or makes it first.

        Args:
            env_id_or_env: a registered name such as `HalfCheetah-v5`, or an environment of your own.
            action_repeat: environment steps in an agent step.
            headroom: bound of the action space, in units of the environment's own bounds.
            episode_steps: truncates after so many agent steps; the environment's own limit by default.
        """
        if not (isinstance(action_repeat, int) and action_repeat >= 1):
            raise ValueError(f"action_repeat must be a whole number of at least 1, not {action_repeat!r}.")
        if episode_steps is not None and episode_steps < 1:
            raise ValueError(f"episode_steps must be at least 1, not {episode_steps}.")
        if not (np.isfinite(headroom) and headroom >= 1.0):
            raise ValueError(f"headroom must be a number of at least 1, not {headroom}: 1 means its own bounds.")
        self.env = _make(env_id_or_env) if isinstance(env_id_or_env, str) else env_id_or_env
        if not isinstance(self.env, gymnasium.Env):
            raise ValueError(f"FromGym takes a name or a gymnasium.Env, not a {type(self.env).__name__}.")
        self._name = self.env.spec.id if self.env.spec is not None else type(self.env.unwrapped).__name__
        bounds = _action_bounds(self.env.action_space, self._name)
        self._middle, self._half = bounds.mean(0), (bounds[1] - bounds[0]) / 2
        _refuse_unfit_observations(self.env.observation_space, self._name)
        self._raw_observation_space = self.env.observation_space
        flat = spaces.flatten_space(self._raw_observation_space)
        assert isinstance(flat, spaces.Box)
        with np.errstate(over="ignore"):  # a float64 bound beyond float32 is no bound
            low, high = flat.low.astype(np.float32), flat.high.astype(np.float32)
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.action_space = spaces.Box(-headroom, headroom, self._half.shape, np.float32)
        self.action_repeat = action_repeat
        self.headroom = float(headroom)
        self.metadata, self.render_mode = self.env.metadata, self.env.render_mode
        limit = self.env.spec.max_episode_steps if self.env.spec is not None else None
        limits = [episode_steps, None if limit is None else -(-limit // action_repeat)]
        self.episode_steps = min((steps for steps in limits if steps is not None), default=None)
        self._nominal_ctrlrange = self._widen_motors(bounds)
        self.reach = self.headroom if self._nominal_ctrlrange is not None else 1.0
        self._step = 0

    @property
    def model(self) -> mujoco.MjModel:
        """The live MuJoCo model; AttributeError where the environment has none."""
        return self._inner("model", mujoco.MjModel)

    @property
    def data(self) -> mujoco.MjData:
        """The live MuJoCo state; AttributeError where the environment has none."""
        return self._inner("data", mujoco.MjData)

    @property
    def dt(self) -> float:
        """Body time of one agent step (s); AttributeError where the environment does not say."""
        return float(self._inner("dt", (int, float))) * self.action_repeat

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32[np.ndarray, "O"], dict[str, Any]]:
        """Resets the environment inside with the same seed and options."""
        super().reset(seed=seed)
        self._step = 0
        observation, info = self.env.reset(seed=seed, options=options)
        return self._flatten(observation), info

    def step(self, action: np.ndarray) -> tuple[Float32[np.ndarray, "O"], float, bool, bool, dict[str, Any]]:
        """Holds the command (A,) for one agent step."""
        command = self._command(action)
        total, repeat = 0.0, 0
        while True:
            observation, reward, terminated, truncated, info = self.env.step(command)
            total, repeat = total + float(reward), repeat + 1
            if terminated or truncated or repeat == self.action_repeat:
                break
        self._step += 1
        truncated = truncated or (self.episode_steps is not None and self._step >= self.episode_steps)
        return self._flatten(observation), total, bool(terminated), bool(truncated), info

    def render(self) -> Any:
        """Renders as the environment inside does."""
        return self.env.render()

    def close(self) -> None:
        """Gives the motors their own control ranges back and closes the environment inside."""
        if self._nominal_ctrlrange is not None:
            self.model.actuator_ctrlrange[:] = self._nominal_ctrlrange
            self._nominal_ctrlrange = None
        self.env.close()

    def _command(self, action: np.ndarray) -> np.ndarray:
        action = np.asarray(action, np.float64)
        if action.shape != self.action_space.shape or not np.isfinite(action).all():
            raise ValueError(f"{self._name} takes actions of {self._half.size} finite numbers, not {action.tolist()}.")
        command = self._middle + self._half * np.clip(action, -self.reach, self.reach)
        space = self.env.action_space
        return command.reshape(space.shape or ()).astype(space.dtype)

    def _flatten(self, observation: Any) -> Float32[np.ndarray, "O"]:
        flat = np.asarray(spaces.flatten(self._raw_observation_space, observation)).astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(flat))
        if bad.size:
            raise ValueError(
                f"{self._name} observed {flat[bad[0]]} in component {bad[0]} after agent step {self._step}: the "
                "simulation has diverged, so reset it and use smaller commands or a milder shift."
            )
        return flat

    def _widen_motors(self, bounds: Float[np.ndarray, "2 A"]) -> Float[np.ndarray, "A 2"] | None:
        """Widens the control ranges in memory and returns the nominal ones, or None where commands stop at 1."""
        model: Any = getattr(self.env.unwrapped, "model", None)
        if self.headroom == 1.0 or not isinstance(model, mujoco.MjModel):
            return None
        nominal = model.actuator_ctrlrange.copy()
        motors = nominal.shape == bounds.T.shape and np.allclose(nominal, bounds.T)
        if not (motors and model.actuator_ctrllimited.all()):
            return None
        reach = self.headroom * self._half
        model.actuator_ctrlrange[:] = np.stack([self._middle - reach, self._middle + reach], -1)
        return nominal

    def _inner(self, name: str, kind: type | tuple[type, ...]) -> Any:
        value = getattr(self.env.unwrapped, name, None)
        if not isinstance(value, kind):
            raise AttributeError(f"{self._name} has no usable `{name}`: only environments built on MuJoCo are sure to.")
        return value


def _make(env_id: str) -> gymnasium.Env:
    try:
        return gymnasium.make(env_id)
    except (gymnasium.error.Error, ImportError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ValueError(f"Gymnasium cannot make '{env_id}' ({reason}): install or correct it.") from error


def _action_bounds(space: spaces.Space, name: str) -> Float[np.ndarray, "2 A"]:
    """Lower and upper bound of every action component, or a refusal."""
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise ValueError(
            f"{name} has discrete actions ({space}), but every method here needs continuous ones: "
            "choose an environment whose action space is a Box of floats."
        )
    bounds = np.stack([space.low.ravel(), space.high.ravel()]).astype(np.float64)
    if not np.isfinite(bounds).all():
        raise ValueError(
            f"{name} has an unbounded action space, so plus and minus 1 have no meaning there: "
            "wrap it in gymnasium.wrappers.RescaleAction or give its action space finite bounds."
        )
    return bounds


def _refuse_unfit_observations(space: spaces.Space, name: str) -> None:
    for leaf in _leaves(space):
        if isinstance(leaf, spaces.Box):
            shape = leaf.shape
            if len(shape) >= 3 or (len(shape) == 2 and leaf.dtype == np.uint8):
                raise ValueError(
                    f"{name} observes images {shape}, but every method here reads states: "
                    "choose the variant of the environment with state observations."
                )
        elif not isinstance(leaf, (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
            raise ValueError(
                f"{name} observes a {type(leaf).__name__}, which has no fixed length: "
                "wrap it so that it observes a Box, or a Dict or Tuple of Boxes."
            )


def _leaves(space: spaces.Space) -> Iterator[spaces.Space]:
    if isinstance(space, spaces.Dict):
        for part in space.spaces.values():
            yield from _leaves(part)
    elif isinstance(space, spaces.Tuple):
        for part in space.spaces:
            yield from _leaves(part)
    else:
        yield space
