"""Records: bounds, one-sentence refusals, JSON and back, draws. Every kind and every schedule goes through here."""

# MuJoCo ships no type stubs, and an environment's `.model` or a kind's own parameters are not in the base types.
# pyright: reportAttributeAccessIssue=false

import json
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldshift import shifts
from worldshift.shifts import (
    ActuatorGain,
    BodyMass,
    Choice,
    Composed,
    ConstantTorque,
    Delay,
    DroppedChannel,
    ExternalWrench,
    FilteredNoise,
    Gravity,
    LimbLength,
    LockedActuator,
    LogUniform,
    ObservationNoise,
    Schedule,
    Shift,
    StepOnOff,
    TwoTone,
    Uniform,
    known_kinds,
)

# Looked up beforehand: checked annotations use `random`, which hypothesis does not want inside its strategies.
KINDS = {sort: [getattr(shifts, n) for n in known_kinds(sort) if n != "Composed"] for sort in (Shift, Schedule)}
NAMES = st.sampled_from([("upper",), ("upper", "lower")])


def _field(draw, f):
    """A value within the documented bounds of a field."""
    meta = f.metadata
    if "names" in meta:
        return draw(NAMES) if f.name != "body" else ("upper",)
    if "among" in meta:
        return draw(st.sampled_from(meta["among"]))
    if "flag" in meta:
        return draw(st.booleans())
    low, high = max(meta["low"], -1e9), min(meta["high"], 1e9)
    one = st.integers(int(low), int(min(high, 60))) if meta["whole"] else st.floats(low, high)
    per = meta["per"]
    if isinstance(per, int):
        return draw(st.tuples(*[one] * per))
    if per == "matrix":
        return draw(st.integers(1, 4).flatmap(lambda n: st.tuples(*[st.tuples(*[one] * n)] * n)))
    several = st.lists(one, min_size=1, max_size=4).map(tuple)
    return draw(several if per == "index" else one if per is None else one | several)


@st.composite
def recipes(draw, sort):
    """Any kind of shift or schedule, and any parameters within their bounds."""
    cls = draw(st.sampled_from(KINDS[sort]))
    values = {f.name: _field(draw, f) for f in fields(cls)}
    if cls is Gravity:
        values |= {"vector": None} if draw(st.booleans()) else {"scale": 1.0, "tilt": 0.0, "heading": 0.0}
    if cls is shifts.ActionRotation:
        values["i"], values["j"] = 0, 1
    if cls is ConstantTorque and isinstance(values["torque"], tuple):
        values["joints"] = tuple(f"joint {i}" for i in range(len(values["torque"])))
    return cls, values


@given(recipes(Shift))
@settings(max_examples=150)
def test_every_shift_goes_to_a_line_of_json_and_back(recipe):
    shift = recipe[0](**recipe[1])
    line = shift.to_json()
    assert "\n" not in line
    assert Shift.from_json(line) == shift


@given(recipes(Schedule))
@settings(max_examples=80)
def test_every_schedule_goes_to_a_line_of_json_and_back(recipe):
    schedule = recipe[0](**recipe[1])
    assert Schedule.from_json(schedule.to_json()) == schedule


@given(st.lists(recipes(Shift), min_size=2, max_size=4))
@settings(max_examples=30)
def test_composition_is_flat_and_goes_to_json_and_back(several):
    several = [cls(**values) for cls, values in several]
    whole = (several[0] + several[1]) + Composed(tuple(several[2:])) if several[2:] else several[0] + several[1]
    assert whole.parts == tuple(several)
    assert Shift.from_json(whole.to_json()) == whole


def test_every_parameter_has_bounds_unit_and_a_sentence():
    for cls in KINDS[Shift] + KINDS[Schedule]:
        for f in fields(cls):
            assert f.metadata["doc"], f"{cls.__name__}.{f.name}"
            if not {"names", "among", "flag"} & set(f.metadata):
                assert f.metadata["low"] < f.metadata["high"] and isinstance(f.metadata["unit"], str)


