"""Shifts of the action against values worked out by hand, on an environment that echoes what arrives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldshift.shifts import (
    ActionBias,
    ActionMixing,
    ActionRotation,
    ActionSign,
    ActuatorGain,
    Composed,
    Constant,
    DeadZone,
    Delay,
    LockedActuator,
    Shifted,
    StepOnOff,
    StickyActuator,
)

COMMAND = np.array([0.5, -1.0, 2.0], np.float32)
MIX = ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.5, 0.5))
HALF = np.sqrt(0.5)


@pytest.mark.parametrize(
    ("shift", "strength", "arrived"),
    [
        (ActuatorGain(-0.5), 1.0, [0.25, -0.5, 1.0]),
        (ActuatorGain(-0.5), 0.5, [0.375, -0.75, 1.5]),
        (ActuatorGain((0.5, 0.0, -1.0)), 1.0, [0.75, -1.0, 0.0]),
        (ActuatorGain(0.5), 1.0, [0.75, -1.5, 3.0]),  # beyond the bound of 2: the plant's own clamp is not ours
        (ActuatorGain(0.5), -1.0, [0.25, -0.5, 1.0]),
        (ActionSign(), 1.0, [-0.5, 1.0, -2.0]),
        (ActionSign((0, 2)), 1.0, [-0.5, -1.0, -2.0]),
        (ActionSign(), 0.5, [-0.5, 1.0, -2.0]),
        (ActionSign(), 0.49, [0.5, -1.0, 2.0]),
        (ActionRotation(np.pi / 2), 1.0, [1.0, 0.5, 2.0]),
        (ActionRotation(np.pi / 2, i=1, j=2), 1.0, [0.5, -2.0, -1.0]),
        (ActionRotation(np.pi / 2), 0.5, [HALF * 1.5, -HALF * 0.5, 2.0]),
        (ActionMixing(MIX), 1.0, [-1.0, 0.5, 0.5]),
        (ActionMixing(MIX), 0.5, [-0.25, -0.25, 1.25]),
        (ActionBias(0.25), 1.0, [0.75, -0.75, 2.25]),
        (ActionBias((0.0, 1.0, -1.0)), -0.5, [0.5, -1.5, 2.5]),
        (LockedActuator((1,)), 1.0, [0.5, 0.0, 2.0]),
        (LockedActuator((0, 1), value=0.3), 1.0, [0.3, 0.3, 2.0]),
        (LockedActuator(2, value=1.0), 0.5, [0.5, -1.0, 1.5]),
        (DeadZone(0.75), 1.0, [0.0, -0.25, 1.25]),
        (DeadZone(0.75), 0.5, [0.125, -0.625, 1.625]),
        (DeadZone((0.0, 2.0, 0.5)), 1.0, [0.5, 0.0, 1.5]),
        (ActuatorGain(-0.5) + ActionBias(0.1), 1.0, [0.35, -0.4, 1.1]),
        (ActionBias(0.1) + ActuatorGain(-0.5), 1.0, [0.3, -0.45, 1.05]),
        (ActuatorGain(-0.5) + DeadZone(0.3) + ActionSign((0,)) + ActionBias(1.0), 1.0, [1.0, 0.8, 1.7]),
    ],
)
def test_what_arrives_is_what_was_worked_out(echo, shift, strength, arrived):
    env = Shifted(echo, shift, Constant(strength))
    env.reset(seed=0)
    foreseen = env.distort(COMMAND)
    observation, _, _, _, info = env.step(COMMAND)
    np.testing.assert_allclose(info["arrived"], arrived, atol=1e-6)
    np.testing.assert_array_equal(info["plant_action"], info["arrived"])
    np.testing.assert_array_equal(foreseen, info["arrived"])
    np.testing.assert_array_equal(observation[1:], info["arrived"])  # the observation is not touched
    assert foreseen.dtype == info["arrived"].dtype == np.float32


def test_the_command_is_clipped_before_the_shift_and_not_after(echo):
    env = Shifted(echo, ActuatorGain(0.5))
    env.reset(seed=0)
    info = env.step(np.array([9.0, -9.0, 1.0], np.float32))[-1]
    np.testing.assert_array_equal(info["arrived"], np.array([3.0, -3.0, 1.5], np.float32))


def _linear(env):
    linear = env.action_matrix()
    assert linear is not None
    return linear


LINEAR = [
    ActuatorGain((0.5, -0.25, -1.0)),
    ActionSign((1,)),
    ActionRotation(0.7, i=2, j=0),
    ActionMixing(MIX),
    ActionBias((0.1, 0.0, -0.2)),
    LockedActuator((0,), value=0.4),
]


@given(st.lists(st.sampled_from(LINEAR), min_size=1, max_size=4), st.floats(0, 1), st.integers(0, 2**32))
@settings(max_examples=60)
def test_the_action_matrix_says_what_arrives(new_echo, parts, strength, seed):
    env = Shifted(new_echo(), Composed(tuple(parts)), Constant(strength))
    env.reset()
    command = np.random.default_rng(seed).uniform(-2, 2, 3).astype(np.float32)
    expected = command.astype(np.float64)
    for part in parts:
        m, b = part.matrix(strength, 3)
        expected = m @ expected + b
    matrix, offset = _linear(env)
    np.testing.assert_allclose(matrix @ command + offset, expected, atol=1e-12)
    np.testing.assert_allclose(env.step(command)[-1]["arrived"], expected, rtol=1e-6, atol=1e-6)


def test_there_is_no_action_matrix_while_something_is_not_linear(echo):
    for shift in (DeadZone(0.1), Delay(1), StickyActuator(0.5), ActuatorGain(0.1) + DeadZone(0.1)):
        env = Shifted(echo, shift, StepOnOff(start=1, on=1, off=5))
        env.reset()
        np.testing.assert_array_equal(_linear(env)[0], np.eye(3))  # off: nothing is in the way
        env.step(COMMAND)
        assert env.action_matrix() is None
        env.step(COMMAND)
        np.testing.assert_array_equal(_linear(env)[0], np.eye(3))


def test_a_rotation_keeps_the_length_of_the_command(echo):
    env = Shifted(echo, ActionRotation(1.1, i=0, j=2))
    env.reset()
    assert np.linalg.norm(env.distort(COMMAND)) == pytest.approx(np.linalg.norm(COMMAND), rel=1e-6)


def _echoed(env, commands):
    return [env.step(np.full(3, c, np.float32))[-1]["arrived"][0] for c in commands]


def test_a_delay_is_a_queue_that_starts_each_episode_with_zeros(echo):
    env = Shifted(echo, Delay(2))
    commands = [0.1, 0.2, 0.3, 0.4, 0.5]
    for _ in range(2):
        env.reset()
        np.testing.assert_allclose(_echoed(env, commands), [0.0, 0.0, 0.1, 0.2, 0.3], atol=1e-7)
    np.testing.assert_array_equal(env.distort(COMMAND), COMMAND)  # delays are passed over


@pytest.mark.parametrize(("strength", "delay"), [(0.0, 0), (0.12, 0), (0.125, 1), (0.5, 2), (0.9, 4), (1.0, 4)])
def test_a_delay_of_four_steps_at_part_of_its_strength(echo, strength, delay):
    env = Shifted(echo, Delay(4), Constant(strength))
    env.reset()
    commands = np.arange(1, 9) / 10
    np.testing.assert_allclose(_echoed(env, commands), [*[0.0] * delay, *commands[: 8 - delay]], atol=1e-7)


def test_a_delay_that_begins_in_the_middle_repeats_true_commands(echo):
    env = Shifted(echo, Delay(1), StepOnOff(start=2, on=2, off=9))
    env.reset()
    np.testing.assert_allclose(_echoed(env, [0.1, 0.2, 0.3, 0.4, 0.5]), [0.1, 0.2, 0.2, 0.3, 0.5], atol=1e-7)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_a_sticky_actuator_repeats_itself_as_often_as_it_says(echo, strength):
    env = Shifted(echo, StickyActuator(0.4), Constant(strength), seed=3)
    env.reset()
    commands = np.linspace(-1, 1, 4000)
    arrived = np.array(_echoed(env, commands))
    repeated = arrived[1:] == arrived[:-1]
    assert repeated.mean() == pytest.approx(0.4 * strength, abs=0.03)
    np.testing.assert_allclose(arrived[1:][~repeated], commands[1:][~repeated], atol=1e-7)


def test_never_and_always_sticking(echo):
    env = Shifted(echo, StickyActuator(0.0))
    env.reset()
    np.testing.assert_allclose(_echoed(env, [0.1, 0.2]), [0.1, 0.2], atol=1e-7)
    env = Shifted(echo, StickyActuator(1.0))
    env.reset()
    assert _echoed(env, [0.1, 0.2]) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("shift", "sentence"),
    [
        (ActuatorGain((0.1, 0.2)), r"ActuatorGain\.p has 2 numbers, but there are 3 actuators\."),
        (ActionMixing(((1.0, 0.0), (0.0, 1.0))), r"ActionMixing\.rows has 2 rows, but there are 3 actuators\."),
        (
            LockedActuator((0, 3)),
            r"LockedActuator\.indices names number 3, but there are only 3 actuators \(0 to 2\)\.",
        ),
        (ActionRotation(0.1, i=0, j=5), r"ActionRotation\.j names number 5"),
        (ActionSign((7,)), r"ActionSign\.indices names number 7"),
    ],
)
def test_a_shift_that_does_not_fit_is_refused(echo, shift, sentence):
    with pytest.raises(ValueError, match=sentence):
        Shifted(echo, shift)


def test_an_action_of_the_wrong_shape_is_refused(echo):
    env = Shifted(echo, ActuatorGain(0.1))
    env.reset()
    with pytest.raises(ValueError, match=r"Echo takes an action of shape \(3,\), not \(2,\)\."):
        env.step(np.zeros(2, np.float32))
