"""Shifts of the observation: values by hand, statistics, and everything else left alone."""

# MuJoCo ships no type stubs, and an environment's `.model` or a kind's own parameters are not in the base types.
# pyright: reportAttributeAccessIssue=false

import numpy as np
import pytest

from worldshift.shifts import (
    Constant,
    DroppedChannel,
    ObservationBias,
    ObservationNoise,
    Shifted,
    StepOnOff,
    Uniform,
)

COMMAND = np.array([0.5, -1.0, 2.0], np.float32)
TRUE = np.array([1.0, 0.5, -1.0, 2.0], np.float32)


@pytest.mark.parametrize(
    ("shift", "strength", "reading"),
    [
        (ObservationBias(0.5), 1.0, TRUE + 0.5),
        (ObservationBias(0.5), -0.5, TRUE - 0.25),
        (ObservationBias((1.0, 2.0), channels=(3, 0)), 1.0, [3.0, 0.5, -1.0, 3.0]),
        (DroppedChannel((1, 2)), 1.0, [1.0, 0.0, 0.0, 2.0]),
        (DroppedChannel(3, fill=-7.0), 0.5, [1.0, 0.5, -1.0, -7.0]),
        (DroppedChannel(3), 0.49, TRUE),
        (ObservationBias(1.0) + DroppedChannel((0,)), 1.0, [0.0, 1.5, 0.0, 3.0]),
        (DroppedChannel((0,)) + ObservationBias(1.0), 1.0, [1.0, 1.5, 0.0, 3.0]),
    ],
)
def test_the_reading_is_what_was_worked_out(echo, shift, strength, reading):
    env = Shifted(echo, shift, Constant(strength))
    env.reset(seed=0)
    observation, _, _, _, info = env.step(COMMAND)
    np.testing.assert_allclose(observation, reading, atol=1e-6)
    np.testing.assert_array_equal(info["arrived"], COMMAND)
    assert observation.dtype == np.float32


def test_the_first_reading_of_an_episode_is_shifted_too(echo):
    observation, _ = Shifted(echo, ObservationBias(0.5)).reset(seed=0)
    np.testing.assert_array_equal(observation, np.array([1.5, 0.5, 0.5, 0.5], np.float32))


def _readings(env, n):
    env.reset(seed=0)
    return np.array([env.step(COMMAND)[0] for _ in range(n)])


def test_noise_has_the_deviation_that_it_says_and_is_white(echo):
    noise = _readings(Shifted(echo, ObservationNoise(0.3), seed=1), 3000) - TRUE
    np.testing.assert_allclose(noise.std(0), 0.3, rtol=0.05)
    np.testing.assert_allclose(noise.mean(0), 0.0, atol=0.02)
    assert (np.abs(np.corrcoef(noise.T) - np.eye(4)) < 0.07).all()
    assert (np.abs((noise[1:] * noise[:-1]).mean(0)) < 0.09 * 0.07).all()


def test_relative_noise_scales_with_the_reading_and_strength_scales_both(echo):
    noise = _readings(Shifted(echo, ObservationNoise(0.2, relative=True), Constant(0.5), seed=1), 3000) - TRUE
    np.testing.assert_allclose(noise.std(0), 0.1 * np.abs(TRUE), rtol=0.05)


def test_noise_on_some_channels_with_their_own_deviations(echo):
    noise = _readings(Shifted(echo, ObservationNoise((0.1, 0.4), channels=(2, 0)), seed=1), 3000) - TRUE
    np.testing.assert_allclose(noise.std(0), [0.4, 0.0, 0.1, 0.0], rtol=0.05, atol=1e-12)


def test_noise_is_the_same_for_the_same_seeds_only(echo):
    def run(seed, reset_seed):
        env = Shifted(echo, ObservationNoise(0.3), seed=seed)
        first = env.reset(seed=reset_seed)[0]
        return np.array([first, *(env.step(COMMAND)[0] for _ in range(5)), env.reset()[0]]).tobytes()

    assert run(1, 2) == run(1, 2)
    assert len({run(1, 2), run(1, 3), run(2, 2), run(1, None)}) == 4


def test_sensors_lie_only_while_the_shift_is_on(echo):
    env = Shifted(echo, ObservationNoise(Uniform(0.1, 0.2)), StepOnOff(start=2, on=1, off=10))
    off = _readings(env, 4) == TRUE
    np.testing.assert_array_equal(off.all(1), [True, True, False, True])


def test_a_reading_may_leave_the_bounds_of_the_true_observation(echo):
    assert np.isinf(Shifted(echo, ObservationNoise(0.3)).observation_space.high).all()
    assert Shifted(echo, DroppedChannel((0,), fill=1000.0)).reset()[0][0] == 1000.0


@pytest.mark.parametrize(
    ("shift", "sentence"),
    [
        (DroppedChannel((4,)), r"names number 4, but there are only 4 observation channels \(0 to 3\)\."),
        (ObservationNoise((0.1, 0.2)), r"ObservationNoise\.std has 2 numbers, but acts on 4 observation channels\."),
        (ObservationBias((0.1, 0.2), channels=(0,)), r"has 2 numbers, but acts on 1 observation channels\."),
    ],
)
def test_a_shift_that_does_not_fit_is_refused(echo, shift, sentence):
    with pytest.raises(ValueError, match=sentence):
        Shifted(echo, shift)


@pytest.mark.parametrize("shift", [ObservationNoise(0.5), ObservationBias(1.0), DroppedChannel((0, 1))])
def test_the_true_observation_is_left_alone(shift):
    true = TRUE.copy()
    reading = shift.sense(true, 1.0, np.random.default_rng(0))
    assert (reading != TRUE).any()
    np.testing.assert_array_equal(true, TRUE)