@given(st.sampled_from(KINDS[Shift]), st.data())
@settings(max_examples=60)
def test_beyond_its_bounds_every_number_is_refused(cls, data):
    bounded = [f for f in fields(cls) if "low" in f.metadata and np.isfinite(f.metadata["high"])]
    if not bounded:
        return
    f = data.draw(st.sampled_from(bounded))
    values = {g.name: _field(data.draw, g) for g in fields(cls)}
    low, high = f.metadata["low"], f.metadata["high"]
    bad = data.draw(st.sampled_from([low - 1.0, high + 1.0, np.nan, np.inf]))
    per = f.metadata["per"]
    values[f.name] = [[bad]] if per == "matrix" else [bad] * per if isinstance(per, int) else bad
    with pytest.raises(ValueError, match=rf"{cls.__name__}.*{f.name}.* must be a number from"):
        cls(**values)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ActuatorGain(-1.5), r"ActuatorGain\.p must be a number from -1 to 3, not -1\.5\."),
        (lambda: ActuatorGain(None), r"ActuatorGain\.p must be a number from -1 to 3, not None\."),
        (lambda: LimbLength(3), r"LimbLength\.bodies must hold names, not 3\."),
        (lambda: Delay(1.5), r"Delay\.steps must be a whole number, not 1\.5\."),
        (lambda: Delay((1, 2)), r"Delay\.steps takes one number"),
        (lambda: ExternalWrench("ball", force=(1.0, 2.0)), r"ExternalWrench\.force needs 3 numbers, not 2\."),
        (lambda: ExternalWrench("ball", force=1.0), r"ExternalWrench\.force needs a sequence of 3"),
        (lambda: ExternalWrench(("a", "b")), r"must name one body"),
        (lambda: shifts.ActionMixing(((1.0, 0.0), (1.0,))), r"must be a square matrix"),
        (lambda: shifts.ActionRotation(0.1, i=2, j=2), r"two different actuators"),
        (lambda: BodyMass(payload=2.0), r"name it in `bodies`"),
        (lambda: Gravity(scale=2.0, vector=(0.0, 0.0, -1.0)), r"either a vector, or scale"),
        (lambda: LimbLength(()), r"must name at least one body"),
        (lambda: LimbLength(("",)), r"must hold names"),
        (lambda: ConstantTorque(()), r"must name at least one joint"),
        (lambda: ConstantTorque(("a", "b"), (1.0,)), r"1 torques for 2 joints"),
        (lambda: ObservationNoise(relative="yes"), r"relative must be true or false"),
        (lambda: StepOnOff(unit="hours"), r"StepOnOff\.unit must be one of steps, episodes, not 'hours'\."),
        (lambda: StepOnOff(on=Uniform(1, 2)), r"StepOnOff\.on takes numbers; draws"),
        (lambda: Uniform(1.0, 0.0), r"needs low <= high"),
        (lambda: ActuatorGain(Uniform(-2.0, 0.0)), r"ActuatorGain\.p must be a number from -1"),
        (lambda: LogUniform(0.0, 1.0), r"LogUniform\.low must be a number from 1e-12"),
        (lambda: Choice(()), r"at least one value"),
        (lambda: Composed(()), r"at least one shift"),
    ],
)
def test_refusals_are_one_clear_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "not a line of JSON"),
        ("3", "expected the JSON of a shift, found int"),
        ('{"kind": "os.system"}', "unknown kind 'os.system'; known: ActionBias,"),
        ('{"kind": "Shift"}', "unknown kind 'Shift'"),
        ('{"kind": "ActionShift"}', "unknown kind 'ActionShift'"),
        ('{"kind": ["ActuatorGain"]}', "unknown kind"),
        ('{"kind": "ActuatorGain", "gain": 1}', "ActuatorGain has no parameter 'gain'; its parameters are p"),
        ('{"kind": "LockedActuator"}', "LockedActuator needs the parameter 'indices'"),
        ('{"kind": "ActuatorGain", "p": "a lot"}', "must be a number from -1 to 3, not 'a lot'"),
        ('{"kind": "ActuatorGain", "p": NaN}', "must be a number from -1 to 3, not nan"),
        ('{"kind": "StepOnOff"}', "expected the JSON of a shift, found StepOnOff"),
        ('{"kind": "Composed", "shifts": [1]}', "at least one shift"),
    ],
)
def test_bad_json_is_refused(line, sentence):
    with pytest.raises(ValueError, match=sentence):
        Shift.from_json(line)


