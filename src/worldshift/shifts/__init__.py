"""Shifts: a documented change of dynamics, body or sensors, placed in time by a schedule, on any Gymnasium environment.

`Shifted(make("walker-walk"), ActuatorGain(Uniform(-0.5, 0.5)), StepOnOff(), seed=0)` is the whole of it.
"""

from worldshift.shifts.actuation import (
    ActionBias,
    ActionMixing,
    ActionRotation,
    ActionSign,
    ActuatorGain,
    DeadZone,
    Delay,
    LockedActuator,
    StickyActuator,
)
from worldshift.shifts.apply import Shifted
from worldshift.shifts.body import BodyMass, ConstantTorque, ExternalWrench, Friction, Gravity, JointDamping
from worldshift.shifts.kinds import Composed, Shift
from worldshift.shifts.limb import LimbLength
from worldshift.shifts.looks import CameraPose, Colours, Lighting
from worldshift.shifts.parameters import Choice, Draw, LogUniform, Uniform, known_kinds
from worldshift.shifts.schedules import (
    Constant,
    FilteredNoise,
    LinearDrift,
    Moment,
    OrnsteinUhlenbeck,
    Schedule,
    Sinusoid,
    StepOnOff,
    TwoTone,
)
from worldshift.shifts.sensing import DroppedChannel, ObservationBias, ObservationNoise

__all__ = [
    "ActionBias",
    "ActionMixing",
    "ActionRotation",
    "ActionSign",
    "ActuatorGain",
    "BodyMass",
    "CameraPose",
    "Choice",
    "Colours",
    "Composed",
    "Constant",
    "ConstantTorque",
    "DeadZone",
    "Delay",
    "Draw",
    "DroppedChannel",
    "ExternalWrench",
    "FilteredNoise",
    "Friction",
    "Gravity",
    "JointDamping",
    "Lighting",
    "LimbLength",
    "LinearDrift",
    "LockedActuator",
    "LogUniform",
    "Moment",
    "ObservationBias",
    "ObservationNoise",
    "OrnsteinUhlenbeck",
    "Schedule",
    "Shift",
    "Shifted",
    "Sinusoid",
    "StepOnOff",
    "StickyActuator",
    "TwoTone",
    "Uniform",
    "known_kinds",
]
