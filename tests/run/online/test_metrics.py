"""Formulas and summaries on made-up rows whose answers are known."""

import numpy as np
import pytest

from worldshift.run.online import metrics
from worldshift.run.online.metrics import (
    actuation_error,
    bootstrap,
    bootstrap_ratio,
    course,
    first_below,
    harm,
    ratio,
    recovery_time,
    sustained,
    trailing,
)
from worldshift.run.online.protocol import Protocol
from worldshift.run.online.summary import FALLEN, plain, summarise

# 1 s blocks: 10 s healthy, 60 s of fault, 40 s after it
PROTOCOL = Protocol(nominal=200, on=1200, off=800, block=20)
DT = 0.05
LEAD, ON, OFF = 10, 60, 40


def life(fault=0, seed=0, *, before=2.0, on=2.0, off=2.0, left=0.0, wrong=1.0, after=0.0, error=1.0, agent=None):
    """One body's row; every argument is a number or one value for each block of its phase."""
    parts = {
        "reward": (before, on, off),
        "left": (0.0, left, after),
        "wrong": (0.0, wrong, wrong),
        "error": (0.5, error, 0.5),
        "guarded": (0.0, 0.0, 0.0),
    }
    row = {
        name: np.concatenate([np.broadcast_to(v, n) for v, n in zip(values, (LEAD, ON, OFF), strict=True)]).tolist()
        for name, values in parts.items()
    }
    return {"fault": fault, "seed": seed, **row} | ({"agent": agent} if agent else {})


def ramp(k: float) -> np.ndarray:
    """Falls from 1 by half every k seconds; value of block i is that at its end."""
    return 0.5 ** ((np.arange(ON) + 1) / k)


class TestCourse:
    def test_phases_are_cut_where_the_protocol_says(self):
        rows = [life(before=1.0, on=2.0, off=3.0), life(fault=1, before=4.0, on=5.0, off=6.0)]
        cut = course(rows, PROTOCOL, DT)
        assert (cut.before["reward"] == [[1.0] * LEAD, [4.0] * LEAD]).all()
        assert (cut.on["reward"] == [[2.0] * ON, [5.0] * ON]).all()
        assert (cut.off["reward"] == [[3.0] * OFF, [6.0] * OFF]).all()
        assert cut.seconds == 1.0

    def test_each_cycle_is_a_trial_with_a_draw_of_its_own(self):
        protocol = Protocol(nominal=20, on=40, off=20, cycles=2, block=20)
        row = {"fault": 7, "seed": 0} | {n: [0.0, 1, 2, 3, 4, 5, 6] for n in metrics.QUANTITIES}
        cut = course([row, {**row, "fault": 8}, {**row, "seed": 1}], protocol, DT)
        assert cut.on["reward"].tolist() == [[1, 2]] * 3 + [[4, 5]] * 3
        assert cut.off["reward"].ravel().tolist() == [3] * 3 + [6] * 3
        first, second, same_as_first = cut.draw[:3]
        assert first == same_as_first != second and len(set(cut.draw)) == 4

    @pytest.mark.parametrize("steps", [{"nominal": 190}, {"on": 1190}, {"off": 810}])
    def test_phases_that_share_a_block_are_refused(self, steps):
        with pytest.raises(ValueError, match="multiples of the block of 20"):
            course([life()], Protocol(**({"nominal": 200, "on": 1200, "off": 800} | steps)), DT)

    def test_rows_of_another_protocol_are_refused(self):
        with pytest.raises(ValueError, match="another one"):
            course([life()], Protocol(nominal=200, on=1200, off=780), DT)


