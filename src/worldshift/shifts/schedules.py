"""When a shift acts and how strongly: functions of the agent step, which goes on counting across episodes.

Step gains, filtered noise and the Ornstein-Uhlenbeck walk are those of RWM (arXiv 2505.15589, section 5) and its first
author's fork; amplitudes that the paper does not give are ours. All are deterministic in (seed, step).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
from scipy import signal

from worldshift.shifts.parameters import Number, Numbers, Record, flag, number, word


class Moment(NamedTuple):
    """What a schedule says of one agent step."""

    strength: float | np.ndarray
    """0: nominal, 1: the shift as written; an array (A,) from schedules that move each actuator by itself."""
    phase: int
    """Random shifts are drawn anew whenever this changes."""


Course = Callable[[int, int], Moment]
"""(agent step, episode) -> moment; steps from 0, episodes from 0."""


class Schedule(Record, ABC):
    """When a shift acts. `course(seed, actuators)` gives the function of time."""

    per_actuator: ClassVar[bool] = False
    """Whether each actuator has a strength of its own."""

    @abstractmethod
    def course(self, seed: int = 0, actuators: int = 1) -> Course:
        """The schedule as a function of the agent step (and the episode, both from 0)."""

    @property
    @abstractmethod
    def span(self) -> tuple[float, float]:
        """The lowest and the highest strength that can occur."""


@dataclass(frozen=True)
class Constant(Schedule):
    """Always the same strength."""

    strength: Number = field(default=1.0, metadata=number(doc="the strength"))

    @property
    def span(self) -> tuple[float, float]:
        """One value."""
        return (self.strength, self.strength)

    def course(self, seed: int = 0, actuators: int = 1) -> Course:
        """Constant."""
        moment = Moment(self.strength, 0)
        return lambda step, episode: moment


@dataclass(frozen=True)
class StepOnOff(Schedule):
    """Off until `start`, then on and off by turns. Random shifts are drawn anew for each ON phase.

    RWM's protocol is 15 000 steps (75 episodes of 200) on, as many off. `StepOnOff(0, 1, 0, "episodes")` draws anew for
    each episode. The phase is that of the latest ON, from 0; before the first one it is 0 already.
    """

    start: Number = field(
        default=15_000,
        metadata=number(low=0, unit="agent steps or episodes", whole=True, doc="when it is first switched on"),
    )
    on: Number = field(
        default=15_000, metadata=number(low=1, unit="agent steps or episodes", whole=True, doc="how long it stays on")
    )
    off: Number = field(
        default=15_000,
        metadata=number(low=0, unit="agent steps or episodes", whole=True, doc="how long it then stays off"),
    )
    unit: str = field(default="steps", metadata=word(among=("steps", "episodes"), doc="what start, on and off count"))
    alternate: bool = field(default=False, metadata=flag("every second time the opposite: strength -1"))

    @property
    def span(self) -> tuple[float, float]:
        """Off and on."""
        return (-1.0 if self.alternate else 0.0, 1.0)

    def course(self, seed: int = 0, actuators: int = 1) -> Course:
        """Rectangular."""
        start, on, cycle, by_step = self.start, self.on, self.on + self.off, self.unit == "steps"
        back = -1.0 if self.alternate else 1.0

        def at(step: int, episode: int) -> Moment:
            phase, since = divmod((step if by_step else episode) - start, cycle)
            if phase < 0 or since >= on:
                return Moment(0.0, max(phase, 0))
            return Moment(back if phase % 2 else 1.0, phase)

        return at


@dataclass(frozen=True)
class LinearDrift(Schedule):
    """A slow change: `begin` until `start`, then straight to `end` in `steps`, and there it stays."""

    steps: Number = field(
        default=50_000, metadata=number(low=1, unit="agent steps", whole=True, doc="how long the change takes")
    )
    start: Number = field(default=0, metadata=number(low=0, unit="agent steps", whole=True, doc="when it begins"))
    begin: Number = field(default=0.0, metadata=number(doc="strength before"))
    end: Number = field(default=1.0, metadata=number(doc="strength after"))

    @property
    def span(self) -> tuple[float, float]:
        """Both ends."""
        return (min(self.begin, self.end), max(self.begin, self.end))

    def course(self, seed: int = 0, actuators: int = 1) -> Course:
        """A ramp."""

        def at(step: int, episode: int) -> Moment:
            share = min(max((step - self.start) / self.steps, 0.0), 1.0)
            return Moment(self.begin * (1.0 - share) + self.end * share, 0)

        return at


@dataclass(frozen=True)
class Sinusoid(Schedule):
    """mean + amplitude·sin(2π·t/period + phase)."""

    period: Number = field(default=80_000, metadata=number(low=2, unit="agent steps", doc="length of a cycle"))
    mean: Number = field(default=0.5, metadata=number(doc="strength about which it swings"))
    amplitude: Number = field(default=0.5, metadata=number(low=0.0, doc="how far it swings"))
    phase: Number = field(
        default=-np.pi / 2, metadata=number(unit="rad", doc="where in the cycle it starts; -pi/2: at the lowest point")
    )

    @property
    def span(self) -> tuple[float, float]:
        """Mean minus and plus amplitude."""
        return (self.mean - self.amplitude, self.mean + self.amplitude)

    def course(self, seed: int = 0, actuators: int = 1) -> Course:
        """A sine."""
        rate = 2.0 * np.pi / self.period
        return lambda step, episode: Moment(self.mean + self.amplitude * float(np.sin(rate * step + self.phase)), 0)


@dataclass(frozen=True)
class TwoTone(Schedule):
    """mean + Σ amplitude·sin(2π·t/period): a smooth change without chance, for gains `ActuatorGain(p=1)`.

    As it stands it is p(t) = -0.2 + 0.2 sin(2πt/80k) + 0.1 sin(2πt/40k), read off RWM's figure 3.
    """

    mean: Number = field(default=-0.2, metadata=number(doc="strength about which it swings"))
    amplitudes: Numbers = field(default=(0.2, 0.1), metadata=number(low=0.0, per=2, doc="how far each tone swings"))
    periods: Numbers = field(
        default=(80_000, 40_000), metadata=number(low=2, unit="agent steps", per=2, doc="length of each tone's cycle")
    )

    @property
    def span(self) -> tuple[float, float]:
        """Mean minus and plus both amplitudes: never left, not always reached."""
        return (self.mean - sum(self.amplitudes), self.mean + sum(self.amplitudes))

    def course(self, seed: int = 0, actuators: int = 1) -> Course:
        """Two sines."""
        amplitudes, rates = np.asarray(self.amplitudes), 2.0 * np.pi / np.asarray(self.periods)
        return lambda step, episode: Moment(self.mean + float(amplitudes @ np.sin(rates * step)), 0)


@dataclass(frozen=True)
class FilteredNoise(Schedule):
    """Smooth noise for each actuator by itself, for gains `ActuatorGain(p=1)`: the fork's non-stationary perturbation.

    White noise through a 5th-order Butterworth low-pass, scaled to standard deviation `sigma`, clipped to ±`clip`. The
    fork draws a table of 200 000 steps and rescales it by its own deviation; here the deviation is the filter's own
    (stationary from step 0 on) and there is no end.
    """

    sigma: Number = field(default=0.3, metadata=number(low=0.0, high=10.0, doc="standard deviation of the strength"))
    period: Number = field(
        default=20_000,
        metadata=number(low=20, unit="agent steps", doc="cut-off: nothing much faster than one cycle in this time"),
    )
    clip: Number = field(default=0.7, metadata=number(low=0.0, high=10.0, doc="largest strength, either way"))
    per_actuator = True

    @property
    def span(self) -> tuple[float, float]:
        """Minus and plus clip."""
        return (-self.clip, self.clip)

    def course(self, seed: int = 0, actuators: int = 1) -> Course:
        """Straight lines between samples, 1000 to a period."""
        per_period, order = 1000, 5
        spacing = self.period / per_period
        sections = np.asarray(signal.butter(order, 1.0 / per_period, output="sos", fs=1.0))
        noise = _Filtered(sections, seed, actuators, settle=5 * per_period)

        def at(step: int, episode: int) -> Moment:
            place, between = divmod(step / spacing, 1.0)
            value = (1.0 - between) * noise[int(place)] + between * noise[int(place) + 1]
            return Moment(np.clip(self.sigma * value, -self.clip, self.clip), 0)

        return at


@dataclass(frozen=True)
class OrnsteinUhlenbeck(Schedule):
    """A random walk pulled back to nominal, for each actuator by itself, for gains `ActuatorGain(p=1)`.

    x ← e^(-theta)·x + sigma·√(1 - e^(-2·theta))·ε every `every` steps, clipped where it is read. Here sigma is the
    deviation of x itself, from step 0 on (were it that of a single update, x would have 2.1).
    """

    theta: Number = field(default=0.01, metadata=number(low=1e-6, high=10.0, unit="per update", doc="rate of the pull"))
    sigma: Number = field(default=0.3, metadata=number(low=0.0, high=10.0, doc="standard deviation of the strength"))
    every: Number = field(
        default=200,
        metadata=number(low=1, unit="agent steps", whole=True, doc="steps between updates (200: RWM's episode)"),
    )
    clip: Number = field(default=0.7, metadata=number(low=0.0, high=10.0, doc="largest strength, either way"))
    per_actuator = True

    @property
    def span(self) -> tuple[float, float]:
        """Minus and plus clip."""
        return (-self.clip, self.clip)

    def course(self, seed: int = 0, actuators: int = 1) -> Course:
        """Piecewise constant."""
        keep = float(np.exp(-self.theta))
        sections = np.array([[1.0, 0.0, 0.0, 1.0, -keep, 0.0]])
        noise = _Filtered(sections, seed, actuators, settle=int(np.ceil(10 / self.theta)))

        def at(step: int, episode: int) -> Moment:
            return Moment(np.clip(self.sigma * noise[step // self.every], -self.clip, self.clip), 0)

        return at


class _Filtered:
    """White noise through a stable filter, at unit variance. Sample i, (A,), is the same in any order of reading."""

    block = 4096

    def __init__(self, sections: np.ndarray, seed: int, channels: int, settle: int):
        """`sections`: second-order sections; `settle`: samples after which the filter has forgotten its start."""
        self._sections, self._channels = sections, channels
        self._rng = np.random.default_rng([seed, 1])
        self._state = np.zeros((len(sections), 2, channels))
        impulse = np.zeros(2 * settle)
        impulse[0] = 1.0
        self._scale = 1.0 / np.linalg.norm(signal.sosfilt(sections, impulse))
        self._blocks: list[np.ndarray] = []
        self._filter(settle)

    def _filter(self, samples: int) -> np.ndarray:
        white = self._rng.standard_normal((samples, self._channels))
        smooth, self._state = signal.sosfilt(self._sections, white, axis=0, zi=self._state)
        return self._scale * smooth

    def __getitem__(self, index: int) -> np.ndarray:
        block, offset = divmod(index, self.block)
        while len(self._blocks) <= block:
            self._blocks.append(self._filter(self.block))
        return self._blocks[block][offset]
