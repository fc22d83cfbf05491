"""What studies of online adaptation compare.

Fault numbers start at 1000: none of them was ever used to tune anything.
"""

import math
from collections.abc import Callable, Sequence

from worldshift.run.online.methods import GAINS, PLANNED, SPACED, VARIANTS
from worldshift.run.online.protocol import Protocol
from worldshift.shifts import (
    ActionBias,
    ActionRotation,
    ActionSign,
    ActuatorGain,
    BodyMass,
    ConstantTorque,
    DeadZone,
    Delay,
    DroppedChannel,
    ExternalWrench,
    FilteredNoise,
    Friction,
    Gravity,
    JointDamping,
    LimbLength,
    LockedActuator,
    ObservationBias,
    ObservationNoise,
    Shift,
    StickyActuator,
    Uniform,
)
from worldshift.studies.action_cost import ActionCostStudy
from worldshift.studies.agents import AgentStudy
from worldshift.studies.cycles import CyclesStudy
from worldshift.studies.levels import Level
from worldshift.studies.lives import LivesStudy
from worldshift.studies.magnitude import MagnitudeStudy
from worldshift.studies.mechanism import MechanismStudy
from worldshift.studies.paper_table import PaperTableStudy
from worldshift.studies.point_mass import PointMassStudy
from worldshift.studies.sweeps import SweepStudy

WALKERS = ("walker-walk-1", "walker-walk-2", "walker-walk-3")
CHEETAHS, CUPS = ("cheetah-run-1", "cheetah-run-2"), ("cup-catch-1", "cup-catch-2")
RANDOMISED = "walker-walk-randomised-1"
"""Trained under random gains."""
COSTLESS, QUADRATIC = "walker-walk-no-cost-2", "walker-walk-quadratic-cost-2"
"""Trained without a cost on their actions, and with a plain quadratic one: the seed of the one with the usual cost."""
FIRST_FAULT = 1000
_PAPERS_DRIFT = 20_000
"""Agent steps: cut-off period of the noise that RWM's first author drifts gains with."""
_SPEEDS = tuple(
    Level(
        "gains drift",
        name,
        speed,
        ActuatorGain(p=1.0),
        FilteredNoise(period=_PAPERS_DRIFT / speed),
        steps,
    )
    for name, speed, steps in (("the paper's speed", 1.0, 20_000), ("10 x", 10.0, 10_000), ("100 x", 100.0, 6_000))
)
_SIZES = tuple(
    Level("gains up to", f"{p:.1f}", p, ActuatorGain(Uniform(-p, p)))
    for p in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
)


def _kind(kind: str, shifts: Sequence[Shift], names: Sequence[str]) -> tuple[Level, ...]:
    """A kind of change at growing severity, 1 to 5."""
    return tuple(
        Level(kind, name, float(i), shift) for i, (shift, name) in enumerate(zip(shifts, names, strict=True), 1)
    )


def _scaled(kind: str, values: Sequence[float], make: Callable[[float], Shift], words: str) -> tuple[Level, ...]:
    return _kind(kind, [make(v) for v in values], [words.format(v) for v in values])