class TestFormulas:
    def test_trailing_mean(self):
        assert trailing(np.array([[1.0, 3.0, 5.0, 9.0]]), 2).tolist() == [[1.0, 2.0, 4.0, 7.0]]
        assert trailing(np.array([2.0, 4.0, 6.0]), 5).tolist() == [2.0, 3.0, 4.0]

    def test_actuation_error_is_a_ratio_of_norms(self):
        phase = {"left": np.array([[4.0, 0.25, 0.0]]), "wrong": np.array([[4.0, 1.0, 9.0]])}
        assert actuation_error(phase, 1).tolist() == [[1.0, 0.5, 0.0]]

    def test_actuation_error_is_smoothed_before_the_root(self):
        phase = {"left": np.array([[0.0, 2.0]]), "wrong": np.array([[1.0, 3.0]])}
        assert actuation_error(phase, 2)[0, 1] == pytest.approx(np.sqrt(2 / 4))

    def test_actuation_error_is_undefined_without_a_wrong(self):
        phase = {"left": np.array([[0.3, 0.3]]), "wrong": np.array([[0.0, 1.0]])}
        assert np.isnan(actuation_error(phase, 1)).tolist() == [[True, False]]

    def test_a_perfect_correction_is_zero_in_spite_of_rounding(self):
        left = np.zeros((1, 50))
        left[0, :3] = [0.1, 0.7, 1e-3]
        error = actuation_error({"left": left, "wrong": np.ones((1, 50))}, 3)
        assert np.isfinite(error).all() and error[0, -1] < 1e-7

    def test_sustained_is_not_the_first_crossing(self):
        curve = np.array([1.0, 0.4, 0.6, 0.4, 0.3])
        assert first_below(curve, 0.5, 2.0) == 4.0
        assert sustained(curve, 0.5, 2.0) == 8.0

    @pytest.mark.parametrize("find", [sustained, first_below])
    def test_times_that_never_come_or_cannot_be_known(self, find):
        assert find(np.array([1.0, 0.9]), 0.5, 1.0) == np.inf
        assert find(np.array([0.1, 0.1]), 0.5, 1.0) == 1.0
        assert np.isnan(find(np.array([np.nan, 0.1]), 0.5, 1.0))
        assert np.isnan(find(np.array([]), 0.5, 1.0))

    def test_a_level_is_not_below_itself(self):
        assert sustained(np.array([0.5, 0.5]), 0.5, 1.0) == np.inf

    def test_recovery_time_of_a_step(self):
        lost = np.ones(20)
        won = np.where(np.arange(20) < 8, 0.0, 1.0)
        # The window of 4 blocks holds 2 recovered ones, half, at the end of block 9 (the tenth), and 4 of 4 two later.
        assert recovery_time(won, lost, 0.5, 4, 1.0) == 10.0
        assert recovery_time(won, lost, 1.0, 4, 1.0) == 12.0
        assert recovery_time(won, lost, 0.5, 4, 0.25) == 2.5

    def test_a_lucky_moment_is_no_recovery(self):
        won = np.zeros(40)
        won[5:10] = 2.0
        assert recovery_time(won, np.ones(40), 0.5, 5, 1.0) == np.inf

    def test_recovery_before_anything_is_lost_does_not_count(self):
        lost = np.concatenate([np.zeros(6), np.ones(14)])
        won = np.concatenate([np.zeros(6), np.full(14, 0.95)])
        assert recovery_time(won, lost, 0.9, 3, 1.0) == 7.0

    def test_recovery_time_needs_a_loss_and_a_window(self):
        assert np.isnan(recovery_time(np.ones(9), -np.ones(9), 0.5, 3, 1.0))
        assert np.isnan(recovery_time(np.ones(2), np.ones(2), 0.5, 3, 1.0))


class TestBootstrap:
    def test_draws_move_together(self):
        # Two seeds of a draw are copies: the interval must be that of 6 draws, not of 12 independent bodies.
        rng = np.random.default_rng(3)
        values = rng.normal(size=6)
        draw = np.repeat(np.arange(6), 2)
        paired = bootstrap(draw, lambda i: float(np.repeat(values, 2)[i].mean()), 4000)
        single = bootstrap(np.arange(6), lambda i: float(values[i].mean()), 4000)
        assert (paired.value, paired.low, paired.high) == pytest.approx(
            (single.value, single.low, single.high), abs=0.02
        )
        assert paired.runs == 6

    def test_interval_of_a_mean_is_near_the_normal_one(self):
        values = np.random.default_rng(0).normal(size=400)
        found = bootstrap(np.arange(400), lambda i: float(values[i].mean()), 2000)
        assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)

    def test_one_draw_has_no_interval(self):
        found = bootstrap(np.zeros(4, int), lambda i: 2.0, 10)
        assert found.value == 2.0 and np.isnan(found.low) and np.isnan(found.high)

    def test_ratio_of_sums_is_undefined_where_nothing_is_lost(self):
        statistic = ratio(np.array([1.0, 2.0, 3.0]), np.array([2.0, -1.0, 3.0]))
        assert statistic(np.arange(3)) == 6 / 4
        assert np.isnan(statistic(np.array([1])))
        assert np.isnan(statistic(np.array([0, 1, 1])))

    def test_many_ratios_at_once_are_the_same_ratios(self):
        rng = np.random.default_rng(5)
        for draw in (np.repeat(np.arange(8), 3), np.array([0, 1]), np.zeros(4, int)):
            won, lost = rng.normal(size=(2, len(draw)))
            one, many = bootstrap(draw, ratio(won, lost + 0.5), 300), bootstrap_ratio(draw, won, lost + 0.5, 300)
            assert vars(many) == pytest.approx(vars(one), nan_ok=True)

    def test_an_unknown_bound_is_not_invented(self):
        # One draw of two costs nothing: a quarter of the resamples have no recovery, so no 95 % bound can be given.
        found = bootstrap(np.array([0, 1]), ratio(np.array([1.0, 0.0]), np.array([2.0, -1.0])), 500)
        assert found.value == 1.0 and np.isnan(found.low) and np.isnan(found.high)

    def test_a_time_whose_beginning_is_unknown_is_not_never(self):
        # Of 3 draws one has nothing to recover from (undefined), one never recovers, one does after 3 s.
        values = np.array([np.nan, np.inf, 3.0])
        found = bootstrap(np.arange(3), lambda i: float(values[i[0]]), 500)
        assert np.isnan(found.low) and found.high == np.inf
        only = bootstrap(np.arange(3), lambda i: float(values[[0, 2, 2]][i[0]]), 500)
        assert np.isnan(only.low) and np.isnan(only.high)

    def test_a_time_that_may_never_come_has_an_infinite_end(self):
        found = bootstrap(np.arange(4), lambda i: np.inf if (i == 0).mean() >= 0.5 else 3.0, 500)
        assert (found.value, found.low, found.high) == (3.0, 3.0, np.inf)


