"""What studies of online adaptation compare.

Fault numbers start at 1000: none of them was ever used to tune anything.
"""

from worldshift.run.methods import GAINS
from worldshift.run.protocol import Protocol
from worldshift.shifts import (
    BodyMass,
    Delay,
    ExternalWrench,
    Friction,
    Gravity,
    JointDamping,
    LimbLength,
)
from worldshift.studies.agents import AgentStudy
from worldshift.studies.kinds import KindsStudy
from worldshift.studies.lives import LivesStudy

WALKERS = ("walker-walk-1", "walker-walk-2", "walker-walk-3")
FIRST_FAULT = 1000
UNMATCHED = (
    ("body mass x 1.5", BodyMass(scale=1.5)),
    ("legs 25 % longer", LimbLength(bodies=("right_leg", "left_leg"), scale=1.25)),
    ("gravity x 1.4", Gravity(scale=1.4)),
    ("delay of one step", Delay(steps=1)),
    ("wind of -40 N", ExternalWrench(body="torso", force=(-40.0, 0.0, 0.0))),
    ("damping x 3", JointDamping(scale=3.0)),
    ("friction x 0.4", Friction(scale=0.4)),
)
"""Changes of the walker that no map of its actions undoes exactly."""

REFLEX_STUDIES = (
    AgentStudy(
        "base-agents",
        "20 episodes of each shipped agent, and its training curve beside the official scores",
        (*WALKERS, "cup-catch-1", "cheetah-run-1"),
    ),
    LivesStudy(
        "fast-gains",
        "step gains on walkers: 20 fault draws x 2 seeds on each agent",
        WALKERS,
        ("nominal", "frozen", "fast", "layered", "oracle"),
        Protocol(nominal=500, on=1500, off=600),
        GAINS,
        faults=tuple(range(FIRST_FAULT, FIRST_FAULT + 20)),
        seeds=(2000, 2001),
    ),
    LivesStudy(
        "no-shift",
        "nothing is wrong: what adapting costs a healthy walker",
        WALKERS,
        ("frozen", "fast", "layered"),
        Protocol(nominal=2500, on=0, off=0),
        seeds=tuple(range(3000, 3016)),
    ),
    LivesStudy(
        "paper-gains",
        "RWM's protocol: 75 episodes of 200 steps on, 75 off, 5 bodies each with a draw of its own",
        WALKERS[1:],
        ("nominal", "frozen", "paper", "published", "fast", "oracle"),
        Protocol(nominal=1_000, on=15_000, off=15_000, episode_steps=200, offset=0, block=200),
        GAINS,
        faults=tuple(range(FIRST_FAULT + 100, FIRST_FAULT + 105)),
        seeds=(2100,),
    ),
    KindsStudy(
        "unmatched",
        "changes that no action undoes exactly: what the fast reflex makes of them, and the layered one",
        ("walker-walk-2",),
        ("frozen", "fast", "layered"),
        Protocol(nominal=200, on=2000, off=0),
        UNMATCHED,
        seeds=tuple(range(2200, 2206)),
    ),
)
