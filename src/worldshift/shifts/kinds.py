"""What a shift is: a change of dynamics, body or sensors, with a strength between nominal (0) and full (1).

Sorts, by where they act: the action (linear, memoryless or with memory), forces, the model, the observation.
The kinds themselves are in `actuation`, `body`, `limb` and `sensing`; `apply.Shifted` lets them act on an environment.
"""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple, TypeVar

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces

from worldshift.shifts.parameters import Record
from worldshift.shifts.simulator import simulator

Strength = float | np.ndarray
"""How far from nominal: one number, or one per actuator (A,) for kinds with `per_actuator`."""


_S = TypeVar("_S", bound="Shift")


class Plant(NamedTuple):
    """What a shift meets. None: there is no such thing (discrete actions, no flat observation, no MuJoCo)."""

    name: str
    actions: int | None
    channels: int | None
    model: mujoco.MjModel | None

    @classmethod
    def of(cls, env: gymnasium.Env) -> "Plant":
        """Looks at an environment."""
        body = simulator(env)
        sizes = (_flat_size(env.action_space), _flat_size(env.observation_space))
        return cls(type(env.unwrapped).__name__, *sizes, None if body is None else body[0])


def _flat_size(space: spaces.Space) -> int | None:
    flat = isinstance(space, spaces.Box) and len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating)
    return space.shape[0] if flat else None  # pyright: ignore[reportOptionalSubscript]


class Shift(Record, ABC):
    """A change from nominal. `a + b` is both, a first."""

    takes_draws = True
    level: ClassVar[str]
    """Where it acts: action, force, model or observation."""
    signed: ClassVar[bool] = False
    """Whether any real strength makes sense (a gain, a force); otherwise strengths lie in [0, 1]."""
    per_actuator: ClassVar[bool] = False
    """Whether it takes one strength per actuator."""

    @property
    def parts(self) -> tuple["Shift", ...]:
        """The single shifts that this one is made of, in the order in which they act."""
        return (self,)

    @property
    def levels(self) -> frozenset[str]:
        """Where its parts act."""
        return frozenset(part.level for part in self.parts)

    def draw(self: _S, rng: np.random.Generator, env: gymnasium.Env) -> _S:
        """The shift with every `Uniform(...)` and the like replaced by a value, sized for `env`."""
        plant = Plant.of(env)
        counts = {"actuator": plant.actions, "channel": plant.channels, "joint": len(getattr(self, "joints", ()))}
        return self.drawn(rng, {k: v for k, v in counts.items() if v is not None})

    @abstractmethod
    def check(self, plant: Plant) -> None:
        """Raises ValueError, in a sentence, if the shift does not fit the environment."""

    def __add__(self, other: "Shift") -> "Composed":
        if not isinstance(other, Shift):
            return NotImplemented
        return Composed((*self.parts, *other.parts))


@dataclass(frozen=True)
class Composed(Shift):
    """Several shifts at once; those of one level act in order, the first on the command (or on the true reading)."""

    shifts: tuple[Any, ...]
    level = "several"

    def __post_init__(self) -> None:
        shifts = tuple(self.shifts)
        if not shifts or not all(isinstance(s, Shift) for s in shifts):
            raise ValueError("Composed needs a sequence of at least one shift.")
        object.__setattr__(self, "shifts", tuple(part for s in shifts for part in s.parts))

    @property
    def parts(self) -> tuple[Shift, ...]:
        """The single shifts."""
        return self.shifts

    @property
    def is_random(self) -> bool:
        """Whether any part has a draw in it."""
        return any(part.is_random for part in self.parts)

    def draw(self, rng: np.random.Generator, env: gymnasium.Env) -> "Composed":
        """Draws each part in order."""
        return Composed(tuple(part.draw(rng, env) for part in self.parts))

    def check(self, plant: Plant) -> None:
        """Checks each part."""
        for part in self.parts:
            part.check(plant)


class ActionShift(Shift):
    """Acts between the command (already clipped to the action space) and the actuators."""

    level = "action"

    def check(self, plant: Plant) -> None:
        """Needs continuous actions, and a parameter of the right length for them."""
        if plant.actions is None:
            raise ValueError(f"{type(self).__name__} needs a flat Box of actions, which {plant.name} does not have.")
        self.check_actions(plant.actions)

    def check_actions(self, actions: int) -> None:
        """Raises ValueError if indices or lengths do not fit that many actuators."""
        for f in fields(self):
            name, value, per = f.name, getattr(self, f.name), f.metadata.get("per")
            if per in ("actuator", "matrix") and isinstance(value, tuple) and len(value) != actions:
                what = "rows" if per == "matrix" else "numbers"
                raise ValueError(
                    f"{type(self).__name__}.{name} has {len(value)} {what}, but there are {actions} actuators."
                )
            if per == "index":
                check_indices(f"{type(self).__name__}.{name}", value, actions, "actuators")