def world(**methods):
    """Rows for a healthy reward of 2, a frozen one of 1, and whatever else is given."""
    frozen = [life(f, s, on=1.0, left=1.0, error=3.0) for f in range(4) for s in range(2)]
    nominal = [life(f, s, on=2.0, wrong=0.0, error=1.0) for f in range(4) for s in range(2)]
    others = {
        name: [{**row, "fault": f, "seed": s} for f in range(4) for s in range(2)] for name, row in methods.items()
    }
    return {"nominal": nominal, "frozen": frozen, **others}


class TestSummary:
    def test_references_are_the_ends_of_the_scale(self):
        found = summarise(world(), PROTOCOL, DT, resamples=20)
        assert found["frozen"].recovery.value == 0.0 and found["nominal"].recovery.value == 1.0
        assert found["frozen"].reward == 1.0 and found["nominal"].reward == 2.0
        assert found["frozen"].time_to_half.value == np.inf
        assert found["frozen"].actuation_end.value == 1.0
        assert np.isnan(found["nominal"].actuation_end.value)

    def test_recovery_and_its_times(self):
        back = np.where(np.arange(ON) < 20, 1.0, 1.95)  # 95 % from 20 s on
        s = summarise(world(fast=life(on=back)), PROTOCOL, DT, resamples=20)["fast"]
        assert s.recovery_whole.value == pytest.approx(0.95 * 40 / 60)
        assert s.recovery_late.value == pytest.approx(0.95)  # from 30 s on
        assert s.recovery.value == pytest.approx(0.95 * 40 / 50)  # from 10 s on
        # Of a trailing 5 s, 3 recovered blocks are 57 %, and it takes all 5 to be above 90 %.
        assert (s.time_to_half.value, s.time_to_90.value) == (23.0, 25.0)
        assert (s.bodies, s.draws) == (8, 4)

    def test_share_of_the_oracle(self):
        rows = world(fast=life(on=1.6), oracle=life(on=1.8))
        assert summarise(rows, PROTOCOL, DT, resamples=20)["fast"].oracle_share.value == pytest.approx(0.75)

    def test_actuation_times_of_an_exponential(self):
        s = summarise(world(fast=life(left=ramp(4.0) ** 2)), PROTOCOL, DT, resamples=20)["fast"]
        # |wrong left| halves every 4 s and is 1/2 at the end of block 4: below at the next one; a quarter 4 s later.
        assert {k: t.value for k, t in s.actuation_times.items()} == {"0.5": 5.0, "0.25": 9.0, "0.15": 11.0}
        assert s.actuation_end.value == pytest.approx(np.mean(ramp(4.0)[-12:]))

    def test_a_relapse_postpones_the_sustained_time_only(self):
        left = np.full(ON, 0.01)
        left[30] = 0.36
        s = summarise(world(fast=life(left=left)), PROTOCOL, DT, resamples=20)["fast"]
        assert s.actuation_crossings["0.5"].value == 1.0
        assert s.actuation_times["0.5"].value == 32.0

    def test_the_median_is_over_bodies_at_each_moment(self):
        rows = world(fast=life())
        for i, row in enumerate(rows["fast"]):
            bad = i < 3  # a minority that never adapts
            row["left"] = life(left=1.0 if bad else 0.01)["left"]
        s = summarise(rows, PROTOCOL, DT, resamples=20)["fast"]
        assert s.actuation_times["0.15"].value == 1.0
        assert s.actuation_times["0.15"].high == np.inf  # but a draw of bodies may have a majority of them

    def test_who_plans_is_compared_with_who_plans(self):
        planning = {"nominal, planner": life(on=1.8), "frozen, planner": life(on=1.4, error=2.0)}
        own = life(on=1.6, error=1.0)
        found = summarise(world(**planning, **{"fast, planner, own": own, "fast": own}), PROTOCOL, DT, resamples=20)
        assert found["fast, planner, own"].recovery.value == pytest.approx(0.5) == found["fast"].recovery.value - 0.1
        assert found["fast, planner, own"].error_ratio == 0.5 and found["fast"].error_ratio == pytest.approx(1 / 3)

    def test_control_error(self):
        s = summarise(world(fast=life(error=1.5)), PROTOCOL, DT, resamples=20)["fast"]
        assert s.error_ratio == 0.5
        assert s.excess_error_ratio == 0.25  # (1.5 - 1) / (3 - 1)

    def test_after_effect(self):
        after = np.concatenate([np.full(7, 0.81), np.full(OFF - 7, 0.01)])
        s = summarise(world(fast=life(after=after)), PROTOCOL, DT, resamples=20)["fast"]
        assert s.after_effect.value == 8.0
        assert summarise(world(), PROTOCOL, DT, resamples=20)["frozen"].after_effect.value == 1.0

    def test_falls_and_harm(self):
        on = np.where(np.arange(ON) < 15, 0.99 * FALLEN * 2.0, 2.0)
        s = summarise(world(fast=life(on=on, before=1.9)), PROTOCOL, DT, resamples=20)["fast"]
        assert s.falls == 0.25
        assert s.harm == pytest.approx(0.05)

    def test_windows_tile_the_fault(self):
        s = summarise(world(fast=life(on=np.arange(ON) / ON)), PROTOCOL, DT, resamples=20)["fast"]
        assert [(w.begin, w.end) for w in s.windows] == [(0, 5), (5, 10), (10, 20), (20, 50), (50, 60)]
        assert s.windows[1].reward == pytest.approx(np.mean(np.arange(5, 10)) / ON)
        assert s.windows[1].reward_share == pytest.approx(np.mean(np.arange(5, 10)) / ON / 2)

    def test_guarded_steps_are_counted(self):
        row = life()
        row["guarded"][LEAD + 3] = 0.1  # 2 of the block's 20 steps
        assert summarise(world(fast=row), PROTOCOL, DT, resamples=20)["fast"].guarded == 2 * 8

    def test_a_fault_that_costs_nothing_cannot_be_recovered_from(self):
        rows = world(fast=life(on=1.0))
        rows["nominal"] = rows["frozen"]
        s = summarise(rows, PROTOCOL, DT, resamples=20)["fast"]
        assert np.isnan(s.recovery.value) and np.isnan(s.time_to_90.value)

    def test_without_nominal_or_off_phase(self):
        protocol = Protocol(nominal=200, on=1200, off=0, block=20)
        rows = {m: [{k: v[: LEAD + ON] if isinstance(v, list) else v for k, v in row.items()} for row in each]
                for m, each in world(fast=life(left=0.04)).items() if m != "nominal"}  # fmt: skip
        s = summarise(rows, protocol, DT, resamples=20)["fast"]
        assert np.isnan(s.recovery.value) and np.isnan(s.after_effect.value) and np.isnan(s.excess_error_ratio)
        assert s.actuation_end.value == pytest.approx(0.2)

    def test_methods_must_have_lived_the_same(self):
        rows = world(fast=life())
        rows["fast"][3]["seed"] = 99
        with pytest.raises(ValueError, match="same trials"):
            summarise(rows, PROTOCOL, DT)
        with pytest.raises(ValueError, match="frozen"):
            summarise({"nominal": rows["nominal"]}, PROTOCOL, DT)

    def test_json_has_null_for_never_and_undefined(self):
        found = plain(summarise(world(fast=life(on=1.0, left=1.0)), PROTOCOL, DT, ms={"fast": 0.25}, resamples=20))
        assert found["fast"]["time_to_half"]["value"] is None
        assert found["nominal"]["actuation_end"]["value"] is None
        assert found["fast"]["ms"] == 0.25 and found["frozen"]["ms"] is None
        assert found["fast"]["windows"][0]["begin"] == 0.0


def test_harm_is_paired_and_relative():
    frozen = [{"seed": s, "reward": [1.0 + s, 1.0 + s]} for s in range(16)]
    own = [{"seed": s, "reward": [0.99 * (1.0 + s), 0.99 * (1.0 + s)]} for s in range(16)]
    found = harm(own, frozen)
    assert (found.value, found.low, found.high) == pytest.approx((0.01, 0.01, 0.01))
    assert found.runs == 16
    with pytest.raises(ValueError, match="same bodies"):
        harm(own[1:], frozen[1:][::-1])