_LEGS, _MOTORS = ("right_leg", "left_leg"), ("right ankle", "right knee", "right hip", "both ankles", "both knees")
_AT = ((2,), (1,), (0,), (2, 5), (1, 4))
_KINDS = (
    *_scaled("body mass", (1.1, 1.25, 1.5, 1.75, 2.0), lambda v: BodyMass(scale=v), "x {}"),
    *_scaled("legs longer", (1.05, 1.1, 1.2, 1.3, 1.4), lambda v: LimbLength(bodies=_LEGS, scale=v), "x {}"),
    *_scaled("joint damping", (2.0, 4.0, 8.0, 16.0, 32.0), lambda v: JointDamping(scale=v), "x {:.0f}"),
    *_scaled("friction", (0.8, 0.6, 0.4, 0.2, 0.1), lambda v: Friction(scale=v), "x {}"),
    *_scaled("gravity", (1.1, 1.2, 1.4, 1.6, 1.8), lambda v: Gravity(scale=v), "x {}"),
    *_scaled("slope", (0.05, 0.1, 0.15, 0.2, 0.3), lambda v: Gravity(tilt=v), "{} rad"),
    *_scaled("wind", (-10.0, -20.0, -40.0, -60.0, -80.0), lambda v: ExternalWrench("torso", (v, 0.0, 0.0)), "{:.0f} N"),
    *_scaled(
        "torque on a knee", (5.0, 10.0, 20.0, 30.0, 40.0), lambda v: ConstantTorque(("right_knee",), v), "{:.0f} N·m"
    ),
    *_scaled("delay", (1, 2, 3, 4, 5), lambda v: Delay(steps=int(v)), "{} steps"),
    *_scaled("dead zone", (0.05, 0.1, 0.2, 0.3, 0.4), lambda v: DeadZone(width=v), "{}"),
    *_scaled("sticky motors", (0.1, 0.2, 0.3, 0.4, 0.5), lambda v: StickyActuator(probability=v), "{}"),
    *_scaled("motors push", (0.05, 0.1, 0.2, 0.3, 0.4), lambda v: ActionBias(bias=v), "{}"),
    *_scaled("hip and knee coupled", (0.1, 0.2, 0.4, 0.6, 0.8), lambda v: ActionRotation(angle=v), "{} rad"),
    *_kind("motor dead", [LockedActuator(indices=at) for at in _AT], _MOTORS),
    *_kind("motor reversed", [ActionSign(indices=at) for at in _AT], _MOTORS),
    *_scaled("sensor noise", (0.02, 0.05, 0.1, 0.2, 0.4), lambda v: ObservationNoise(std=v), "{}"),
    *_scaled("sensor bias", (0.02, 0.05, 0.1, 0.2, 0.4), lambda v: ObservationBias(bias=v), "{}"),
    *_kind(
        "channels read 0",
        [DroppedChannel(channels=at) for at in ((14,), (18,), (2, 3), (18, 19, 20), tuple(range(15, 24)))],
        ("height", "a joint's velocity", "a thigh's angle", "a leg's velocities", "all velocities"),
    ),
)
"""Every kind of change that the library has for a walker of states, but for gains, at five severities."""