class LinearShift(ActionShift):
    """The actuators do M·a + b."""

    @abstractmethod
    def matrix(self, strength: Strength, actions: int) -> tuple[np.ndarray, np.ndarray]:
        """M (A, A) and b (A,)."""


class MemorylessShift(ActionShift):
    """The actuators do a function of the command that is not linear."""

    @abstractmethod
    def distort(self, action: np.ndarray, strength: float) -> np.ndarray:
        """What the actuators do with this command, (A,) to (A,)."""


class RememberingShift(ActionShift):
    """What the actuators do depends on earlier commands of the episode, too."""

    span: ClassVar[int]
    """How many steps are remembered; before the episode's first command the memory holds commands of zero."""

    @abstractmethod
    def recall(self, action: np.ndarray, strength: float, past: deque, rng: np.random.Generator) -> np.ndarray:
        """What the actuators do now. Writes into `past` what later steps need. Called each step, also at strength 0."""


class ForceShift(Shift):
    """Pushes on the body during each agent step; nothing stays in the simulator's state between steps."""

    level = "force"
    signed = True

    def check(self, plant: Plant) -> None:
        """Needs MuJoCo, and the named things in the model."""
        self.check_model(required_model(self, plant))

    @abstractmethod
    def check_model(self, model: mujoco.MjModel) -> None:
        """Raises ValueError if the model lacks what is named."""

    @abstractmethod
    def push(self, model: mujoco.MjModel, strength: float, wrench: np.ndarray, torque: np.ndarray) -> None:
        """Adds to the wrench on each body, (bodies, 6) in N and N·m, and to the force on each joint axis, (dofs,)."""


class ModelShift(Shift):
    """Edits the live MuJoCo model, in memory."""

    level = "model"
    writes: ClassVar[tuple[str, ...]]
    """The model's arrays that `edit` writes."""
    derives: ClassVar[bool] = False
    """Whether quantities that MuJoCo derives from those arrays have to be computed anew."""

    def check(self, plant: Plant) -> None:
        """Needs MuJoCo, and the named things in the model."""
        self.check_model(required_model(self, plant))

    @abstractmethod
    def check_model(self, model: mujoco.MjModel) -> None:
        """Raises ValueError if the model lacks what is named."""

    @abstractmethod
    def edit(self, model: mujoco.MjModel, strength: float) -> None:
        """Writes the change into a nominal model."""


class SensorShift(Shift):
    """Acts between the true observation and the one that the agent gets."""

    level = "observation"

    def check(self, plant: Plant) -> None:
        """Needs a flat observation, and parameters of the right length for it."""
        kind = type(self).__name__
        if plant.channels is None:
            raise ValueError(f"{kind} needs a flat Box of observations, which {plant.name} does not have.")
        channels = np.atleast_1d(getattr(self, "channels", ())).tolist()
        check_indices(f"{kind}.channels", tuple(channels), plant.channels, "observation channels")
        for f in fields(self):
            value, needed = getattr(self, f.name), len(channels) or plant.channels
            if f.metadata.get("per") == "channel" and isinstance(value, tuple) and len(value) != needed:
                raise ValueError(
                    f"{kind}.{f.name} has {len(value)} numbers, but acts on {needed} observation channels."
                )

    @abstractmethod
    def sense(self, observation: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
        """The reading of this observation, (O,) to (O,), same dtype; never changes its argument."""


def required_model(shift: Shift, plant: Plant) -> mujoco.MjModel:
    """The plant's model, or a refusal."""
    if plant.model is None:
        raise ValueError(
            f"{type(shift).__name__} changes a MuJoCo body and {plant.name} shows none (`.model` and `.data`): "
            "use a shift of the action or the observation there."
        )
    return plant.model


def check_indices(where: str, indices: Any, count: int, what: str) -> None:
    """Raises ValueError unless every index is below `count`."""
    for index in indices if isinstance(indices, tuple) else (indices,):
        if index >= count:
            raise ValueError(f"{where} names number {index}, but there are only {count} {what} (0 to {count - 1}).")
