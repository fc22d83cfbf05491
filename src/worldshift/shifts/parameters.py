"""Records with documented parameters: bounds and units are checked when one is made, and one line of JSON says it all.

Shifts, schedules and draws are such records. A number may be replaced by a draw (`Uniform(-0.5, 0.5)`): the record then
stands for a family, and `drawn` picks a member. Nothing is ever evaluated: JSON names a class of the register or fails.
"""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, ClassVar, TypeVar

import numpy as np

Number = Any
"""A finite number, or a draw that stands for one."""
Numbers = Any
"""A number, or a sequence with one for each thing that the parameter's `per` names; kept as tuples of floats."""
Flag = Any
"""True or false."""
Names = Any
"""A name or a sequence of names; kept as a tuple of strings."""


def number(
    *,
    low: float = -math.inf,
    high: float = math.inf,
    unit: str = "",
    per: str | int | None = None,
    whole: bool = False,
    doc: str,
) -> dict[str, Any]:
    """Metadata of a numeric field within [low, high].

    Arguments:
        per: what a sequence runs over: `"actuator"`, `"channel"`, `"joint"`, `"matrix"` (rows and columns), any
            number of `"index"` entries, or a fixed length. None: one number only.
        whole: integers only.
    """
    return {"low": low, "high": high, "unit": unit, "per": per, "whole": whole, "doc": doc}


def names(doc: str) -> dict[str, Any]:
    """Metadata of a field of names (of bodies, joints, geoms)."""
    return {"names": True, "doc": doc}


def word(*, among: tuple[str, ...], doc: str) -> dict[str, Any]:
    """Metadata of a field that holds one of a few words."""
    return {"among": among, "doc": doc}


def flag(doc: str) -> dict[str, Any]:
    """Metadata of a field that is true or false."""
    return {"flag": True, "doc": doc}


_R = TypeVar("_R", bound="Record")

_REGISTER: dict[str, type["Record"]] = {}


@dataclass(frozen=True)
class Record:
    """A frozen dataclass that checks its fields and goes to JSON and back. Subclasses register under their own name."""

    takes_draws: ClassVar[bool] = False
    """Whether draws may stand in place of numbers."""

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if not cls.__name__.startswith("_"):
            _REGISTER[cls.__name__] = cls

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, self._checked(f, getattr(self, f.name)))

    def _checked(self, f: Field, value: Any) -> Any:
        where, meta = f"{type(self).__name__}.{f.name}", f.metadata
        if value is None and f.default is None:
            return None
        if _has_draw(value) and not self.takes_draws:
            raise ValueError(f"{where} takes numbers; draws such as Uniform are for the parameters of shifts.")
        if "names" in meta:
            return _checked_names(where, value)
        if "among" in meta:
            if value not in meta["among"]:
                raise ValueError(f"{where} must be one of {', '.join(meta['among'])}, not {value!r}.")
            return value
        if "flag" in meta:
            if not isinstance(value, bool):
                raise ValueError(f"{where} must be true or false, not {value!r}.")
            return value
        return _checked_numbers(where, value, meta)

    @property
    def is_random(self) -> bool:
        """Whether a draw stands in place of some parameter."""
        return any(_has_draw(getattr(self, f.name)) for f in fields(self))

    def drawn(self: _R, rng: np.random.Generator, counts: Mapping[str, int]) -> _R:
        """The record with every draw replaced by a value; `counts` says how many entries an unfolded `per` has."""
        values = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if _has_draw(value):
                per = f.metadata.get("per")
                count = per if isinstance(per, int) else counts.get(per or "")
                values[f.name] = _sampled(value, rng, count, f.metadata.get("whole", False))
        return replace(self, **values)

    def to_dict(self) -> dict[str, Any]:
        """`{"kind": class name, parameter: value, ...}`, all of it immutable below the top."""
        return {"kind": type(self).__name__} | {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    def to_json(self) -> str:
        """One line of JSON from which `from_json` makes an equal record."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_json(cls: type[_R], text: str) -> _R:
        """The record that a line of JSON describes.

        Raises:
            ValueError: not JSON, an unknown kind or parameter, a value out of bounds, or a record of another sort.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"this is not a line of JSON ({error}): {text[:80]!r}.") from error
        record = _from_plain(data)
        if not isinstance(record, cls):
            raise ValueError(f"expected the JSON of a {cls.__name__.lower()}, found {type(record).__name__}.")
        return record


