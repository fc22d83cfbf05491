"""Tables of offline adaptation, from rows whose summaries are known."""

import numpy as np

from worldshift.studies.offline_summary import by_case, final_shares, notes, over_updates, reading, table


def _row(pair, method, seed, returns, errors=None):
    curve = {"updates": list(range(len(returns))), "target_return": returns}
    return {"pair": pair, "method": method, "seed": seed, "curve": curve | ({"held_out_kl": errors} if errors else {})}


ROWS = [
    *(_row(pair, "oracle", seed, [400.0]) for pair in ("one", "two") for seed in (1, 2)),
    _row("one", "residual", 1, [0.0, 100.0, 200.0, 300.0], [9.0, 3.0, 1.0, 2.0]),
    _row("one", "residual", 2, [0.0, 300.0, 200.0, 100.0], [9.0, 1.0, 2.0, 3.0]),
    *(_row("two", "residual", seed, [0.0, 400.0, 400.0, 400.0], [9.0, 3.0, 2.0, 1.0]) for seed in (1, 2)),
    *(_row("two", "other", seed, [40.0]) for seed in (1, 2)),
]


def test_a_summary_is_of_the_end_the_best_and_the_lowest_error():
    found = by_case(ROWS)["one"]["residual"]
    assert (found.final.value, found.best, found.picked, found.share) == (200.0, 200.0, 250.0, 0.5)
    assert found.adapted and not by_case(ROWS)["two"]["other"].adapted


def test_a_line_for_each_case_and_a_column_for_each_pair():
    grid = table(by_case(ROWS), ("residual", "other", "oracle", "never run"))
    assert list(grid.header) == ["method", "one", "two", "mean share"]
    residual, other, oracle = grid.rows
    assert residual == ("residual", "200 [200, 200] · 50 %", "400 [400, 400] · 100 %", "75 %")
    assert other == ("other", "–", "40 [40, 40] · 10 %", "–") and oracle[-1] == "100 %"


def test_a_single_pair_needs_no_mean_and_no_oracle():
    rows = [row for row in ROWS if row["pair"] == "one" and row["method"] == "residual"]
    grid = table(by_case(rows), ("residual",))
    assert list(grid.header) == ["method", "one"] and grid.rows == [("residual", "200 [200, 200]")]
    assert len(notes(by_case(rows))) == 1


def test_what_choosing_a_checkpoint_would_give():
    """Two adaptations: at the end 50 and 100 % of the oracle, at the lowest error 62.5 and 100 %."""
    said = notes(by_case(ROWS))[1]
    assert "over 2 adaptations" in said and "at 75 % of the oracle" in said
    assert "target, at 81 %" in said and said.endswith("at 75 %.")


def test_shares_are_of_methods_that_every_pair_has():
    found = final_shares(ROWS, ("residual", "other", "oracle"))
    assert set(found) == {"residual", "oracle"}
    np.testing.assert_allclose(found["residual"], [[0.5, 1.0], [0.5, 1.0]])
    np.testing.assert_allclose(found["oracle"], 1.0)
    rows = [row for row in ROWS if (row["pair"], row["method"]) != ("two", "oracle")]
    under_way = final_shares(rows, ("residual", "other", "oracle"))
    np.testing.assert_allclose(under_way["residual"], [[0.5], [0.5]])
    assert final_shares([row for row in ROWS if row["method"] == "residual"], ("residual",)) == {}


def test_curves_have_the_range_over_seeds_and_levels_are_drawn_all_along():
    curves = over_updates(ROWS, "target_return")["one"]
    assert curves["oracle"].x.tolist() == [0, 3] and curves["oracle"].y.tolist() == [400, 400]
    assert curves["residual"].y.tolist() == [0, 200, 200, 200]
    assert curves["residual"].low.tolist() == [0, 100, 200, 100]


def test_what_the_model_reads_is_compared_where_it_was_measured():
    assert reading(ROWS) == []
    curve = {"updates": [0, 1], "target_return": [0.0, 400.0], "read_return": [10.0, 380.0]}
    (said,) = reading([*ROWS, {"pair": "one", "method": "residual", "seed": 3, "curve": curve}])
    assert "is 15 of 500 off in the mean, and 5 too little; correlation 1.000 over 2 measurements of 1 runs" in said
    assert said.endswith("whose returns are 0 to 400.")