REFLEX_STUDIES = (
    AgentStudy(
        "base-agents",
        "20 episodes of each shipped agent, and its training curve beside the official scores",
        (*WALKERS, RANDOMISED, COSTLESS, QUADRATIC, *CUPS, *CHEETAHS, "hopper-hop-2"),
    ),
    PointMassStudy(
        "point-mass",
        "a point mass whose actions are turned by 45 degrees, left, then right, then left again",
        ("point-mass-1",),
        ("frozen", "paper", "fast", "fast, coupled", "layered", "oracle"),
        Protocol(nominal=10_000, on=10_000, off=10_000, cycles=3, episode_steps=200, offset=0, block=200),
        ActionRotation(angle=math.pi / 4),
        seeds=tuple(range(FIRST_FAULT + 800, FIRST_FAULT + 805)),
    ),
    LivesStudy(
        "step-gains",
        "each motor's strength changes by up to a half at once: 20 fault draws x 2 seeds on each agent",
        (*WALKERS, *CHEETAHS, *CUPS, "hopper-hop-2"),
        ("nominal", "frozen", "l1", "rma", "fast", "layered", "oracle"),
        Protocol(nominal=500, on=1500, off=600),
        GAINS,
        faults=tuple(range(FIRST_FAULT, FIRST_FAULT + 20)),
        seeds=(2000, 2001),
    ),
    LivesStudy(
        "delays",
        "commands that begin to arrive one to four steps late: 12 draws on each body",
        (WALKERS[1], "cheetah-run-1", "cup-catch-1"),
        ("nominal", "frozen", "fast", "layered"),
        Protocol(nominal=500, on=1000, off=500),
        Delay(steps=Uniform(1, 4)),
        faults=tuple(range(FIRST_FAULT + 1300, FIRST_FAULT + 1312)),
        seeds=(3300,),
    ),
    LivesStudy(
        "no-shift",
        "nothing is wrong: what adapting costs a healthy walker",
        WALKERS,
        ("frozen", "fast", "layered"),
        Protocol(nominal=2500, on=0, off=0),
        seeds=tuple(range(3000, 3016)),
    ),
    PaperTableStudy(
        "paper-table",
        "RWM's tables 2 and 4 and its figure 2 beside ours: 75 episodes under changed gains, 20 draws on each body",
        (WALKERS[1], "cheetah-run-1", "hopper-hop-2", "cup-catch-1"),
        ("nominal", "frozen", "published", "paper", "paper, on the way", "fast", "oracle"),
        Protocol(nominal=1_000, on=15_000, off=4_000, episode_steps=200, offset=0, block=200),
        GAINS,
        faults=tuple(range(FIRST_FAULT + 1400, FIRST_FAULT + 1420)),
        seeds=tuple(range(3400, 3420)),
    ),
    ActionCostStudy(
        "action-cost",
        "whether an agent has to be trained with a cost on its actions, and what room for corrections is worth",
        (WALKERS[1], QUADRATIC, COSTLESS),
        ("nominal", "frozen", "fast", "fast, no headroom", "oracle", "oracle, no headroom"),
        Protocol(nominal=500, on=1500, off=0),
        GAINS,
        faults=tuple(range(FIRST_FAULT + 1200, FIRST_FAULT + 1220)),
        seeds=(3200,),
    ),
    LivesStudy(
        "update-laws",
        "RWM's reflex with one thing changed: horizon, what the correction sees, its gradient, when it learns",
        WALKERS[1:2],
        ("nominal", "frozen", "paper", *VARIANTS),
        Protocol(nominal=1_000, on=15_000, off=0, episode_steps=200, offset=0, block=200),
        GAINS,
        faults=tuple(range(FIRST_FAULT + 700, FIRST_FAULT + 710)),
        seeds=(2700,),
    ),
    LivesStudy(
        "latents",
        "where errors are measured: the agent's latent, that of an untrained encoder, or the observation itself",
        WALKERS[1:2],
        ("nominal", "frozen", "paper", "fast", *SPACED, "oracle"),
        Protocol(nominal=400, on=10_000, off=0, episode_steps=200, offset=0, block=200),
        GAINS,
        faults=tuple(range(FIRST_FAULT + 1100, FIRST_FAULT + 1106)),
        seeds=(3100,),
    ),
    LivesStudy(
        "finetune",
        "RWM's baselines: training on for three minutes of a changed body, and training under random gains before",
        (WALKERS[1], RANDOMISED, "cheetah-run-1", "hopper-hop-2", "cup-catch-1"),
        ("nominal", "frozen", "finetune", "finetune, kept buffer", "rma", "fast", "oracle"),
        Protocol(nominal=400, on=3_600, off=0, episode_steps=200, offset=0, block=200),
        GAINS,
        faults=tuple(range(FIRST_FAULT + 900, FIRST_FAULT + 905)),
        seeds=(2900,),
    ),
    LivesStudy(
        "planner",
        "the planner on and off under the reflex: base actions by MPPI, or by the policy alone",
        WALKERS[1:2],
        ("nominal", "frozen", "fast", *PLANNED),
        Protocol(nominal=200, on=500, off=0),
        GAINS,
        faults=tuple(range(FIRST_FAULT + 1000, FIRST_FAULT + 1006)),
        seeds=(3000,),
    ),
    MechanismStudy(
        "mechanism",
        "how a reflex works: a walker's right knee, whose motor is at half of its strength from 0 s on",
        WALKERS[1:2],
        ("frozen", "fast"),
        Protocol(nominal=300, on=300, off=0),
        ActuatorGain(p=(0.0, -0.5, 0.0, 0.0, 0.0, 0.0)),
        actuator=1,
        channel=19,
        seed=FIRST_FAULT + 600,
    ),
    SweepStudy(
        "drift",
        "gains that never stop drifting: RWM's filtered noise, at its speed, and ten and a hundred times as fast",
        WALKERS[1:2],
        ("nominal", "frozen", "paper", "fast", "layered", "oracle"),
        Protocol(nominal=0, on=20_000, off=0, episode_steps=200, offset=0, block=200),
        _SPEEDS,
        lives=tuple(range(FIRST_FAULT + 200, FIRST_FAULT + 210)),
        axis="speed",
        logarithmic=True,
        except_at=(("paper", _SPEEDS[2].key),),
    ),
    MagnitudeStudy(
        "magnitude",
        "how large a change of gains may be: each motor's drawn from up to p weaker or stronger",
        ("walker-walk-2",),
        ("nominal", "frozen", "fast", "layered", "oracle"),
        Protocol(nominal=300, on=1000, off=0),
        _SIZES,
        lives=tuple(range(FIRST_FAULT + 300, FIRST_FAULT + 320)),
        axis="largest change p",
    ),
    CyclesStudy(
        "after-effects",
        "the same change of gains comes and goes twenty times: does anything pile up, and is it learned sooner again",
        ("walker-walk-2",),
        ("nominal", "frozen", "fast", "layered"),
        Protocol(nominal=400, on=400, off=400, cycles=20, redraw=False),
        GAINS,
        faults=tuple(range(FIRST_FAULT + 400, FIRST_FAULT + 420)),
        seeds=tuple(range(2500, 2520)),
    ),
    SweepStudy(
        "beyond-gains",
        "every kind of change of dynamics and sensors at five severities: what reflexes recover, and what harm they do",
        ("walker-walk-2",),
        ("nominal", "frozen", "rma", "fast", "fast, cautious", "layered"),
        Protocol(nominal=200, on=1000, off=0, block=50),
        _KINDS,
        lives=tuple(range(FIRST_FAULT + 500, FIRST_FAULT + 506)),
    ),
)