class Draw(Record, ABC):
    """A distribution that stands for a number (or a tuple): the value is drawn anew at each phase of the schedule."""

    def whole_field(self) -> bool:
        """Whether one value fills the whole field, rather than each entry having its own."""
        return False

    @abstractmethod
    def options(self) -> tuple[Any, ...]:
        """Values that must be within the bounds of the parameter for every draw to be."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, whole: bool) -> Any:
        """One value."""


@dataclass(frozen=True)
class Uniform(Draw):
    """A number from [low, high], all alike; independent for each actuator, channel or axis of a parameter."""

    low: Number = field(metadata=number(doc="smallest value"))
    high: Number = field(metadata=number(doc="largest value"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise ValueError(f"{type(self).__name__} needs low <= high, not {self.low} > {self.high}.")

    def options(self) -> tuple[Any, ...]:
        """Both ends."""
        return (self.low, self.high)

    def sample(self, rng: np.random.Generator, whole: bool) -> Any:
        """One value; an integer, both ends included, for parameters that are."""
        if whole:
            return int(rng.integers(math.ceil(self.low), math.floor(self.high), endpoint=True))
        return float(rng.uniform(self.low, self.high))


@dataclass(frozen=True)
class LogUniform(Uniform):
    """A positive number whose logarithm is uniform: for scales, where 0.5 and 2 are equally far from nominal."""

    low: Number = field(metadata=number(low=1e-12, doc="smallest value"))
    high: Number = field(metadata=number(low=1e-12, doc="largest value"))

    def sample(self, rng: np.random.Generator, whole: bool) -> Any:
        """One value."""
        value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        value = min(max(value, self.low), self.high)  # exp(log(x)) may leave the interval by a rounding
        return round(value) if whole else value


@dataclass(frozen=True)
class Choice(Draw):
    """One of a few values, all alike. Tuples are chosen whole: `Choice(((0,), (3,)))` for a field of indices."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.values, (tuple, list)) or not self.values:
            raise ValueError("Choice needs a sequence of at least one value.")
        object.__setattr__(self, "values", tuple(tuple(v) if isinstance(v, list) else v for v in self.values))

    def whole_field(self) -> bool:
        """Whether the values are tuples, each of them good for the whole field."""
        return any(isinstance(v, tuple) for v in self.values)

    def options(self) -> tuple[Any, ...]:
        """All of them."""
        return self.values

    def sample(self, rng: np.random.Generator, whole: bool) -> Any:
        """One of them."""
        return self.values[int(rng.integers(len(self.values)))]


def _checked_names(where: str, value: Any) -> tuple[str, ...] | Draw:
    if isinstance(value, Draw):
        for option in value.options():
            _checked_names(where, option)
        return value
    value = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if not all(isinstance(v, str) and v for v in value):
        raise ValueError(f"{where} must hold names, not {', '.join(map(repr, value))}.")
    return value


def _checked_numbers(where: str, value: Any, meta: Mapping[str, Any]) -> Any:
    per = meta["per"]
    if isinstance(value, Draw):
        for option in value.options():
            _checked_numbers(where, option, meta if isinstance(option, tuple) else {**meta, "per": None})
        return value
    if not isinstance(value, (tuple, list, np.ndarray)) or np.ndim(np.asarray(value, object)) == 0:
        if isinstance(per, int) or per == "matrix":
            raise ValueError(f"{where} needs a sequence of {per if isinstance(per, int) else 'rows'}, not {value!r}.")
        return _checked_number(where, value, meta)
    if per is None:
        raise ValueError(f"{where} takes one number, not {value!r}.")
    if isinstance(per, int) and len(value) != per:
        raise ValueError(f"{where} needs {per} numbers, not {len(value)}.")
    if per == "matrix":
        if any(np.ndim(np.asarray(row, object)) != 1 or len(row) != len(value) for row in value):
            raise ValueError(f"{where} must be a square matrix: as many numbers in each row as there are rows.")
        return tuple(_checked_numbers(where, row, {**meta, "per": len(value)}) for row in value)
    return tuple(_checked_numbers(where, v, {**meta, "per": None}) for v in value)


def _checked_number(where: str, value: Any, meta: Mapping[str, Any]) -> float | int:
    try:
        number = float(value) if not isinstance(value, (bool, str)) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    unit = f" {meta['unit']}" if meta["unit"] else ""
    if not meta["low"] <= number <= meta["high"] or math.isinf(number):
        raise ValueError(f"{where} must be a number from {meta['low']:g} to {meta['high']:g}{unit}, not {value!r}.")
    if not meta["whole"]:
        return number
    if number != int(number):
        raise ValueError(f"{where} must be a whole number, not {value!r}.")
    return int(number)


def _has_draw(value: Any) -> bool:
    return isinstance(value, Draw) or (isinstance(value, (tuple, list)) and any(_has_draw(v) for v in value))


def _sampled(value: Any, rng: np.random.Generator, count: int | None, whole: bool) -> Any:
    if isinstance(value, tuple):
        return tuple(_sampled(v, rng, None, whole) for v in value)
    if not isinstance(value, Draw):
        return value
    if count is None or value.whole_field():
        return value.sample(rng, whole)
    return tuple(value.sample(rng, whole) for _ in range(count))


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    return tuple(_plain(v) for v in value) if isinstance(value, tuple) else value


def _from_plain(data: Any) -> Any:
    if isinstance(data, list):
        return tuple(_from_plain(v) for v in data)
    if not isinstance(data, dict):
        return data
    kind = data.get("kind")
    cls = _REGISTER[kind] if kind in known_kinds(Record) else None
    if cls is None:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(known_kinds(Record))}.")
    known = {f.name: f for f in fields(cls)}
    unknown = sorted(set(data) - set(known) - {"kind"})
    missing = sorted(n for n, f in known.items() if f.default is MISSING and n not in data)
    if unknown or missing:
        what = f"has no parameter {unknown[0]!r}" if unknown else f"needs the parameter {missing[0]!r}"
        raise ValueError(f"{kind} {what}; its parameters are {', '.join(known)}.")
    return cls(**{n: _from_plain(v) for n, v in data.items() if n != "kind"})


def known_kinds(sort: type[Record]) -> tuple[str, ...]:
    """Names of every registered record of a sort (`Shift`, `Schedule`, `Draw`) that can be made."""
    # What is not itself a dataclass is a sort of kinds, to derive from.
    return tuple(sorted(n for n, c in _REGISTER.items() if issubclass(c, sort) and "__dataclass_params__" in vars(c)))
