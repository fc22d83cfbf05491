"""Schedules against their closed forms, and the random ones against their statistics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldshift.shifts import (
    Constant,
    FilteredNoise,
    LinearDrift,
    OrnsteinUhlenbeck,
    Sinusoid,
    StepOnOff,
    TwoTone,
)


def _strengths(schedule, steps, seed=0, actuators=1):
    course = schedule.course(seed, actuators)
    return np.array([course(t, 0).strength for t in steps])


def test_constant():
    assert Constant(0.3).course()(123, 4) == (0.3, 0)


def test_step_on_off_is_rms_protocol_by_default():
    course = StepOnOff().course()
    on = [k for k in range(0, 160_000, 1000) if course(k, 0).strength == 1.0]
    # In episodes of 200 agent steps: on from 75 to 150, 225 to 300, and so on.
    assert on == [k for k in range(0, 160_000, 1000) if (k // 15_000) % 2 == 1]
    assert [course(k, 0).phase for k in (0, 14_999, 15_000, 44_999, 45_000, 75_000)] == [0, 0, 0, 0, 1, 2]


@given(st.integers(0, 50), st.integers(1, 20), st.integers(0, 20), st.integers(0, 500))
def test_step_on_off_against_counting(start, on, off, t):
    strength, phase = 0.0, 0
    left, is_on, phases = start, False, -1
    for _ in range(t + 1):  # walk through time, one step after the other
        while left == 0:
            is_on = not is_on
            phases += is_on
            left = on if is_on else off
        left -= 1
        strength, phase = float(is_on), max(phases, 0)
    assert StepOnOff(start, on, off).course()(t, 0) == (strength, phase)


def test_step_on_off_can_count_episodes():
    course = StepOnOff(1, 2, 1, "episodes").course()
    assert [course(999, e).strength for e in range(7)] == [0, 1, 1, 0, 1, 1, 0]
    assert [StepOnOff(0, 1, 0, "episodes").course()(7, e) for e in range(3)] == [(1.0, 0), (1.0, 1), (1.0, 2)]


def test_step_on_off_can_turn_the_other_way_every_second_time():
    turned = StepOnOff(10, 10, 10, alternate=True)
    assert [turned.course()(t, 0).strength for t in range(5, 80, 10)] == [0, 1, 0, -1, 0, 1, 0, -1]
    assert [turned.course()(t, 0).phase for t in range(5, 80, 10)] == [0, 0, 0, 1, 1, 2, 2, 3]
    assert turned.span == (-1.0, 1.0) and StepOnOff().span == (0.0, 1.0)


def test_linear_drift():
    drift = LinearDrift(steps=100, start=50, begin=0.2, end=1.2)
    np.testing.assert_allclose(_strengths(drift, [0, 50, 75, 100, 150, 10**9]), [0.2, 0.2, 0.45, 0.7, 1.2, 1.2])
    assert drift.span == (0.2, 1.2) and LinearDrift(begin=1.0, end=-1.0).span == (-1.0, 1.0)


def test_sinusoid():
    wave = Sinusoid(period=80, mean=0.4, amplitude=0.3, phase=0.0)
    np.testing.assert_allclose(_strengths(wave, [0, 20, 40, 60, 80]), [0.4, 0.7, 0.4, 0.1, 0.4], atol=1e-12)
    assert _strengths(Sinusoid(), [0])[0] == pytest.approx(0.0, abs=1e-12)


def test_two_tone_is_the_formula():
    t = np.arange(0, 160_000, 777)
    expected = -0.2 + 0.2 * np.sin(2 * np.pi * t / 80_000) + 0.1 * np.sin(2 * np.pi * t / 40_000)
    np.testing.assert_allclose(_strengths(TwoTone(), t), expected, atol=1e-12)


@pytest.mark.parametrize(
    "schedule",
    [StepOnOff(), LinearDrift(1000), Sinusoid(777.0), TwoTone(), FilteredNoise(period=200), OrnsteinUhlenbeck(every=3)],
)
def test_a_schedule_stays_within_its_span_and_depends_on_seed_and_time_alone(schedule):
    steps = np.random.default_rng(0).integers(0, 20_000, 300)
    there, back = schedule.course(5, 2), schedule.course(5, 2)
    first = {int(t): np.array(there(int(t), 0).strength) for t in steps}
    for t in sorted(first):
        np.testing.assert_array_equal(first[t], back(t, 0).strength)
        assert (schedule.span[0] <= first[t]).all() and (first[t] <= schedule.span[1]).all()


@pytest.mark.parametrize("schedule", [FilteredNoise(period=400), OrnsteinUhlenbeck(theta=0.5, every=3)])
def test_another_seed_and_another_actuator_is_another_course(schedule):
    steps = range(0, 4000, 50)
    one, two = _strengths(schedule, steps, 0, 2), _strengths(schedule, steps, 1, 2)
    assert one.shape == (80, 2)
    assert not np.allclose(one, two) and not np.allclose(one[:, 0], one[:, 1])


def test_filtered_noise_has_its_deviation_from_the_first_step_on():
    unclipped = FilteredNoise(sigma=0.3, period=200, clip=10.0)
    over_time = _strengths(unclipped, range(0, 100_000, 40), seed=0, actuators=4)
    np.testing.assert_allclose(over_time.std(0), 0.3, rtol=0.1)
    np.testing.assert_allclose(over_time.mean(0), 0.0, atol=0.03)
    at_start = np.array([unclipped.course(seed, 1)(0, 0).strength for seed in range(400)])
    assert at_start.std() == pytest.approx(0.3, rel=0.12)


def test_filtered_noise_is_independent_for_each_actuator():
    x = _strengths(FilteredNoise(period=200, clip=10.0), range(0, 200_000, 100), actuators=3)
    assert (np.abs(np.corrcoef(x.T) - np.eye(3)) < 0.1).all()


def test_filtered_noise_is_a_fifth_order_butterworth_low_pass():
    period, step = 100, 5
    x = _strengths(FilteredNoise(sigma=1.0, period=period, clip=10.0), range(0, 400_000, step), actuators=1)[:, 0]
    rows = x.reshape(-1, 2000)
    power = (np.abs(np.fft.rfft(rows * np.hanning(2000), axis=1)) ** 2).mean(0)
    frequency = np.fft.rfftfreq(2000, step)  # cycles per agent step
    level = power[(frequency > 0) & (frequency < 0.4 / period)].mean()
    at = {f: power[np.abs(frequency - f / period) < 0.05 / period].mean() / level for f in (1.0, 1.5, 2.0)}
    for ratio, measured in at.items():  # |H|² = 1 / (1 + ratio^10)
        assert measured == pytest.approx(1 / (1 + ratio**10), rel=0.35)


def test_filtered_noise_is_smooth_and_clipped():
    x = _strengths(FilteredNoise(sigma=0.5, period=200, clip=0.7), range(20_000))
    assert np.abs(np.diff(x, axis=0)).max() < 0.5 * 4 * 2 * np.pi / 200
    assert x.max() == 0.7 and x.min() == -0.7


def test_ornstein_uhlenbeck_has_its_deviation_and_its_memory():
    theta = 0.1
    course = OrnsteinUhlenbeck(theta=theta, sigma=0.3, every=2, clip=10.0).course(seed=1, actuators=2)
    x = np.array([course(2 * k, 0).strength for k in range(60_000)])
    np.testing.assert_allclose(x.std(0), 0.3, rtol=0.05)
    for lag in (1, 5, 10):
        memory = (x[lag:] * x[:-lag]).mean(0) / x.var(0)
        np.testing.assert_allclose(memory, np.exp(-theta * lag), atol=0.04)
    np.testing.assert_array_equal(course(8, 0).strength, course(9, 0).strength)  # holds between updates


def test_ornstein_uhlenbeck_starts_in_its_long_run():
    at_start = np.array([OrnsteinUhlenbeck(clip=10.0).course(seed, 1)(0, 0).strength for seed in range(300)])
    assert at_start.std() == pytest.approx(0.3, rel=0.15)
