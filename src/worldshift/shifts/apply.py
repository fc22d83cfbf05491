"""Lets a shift act on an environment, on schedule: a plain `gymnasium.Wrapper`, with or without MuJoCo.

Order of a step: clip the command to the action space, shift it, push and step the body, shift the observation.
In memory only: at strength 0, after `restore` and after `close` the model is bit-equal to the nominal one.
"""

from collections import deque
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from jaxtyping import Float

from worldshift.shifts.kinds import (
    ForceShift,
    LinearShift,
    MemorylessShift,
    ModelShift,
    Plant,
    RememberingShift,
    SensorShift,
    Shift,
)
from worldshift.shifts.schedules import Constant, Moment, Schedule
from worldshift.shifts.simulator import Workbench, simulator

_ALWAYS = Constant()
_DRAWS, _NOISE = 2, 3  # streams of the seed, beside that of the schedules


class _Map(NamedTuple):
    """Neighbouring linear shifts of the action, in one."""

    matrix: np.ndarray  # (A, A)
    offset: np.ndarray  # (A,)


class _Stage(NamedTuple):
    """A shift of the action that is not linear."""

    part: MemorylessShift | RememberingShift
    strength: float
    past: deque


class Shifted(gymnasium.Wrapper, RecordConstructorArgs):
    """An environment whose dynamics, body or sensors are shifted.

    `info["shift"]` says what acts: `strength`, `phase`, `active`, and `kinds`, the parameters of each part as a dict.
    `info["plant_action"]` is what the actuators were told after all shifts of the action; MuJoCo still clamps it to its
    control ranges. Methods that adapt must not look at either.

    Agent steps are counted from 0 over all episodes (from 0 in each episode with `per_episode`). Parameters that are
    draws are drawn from (`seed`, phase) and so do not depend on how the environment is reset; noise and stickiness come
    from a stream that starts with `seed` and starts again, mixed with the reset's seed, whenever `reset` is given one.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        shift: Shift,
        schedule: Schedule = _ALWAYS,
        seed: int = 0,
        *,
        per_episode: bool = False,
    ):
        """Wraps `env`; its body is not touched before the first `reset`.

        Raises:
            ValueError: the shift does not fit the environment or the schedule, or the environment is shifted already.
        """
        RecordConstructorArgs.__init__(self, shift=shift, schedule=schedule, seed=seed, per_episode=per_episode)
        gymnasium.Wrapper.__init__(self, env)
        if seed < 0:
            raise ValueError(f"the seed of a shift must not be negative, it is {seed}.")
        _refuse_twice_shifted(env)
        _refuse_unfit_strengths(shift, schedule)
        self.shift, self.schedule, self.seed, self.per_episode = shift, schedule, seed, per_episode
        self._plant, body = Plant.of(env), simulator(env)
        self._data = None if body is None else body[1]
        self._low, self._high = (
            getattr(env.action_space, "low", np.empty(0)),
            getattr(env.action_space, "high", np.empty(0)),
        )
        self._bench = Workbench(*body) if body is not None and "model" in shift.levels else None
        self._course = schedule.course(seed, self._plant.actions or 1)
        self._rng = np.random.default_rng([seed, _NOISE])
        self._step, self._episode, self._off = 0, -1, False
        self._past: list[deque] = [deque(maxlen=p.span if isinstance(p, RememberingShift) else 0) for p in shift.parts]
        phase = self._course(0, 0).phase
        self._parts = self._drawn(phase)
        self._kinds = [part.to_dict() for part in self._parts]
        self._tune(Moment(0.0, phase))
        if "observation" in shift.levels:  # a reading may leave the bounds of the true observation
            true = env.observation_space
            assert isinstance(true, spaces.Box)
            self.observation_space = spaces.Box(-np.inf, np.inf, true.shape, true.dtype.type)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode, in the body as it is at this point of the schedule."""
        if seed is not None:
            self._rng = np.random.default_rng([self.seed, _NOISE, seed])
        self._episode += 1
        if self.per_episode:
            self._step = 0
        self._follow()
        for past in self._past:
            past.extend([self._command(np.zeros(self._plant.actions or 0))] * (past.maxlen or 0))
        observation, info = self.env.reset(seed=seed, options=options)
        return self._sense(observation), {**info, "shift": self._report()}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One agent step of the shifted environment."""
        self._follow()
        plant_action = self._actuate(action, self._chain)
        observation, reward, terminated, truncated, info = self._stepped_under_forces(plant_action)
        self._step += 1
        info = {**info, "shift": self._report(), "plant_action": plant_action}
        return self._sense(observation), reward, terminated, truncated, info

    def distort(self, action: Float[np.ndarray, "A"]) -> Float[np.ndarray, "A"]:
        """What the actuators would do with this command in the coming step, by shifts of the action without memory.

        Changes nothing. Delays and stickiness are passed over; without them the outcome is the next `plant_action`.
        """
        return self._actuate(action, self._coming_chain(), remembering=False)

    def action_matrix(self) -> tuple[Float[np.ndarray, "A A"], Float[np.ndarray, "A"]] | None:
        """M and b if the actuators do M·command + b in the coming step, the command within the action space; else None.

        Linear are gain, sign, rotation, mixing, bias and locked actuators, and any kind at strength 0.
        """
        chain = self._coming_chain()
        if self._plant.actions is None or any(isinstance(s, _Stage) and s.strength for s in chain):
            return None
        whole = _Map(np.eye(self._plant.actions), np.zeros(self._plant.actions))
        for stage in chain:
            if isinstance(stage, _Map):
                whole = _after(whole, stage)
        return whole.matrix, whole.offset

    def restore(self) -> None:
        """Takes the shift off for good: the nominal model comes back, bit by bit, and nothing is shifted any more."""
        self._off = True
        self._tune(Moment(0.0, self._moment.phase))

    def close(self) -> None:
        """Restores the model and closes the environment."""
        self.restore()
        self.env.close()

    def _follow(self) -> None:
        """Brings the shift to where the schedule is now. Cheap when nothing has changed."""
        if self._off:
            return
        moment = self._course(self._step, self._episode)
        if _same(moment, self._moment):
            return
        if moment.phase != self._moment.phase and self.shift.is_random:
            self._parts = self._drawn(moment.phase)
            self._kinds = [part.to_dict() for part in self._parts]
        self._tune(moment)

    def _drawn(self, phase: int) -> tuple[Shift, ...]:
        """The parts with the parameters of this phase."""
        drawn = self.shift.draw(np.random.default_rng([self.seed, _DRAWS, phase]), self.env)
        drawn.check(self._plant)
        return drawn.parts

    def _tune(self, moment: Moment) -> None:
        """Prepares everything for a strength, once: matrices, forces, and the edit of the model."""
        self._moment, strength = moment, moment.strength
        self._active = bool(np.any(strength))
        self._chain = self._linked(self._parts, strength)
        self._sensors = [p for p in self._parts if isinstance(p, SensorShift) and self._active]
        self._forces = self._summed_forces(strength) if "force" in self.shift.levels and self._active else None
        if self._bench is None:
            return
        edits = [p for p in self._parts if isinstance(p, ModelShift)]
        if self._active:
            writes = [name for part in edits for name in part.writes]
            steps = [partial(part.edit, strength=_scalar(strength)) for part in edits]
            self._bench.apply(writes, any(part.derives for part in edits), steps)
        else:
            self._bench.restore()

    def _linked(self, parts: tuple[Shift, ...], strength: float | np.ndarray) -> list[_Map | _Stage]:
        """The shifts of the action in order; linear neighbours become one, and what does nothing is left out."""
        chain: list[_Map | _Stage] = []
        active = np.any(strength)
        for part, past in zip(parts, self._past, strict=True):
            if isinstance(part, RememberingShift) or (isinstance(part, MemorylessShift) and active):
                chain.append(_Stage(part, _scalar(strength), past))
            elif isinstance(part, LinearShift) and active:
                new = _Map(*part.matrix(strength, self._plant.actions or 0))
                last = chain[-1] if chain else None
                chain[-1:] = [_after(last, new)] if isinstance(last, _Map) else [*chain[-1:], new]
        return chain

    def _coming_chain(self) -> list[_Map | _Stage]:
        """The shifts of the action as the next step will have them; changes nothing."""
        moment = self._moment if self._off else self._course(self._step, max(self._episode, 0))
        if _same(moment, self._moment):
            return self._chain
        changed = moment.phase != self._moment.phase and self.shift.is_random
        return self._linked(self._drawn(moment.phase) if changed else self._parts, moment.strength)

    def _summed_forces(self, strength: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        model = self._plant.model
        assert model is not None
        wrench, torque = np.zeros((model.nbody, 6)), np.zeros(model.nv)
        for part in self._parts:
            if isinstance(part, ForceShift):
                part.push(model, _scalar(strength), wrench, torque)
        return wrench, torque

    def _stepped_under_forces(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if self._forces is None or self._data is None:
            return self.env.step(action)
        wrenches, torques = self._data.xfrc_applied, self._data.qfrc_applied
        before = wrenches.copy(), torques.copy()
        wrenches += self._forces[0]
        torques += self._forces[1]
        try:
            return self.env.step(action)
        finally:
            wrenches[:], torques[:] = before

    def _command(self, action: np.ndarray) -> np.ndarray:
        """The command as the actuators' electronics see it: within the action space, in double precision."""
        action = np.asarray(action, np.float64)
        if action.shape != self._low.shape:
            raise ValueError(f"{self._plant.name} takes an action of shape {self._low.shape}, not {action.shape}.")
        return np.minimum(np.maximum(action, self._low), self._high)

    def _actuate(self, action: Any, chain: list[_Map | _Stage], *, remembering: bool = True) -> Any:
        if self._plant.actions is None:
            return action
        value = self._command(action)
        for stage in chain:
            if isinstance(stage, _Map):
                value = stage.matrix @ value + stage.offset
            elif isinstance(stage.part, MemorylessShift):
                value = stage.part.distort(value, stage.strength)
            elif remembering:
                value = stage.part.recall(value, stage.strength, stage.past, self._rng)
        return value.astype(self._low.dtype)

    def _sense(self, observation: Any) -> Any:
        for part in self._sensors:
            observation = part.sense(observation, _scalar(self._moment.strength), self._rng)
        return observation

    def _report(self) -> dict[str, Any]:
        """For `info`: fresh objects each time, as they belong to whoever reads them."""
        strength, phase = self._moment
        strength = strength.copy() if isinstance(strength, np.ndarray) else strength
        return {
            "strength": strength, "phase": phase, "active": self._active, "kinds": [dict(kind) for kind in self._kinds]
        }  # fmt: skip