def test_sequences_of_any_sort_are_kept_as_plain_tuples():
    assert ActuatorGain(np.array([0.1, -0.2])) == ActuatorGain([0.1, -0.2]) == ActuatorGain((0.1, -0.2))
    assert LimbLength("leg") == LimbLength(["leg"]) == LimbLength(("leg",))
    assert type(ActuatorGain(np.float32(0.5)).p) is float and type(Delay(np.int64(3)).steps) is int
    assert json.loads(ActuatorGain(np.array([0.25])).to_json()) == {"kind": "ActuatorGain", "p": [0.25]}


def test_draws_are_independent_per_entry_within_bounds_and_the_same_for_the_same_seed(echo):
    family = ActuatorGain(Uniform(-0.5, 0.5)) + ObservationNoise(Uniform(0.0, 1.0), channels=(1, 2))
    assert family.is_random
    rows = np.array([family.draw(np.random.default_rng(s), echo).parts[0].p for s in range(400)])
    assert rows.shape == (400, 3) and (np.abs(rows) <= 0.5).all()
    assert abs(rows.mean()) < 0.03 and abs(rows.std() - 1 / np.sqrt(12)) < 0.02
    assert (np.abs(np.corrcoef(rows.T) - np.eye(3)) < 0.15).all()
    one = family.draw(np.random.default_rng(7), echo)
    assert one == family.draw(np.random.default_rng(7), echo) and not one.is_random


def test_draws_of_scalars_whole_numbers_vectors_and_choices(echo):
    rng = np.random.default_rng(0)
    delays = {Delay(Uniform(1, 3)).draw(rng, echo).steps for _ in range(100)}
    assert delays == {1, 2, 3}
    locked = {LockedActuator(Choice(((0,), (2,)))).draw(rng, echo).indices for _ in range(50)}
    assert locked == {(0,), (2,)}
    dropped = {DroppedChannel(Choice((0, 3))).draw(rng, echo).channels for _ in range(50)}
    assert dropped == {0, 3}
    wrench = ExternalWrench("ball", force=(Uniform(1.0, 2.0), 0.0, 0.0), torque=Uniform(-1.0, 1.0)).draw(rng, echo)
    assert 1.0 <= wrench.force[0] <= 2.0 and wrench.force[1:] == (0.0, 0.0) and len(set(wrench.torque)) == 3
    scales = np.array([BodyMass(LogUniform(0.5, 2.0)).draw(rng, echo).scale for _ in range(500)])
    assert abs(np.log(scales).mean()) < 0.06 and 0.5 <= scales.min() < scales.max() <= 2.0
    torques = ConstantTorque(("a", "b"), Uniform(-1.0, 1.0)).draw(rng, echo).torque
    assert len(torques) == 2 and torques[0] != torques[1]


def test_a_family_goes_to_json_and_back():
    family = ActuatorGain(Uniform(-0.5, 0.5)) + Delay(Choice((1, 2))) + BodyMass(LogUniform(0.5, 2), bodies="torso")
    assert Shift.from_json(family.to_json()) == family


def test_the_defaults_of_the_noise_schedules_are_those_of_the_facts():
    assert (FilteredNoise().sigma, FilteredNoise().period, FilteredNoise().clip) == (0.3, 20_000.0, 0.7)
    assert TwoTone() == TwoTone(-0.2, (0.2, 0.1), (80_000, 40_000))
