"""Statistics against closed forms, exact enumeration of a small bootstrap, and coverage on simulated data."""

import itertools
import json

import numpy as np
import pytest
import scipy.stats

from worldshift.report import stats
from worldshift.report.stats import estimate, iqm, mean, median_time, paired_difference

INF = np.inf


def test_iqm_by_hand_and_against_scipy():
    assert iqm(np.arange(1.0, 9.0).reshape(4, 2)) == 4.5  # (3 + 4 + 5 + 6) / 4
    assert iqm(np.array([[0.0], [1.0], [2.0], [3.0], [1e9]])) == 2.0
    rng = np.random.default_rng(0)
    for runs, tasks in [(2, 1), (3, 1), (5, 4), (7, 3), (10, 11)]:
        scores = rng.normal(size=(6, runs, tasks))
        expected = [scipy.stats.trim_mean(each.ravel(), 0.25) for each in scores]
        np.testing.assert_allclose(iqm(scores), expected, rtol=1e-12)


def test_iqm_of_exponential_samples_has_its_closed_form():
    # Twice the integral of -ln(1 - u) over the middle half of u.
    expected = 2 * ((0.25 * np.log(0.25) - 0.25) - (0.75 * np.log(0.75) - 0.75))
    samples = np.random.default_rng(0).exponential(size=(200_000, 5))
    assert iqm(samples) == pytest.approx(expected, abs=3e-3)


def test_interval_equals_the_enumerated_bootstrap_distribution():
    scores = np.array([0.0, 1.0, 5.0])
    every = np.sort([np.mean(draw) for draw in itertools.product(scores, repeat=3)])
    found = estimate(scores, mean, resamples=200_000, confidence=0.8)
    low, high = (every[np.ceil(q * 27).astype(int) - 1] for q in (0.1, 0.9))
    assert (found.value, found.low, found.high) == pytest.approx((2.0, low, high))


def test_interval_of_a_mean_has_the_width_of_theory():
    scores = np.random.default_rng(1).normal(3.0, 2.0, size=(400, 2))
    found = estimate(scores, mean)
    half = scipy.stats.norm.ppf(0.975) * np.sqrt(scores.var(0).sum() / 400) / 2
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.03)
    assert found.value == pytest.approx(scores.mean())
    assert (found.runs, found.tasks) == (400, 2)


def test_strata_keep_differences_between_tasks_out_of_the_interval():
    scores = np.tile([0.0, 10.0, 500.0], (5, 1))
    found = estimate(scores, mean)
    assert found.low == found.high == found.value == 170.0
    pooled = estimate(scores.reshape(-1), mean)
    assert pooled.high - pooled.low > 100


@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda rng: rng.normal(size=(30, 2)), 0.0),
        (lambda rng: rng.exponential(size=(30, 2)), 2 * (0.5 - 0.25 * np.log(4) + 0.75 * np.log(4 / 3))),
    ],
)
def test_intervals_cover_the_truth_as_often_as_they_say(draw, truth):
    rng = np.random.default_rng(7)
    found = [estimate(draw(rng), seed=i, resamples=400) for i in range(600)]
    covered = np.mean([each.low <= truth <= each.high for each in found])
    assert 0.915 <= covered <= 0.975  # 0.95, minus the known slight optimism of percentile intervals, +- 3 sigma


def test_paired_intervals_cover_and_are_narrower_than_unpaired_ones():
    rng = np.random.default_rng(3)
    covered, widths = [], []
    for i in range(300):
        shared = rng.normal(0, 5, size=(30, 1))
        theirs = shared + rng.normal(size=(30, 1))
        ours = shared + 1.0 + rng.normal(size=(30, 1))
        found = paired_difference(ours, theirs, mean, seed=i, resamples=400)
        covered.append(found.low <= 1.0 <= found.high)
        widths.append((found.high - found.low, estimate(ours, mean, seed=i, resamples=400)))
    assert 0.90 <= np.mean(covered) <= 0.985
    assert np.mean([paired < 0.5 * (alone.high - alone.low) for paired, alone in widths]) > 0.95


def test_a_constant_difference_is_found_exactly():
    theirs = np.random.default_rng(0).normal(size=(5, 4))
    for statistic in (iqm, mean):
        found = paired_difference(theirs + 0.25, theirs, statistic)
        assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([3.0, 1.0, 2.0], 2.0),
        ([3.0, 1.0, INF], 3.0),
        ([1.0, INF, INF], INF),
        ([1.0, 2.0, INF, INF], 2.0),  # exactly half recovered, by 2 s
        ([1.0, INF, INF, INF], INF),
        ([4.0, 1.0, 3.0, 2.0], 2.0),
    ],
)
def test_median_of_censored_times(times, expected):
    assert median_time(np.array(times)[:, None]) == expected


def test_a_time_that_is_mostly_never_says_so_everywhere():
    never = estimate(np.array([4.0, 5.0, INF, INF, INF, INF, INF, INF]), median_time)
    assert str(never) == "never [5, never]"
    assert json.loads(json.dumps(never.as_json(), allow_nan=False))["value"] is None
    times = np.append(np.random.default_rng(0).uniform(1, 9, 59), INF)
    usual = estimate(times, median_time)
    assert 1 < usual.low < usual.value < usual.high < 9


def test_chunks_and_seeds(monkeypatch):
    scores = np.random.default_rng(0).normal(size=(6, 3))
    whole = estimate(scores, seed=5)
    assert estimate(scores, seed=5) == whole and estimate(scores, seed=6) != whole
    monkeypatch.setattr(stats, "_CHUNK", 1000)
    assert estimate(scores, seed=5) == whole


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimate(np.array([1.0, np.nan])), "hold NaN"),
        (lambda: estimate(np.array([[1.0, 2.0]])), "at least two runs of a task, not 1 of 2"),
        (lambda: paired_difference(np.ones(3), np.ones(4)), r"equal shapes, not \(3,\) and \(4,\)"),
        (lambda: paired_difference(np.array([1.0, INF]), np.ones(2), median_time), "needs finite scores"),
    ],
)
def test_bad_scores_are_refused_with_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
