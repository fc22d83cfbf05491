"""Shifts of the observation: the body is as it was, and its sensors are not.

They never change what the environment itself sees, nor the reward. Noise comes from the wrapper's own seeded stream.
"""

from dataclasses import dataclass, field

import numpy as np

from worldshift.shifts.kinds import SensorShift
from worldshift.shifts.parameters import Flag, Number, Numbers, flag, number

_WHICH = "which observation channels; none named: all of them"


def _selected(channels: tuple[int, ...]) -> list[int] | slice:
    return list(channels) if channels else slice(None)


@dataclass(frozen=True)
class ObservationNoise(SensorShift):
    """Gaussian noise on the readings, independent in each channel and step, of standard deviation std·strength."""

    std: Numbers = field(
        default=0.1,
        metadata=number(low=0.0, high=1e6, unit="of the channel's unit", per="channel", doc="for all or for each"),
    )
    relative: Flag = field(default=False, metadata=flag(doc="std is a share of the reading's own size instead"))
    channels: Numbers = field(default=(), metadata=number(low=0, whole=True, per="index", doc=_WHICH))

    def sense(self, observation: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
        """Adds the noise."""
        reading, which = observation.copy(), _selected(self.channels)
        std = strength * np.asarray(self.std) * (np.abs(observation[which]) if self.relative else 1.0)
        reading[which] += std * rng.standard_normal(observation[which].shape)
        return reading


@dataclass(frozen=True)
class ObservationBias(SensorShift):
    """Readings are off by bias·strength: a badly calibrated sensor."""

    bias: Numbers = field(
        default=0.1,
        metadata=number(low=-1e6, high=1e6, unit="of the channel's unit", per="channel", doc="for all or for each"),
    )
    channels: Numbers = field(default=(), metadata=number(low=0, whole=True, per="index", doc=_WHICH))
    signed = True

    def sense(self, observation: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
        """Adds the bias."""
        reading = observation.copy()
        reading[_selected(self.channels)] += strength * np.asarray(self.bias)
        return reading


@dataclass(frozen=True)
class DroppedChannel(SensorShift):
    """Channels read a constant. All or nothing: from strength 0.5 on."""

    channels: Numbers = field(metadata=number(low=0, whole=True, per="index", doc="which observation channels"))
    fill: Number = field(
        default=0.0, metadata=number(low=-1e6, high=1e6, unit="of the channel's unit", doc="what they read")
    )

    def sense(self, observation: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
        """Overwrites the channels."""
        reading = observation.copy()
        if strength >= 0.5:
            reading[list(np.atleast_1d(self.channels))] = self.fill
        return reading