def _same(a: Moment, b: Moment) -> bool:
    if isinstance(a.strength, np.ndarray) or isinstance(b.strength, np.ndarray):
        return a.phase == b.phase and np.array_equal(a.strength, b.strength)
    return a == b


def _after(first: _Map, second: _Map) -> _Map:
    return _Map(second.matrix @ first.matrix, second.matrix @ first.offset + second.offset)


def _scalar(strength: float | np.ndarray) -> float:
    assert not isinstance(strength, np.ndarray), "schedules with a strength per actuator are refused at the start"
    return strength


def _refuse_twice_shifted(env: gymnasium.Env) -> None:
    inner = env
    while isinstance(inner, gymnasium.Wrapper):
        if isinstance(inner, Shifted):
            raise ValueError("this environment is shifted already: add the shifts with + and wrap once.")
        inner = inner.env


def _refuse_unfit_strengths(shift: Shift, schedule: Schedule) -> None:
    low, high = schedule.span
    for part in shift.parts:
        kind, course = type(part).__name__, type(schedule).__name__
        if schedule.per_actuator and not part.per_actuator:
            raise ValueError(
                f"{course} has a strength for each actuator and {kind} takes one: use it with ActuatorGain."
            )
        if not part.signed and (low < 0.0 or high > 1.0):
            raise ValueError(
                f"{kind} takes strengths from 0 to 1 and {course} goes from {low:g} to {high:g}: narrow the schedule."
            )
