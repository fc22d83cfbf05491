"""Shifts of the action: what the actuators do is not what was commanded.

The command is first clipped to the action space, then shifted; MuJoCo clamps the outcome to its control range
(RWM, arXiv 2505.15589: a_eff = (1 + p)·a). The paper rotates the point mass's actions and scales everybody else's.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from worldshift.shifts.kinds import LinearShift, MemorylessShift, RememberingShift, Strength
from worldshift.shifts.parameters import Number, Numbers, number

_UNIT = "of the action's unit"


@dataclass(frozen=True)
class ActuatorGain(LinearShift):
    """Actuator j does (1 + p_j·strength) of its command: p = -0.5 is a motor at half its force, p = -1 a dead one.

    Any strength, also one per actuator: with p = 1 the schedule itself is the gain's deviation.
    """

    p: Numbers = field(
        default=-0.5,
        metadata=number(low=-1.0, high=3.0, per="actuator", doc="relative change of the gain, for all or for each"),
    )
    signed = True
    per_actuator = True

    def matrix(self, strength: Strength, actions: int) -> tuple[np.ndarray, np.ndarray]:
        """A diagonal."""
        gain = np.zeros((actions, actions))
        gain.flat[:: actions + 1] = 1.0 + np.asarray(self.p) * strength
        return gain, np.zeros(actions)


@dataclass(frozen=True)
class ActionSign(LinearShift):
    """Actuators do the opposite of their command. All or nothing: from strength 0.5 on."""

    indices: Numbers = field(
        default=(), metadata=number(low=0, whole=True, per="index", doc="which actuators; none named: all of them")
    )

    def matrix(self, strength: Strength, actions: int) -> tuple[np.ndarray, np.ndarray]:
        """A diagonal of plus and minus 1."""
        sign = np.ones(actions)
        if strength >= 0.5:
            sign[list(self.indices) if self.indices else slice(None)] = -1.0
        return np.diag(sign), np.zeros(actions)


@dataclass(frozen=True)
class ActionRotation(LinearShift):
    """The command is rotated in the plane of two actuators, anticlockwise from i towards j, by angle·strength."""

    angle: Number = field(default=0.5, metadata=number(low=-np.pi, high=np.pi, unit="rad", doc="angle of the rotation"))
    i: Number = field(default=0, metadata=number(low=0, whole=True, per="index", doc="first actuator of the plane"))
    j: Number = field(default=1, metadata=number(low=0, whole=True, per="index", doc="second actuator of the plane"))
    signed = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.i == self.j:
            raise ValueError(f"ActionRotation needs two different actuators, not {self.i} twice.")

    def matrix(self, strength: Strength, actions: int) -> tuple[np.ndarray, np.ndarray]:
        """The identity but for one plane."""
        rotation = np.eye(actions)
        cos, sin = np.cos(self.angle * strength), np.sin(self.angle * strength)
        plane = [self.i, self.j]
        rotation[np.ix_(plane, plane)] = [[cos, -sin], [sin, cos]]
        return rotation, np.zeros(actions)


@dataclass(frozen=True)
class ActionMixing(LinearShift):
    """The actuators do M·a: wires crossed, or a coupled transmission. At a strength s: (1 - s)·a + s·M·a."""

    rows: Numbers = field(metadata=number(low=-10.0, high=10.0, per="matrix", doc="the matrix M, a tuple of rows"))

    def matrix(self, strength: Strength, actions: int) -> tuple[np.ndarray, np.ndarray]:
        """Between the identity and M."""
        return np.eye(actions) + strength * (np.asarray(self.rows) - np.eye(actions)), np.zeros(actions)


@dataclass(frozen=True)
class ActionBias(LinearShift):
    """A constant is added to the command: a torque that pulls through the actuators, in their units."""

    bias: Numbers = field(
        default=0.2,
        metadata=number(low=-10.0, high=10.0, unit=_UNIT, per="actuator", doc="what is added, to all or to each"),
    )
    signed = True

    def matrix(self, strength: Strength, actions: int) -> tuple[np.ndarray, np.ndarray]:
        """The identity and an offset."""
        return np.eye(actions), np.broadcast_to(np.asarray(self.bias) * strength, actions).astype(np.float64)


@dataclass(frozen=True)
class LockedActuator(LinearShift):
    """Actuators ignore their command and put out a constant (0: no force). At a strength s: (1 - s)·a + s·value."""

    indices: Numbers = field(metadata=number(low=0, whole=True, per="index", doc="which actuators"))
    value: Number = field(default=0.0, metadata=number(low=-10.0, high=10.0, unit=_UNIT, doc="what they put out"))

    def matrix(self, strength: Strength, actions: int) -> tuple[np.ndarray, np.ndarray]:
        """A diagonal and an offset."""
        free, offset = np.ones(actions), np.zeros(actions)
        which = np.atleast_1d(np.asarray(self.indices))
        free[which] = 1.0 - strength
        offset[which] = strength * self.value
        return np.diag(free), offset


@dataclass(frozen=True)
class DeadZone(MemorylessShift):
    """Commands within width·strength of zero do nothing, larger ones lose as much: a gear's play, a stiff valve."""

    width: Numbers = field(
        default=0.2,
        metadata=number(low=0.0, high=10.0, unit=_UNIT, per="actuator", doc="half-width of the zone, for all or each"),
    )

    def distort(self, action: np.ndarray, strength: float) -> np.ndarray:
        """Soft threshold."""
        return np.sign(action) * np.maximum(np.abs(action) - np.asarray(self.width) * strength, 0.0)


@dataclass(frozen=True)
class Delay(RememberingShift):
    """The actuators get the command of some agent steps ago: round(steps·strength), halves up."""

    steps: Number = field(default=1, metadata=number(low=0, high=50, unit="agent steps", whole=True, doc="delay"))
    span = 51

    def recall(self, action: np.ndarray, strength: float, past: deque, rng: np.random.Generator) -> np.ndarray:
        """Remembers the commands."""
        past.append(action)
        return past[-1 - int(self.steps * strength + 0.5)]


@dataclass(frozen=True)
class StickyActuator(RememberingShift):
    """With a probability the actuators repeat, all together, what they did in the agent step before."""

    probability: Number = field(
        default=0.25, metadata=number(low=0.0, high=1.0, doc="probability of a repeat in each step, times the strength")
    )
    span = 1

    def recall(self, action: np.ndarray, strength: float, past: deque, rng: np.random.Generator) -> np.ndarray:
        """Remembers what was done."""
        done = past[-1] if rng.random() < self.probability * strength else action
        past.append(done)
        return done
