"""What a study of offline adaptation comes to: summaries by pair and case, its table, and which checkpoint to take.

`offline` makes the rows. Returns are in the target, out of 500.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from worldshift.report.figures import Curve
from worldshift.report.grid import UNKNOWN, Grid, interval, number
from worldshift.report.stats import Estimate, estimate, mean
from worldshift.studies.contract import Rows

LATE = 3
"""Measurements at the end of a curve whose mean is reported: single ones swing."""
BOUND = "oracle"
"""The case that others are a share of."""
LEGEND = (
    f"Returns in the target, at most 500, mean over the last {LATE} measurements of the curve and over seeds, with "
    "95 % bootstrap intervals."
)
Summaries = Mapping[str, Mapping[str, "CaseSummary"]]
"""By pair and case."""


class CaseSummary(NamedTuple):
    """One case on one pair. Returns are out of 500, intervals over seeds."""

    final: Estimate
    """Mean of the last `LATE` measurements."""
    best: float
    """Highest point of the curve of means over seeds, for judging what choosing a checkpoint could win."""
    picked: float
    """Mean over seeds of the return at the lowest held-out error: what choosing without rewards gives."""
    share: float
    """Final return over the oracle's; not a number where there is no oracle."""
    adapted: bool
    """Whether there is a curve, or one measurement of an agent as it is."""


def by_case(rows: Rows) -> dict[str, dict[str, CaseSummary]]:
    """Summaries by pair and case."""
    found: dict[str, dict[str, CaseSummary]] = {}
    for pair in dict.fromkeys(row["pair"] for row in rows):
        mine = [row for row in rows if row["pair"] == pair]
        finals = {
            name: np.asarray([np.mean(r["curve"]["target_return"][-LATE:]) for r in mine if r["method"] == name])
            for name in dict.fromkeys(row["method"] for row in mine)
        }
        bound = finals[BOUND].mean() if BOUND in finals else np.nan
        for name, final in finals.items():
            curves = [row["curve"] for row in mine if row["method"] == name]
            found.setdefault(pair, {})[name] = CaseSummary(
                estimate(final, mean, resamples=2000),
                float(np.max(np.mean([c["target_return"] for c in curves], axis=0))),
                float(np.mean([_picked(c) for c in curves])),
                float(final.mean() / bound),
                len(curves[0]["target_return"]) > 1,
            )
    return found


def _picked(curve: Mapping[str, list[float]]) -> float:
    """The return where the held-out error was lowest; the first measurement, before any update, does not count."""
    if len(curve["target_return"]) == 1:
        return curve["target_return"][0]
    return curve["target_return"][1 + int(np.argmin(curve["held_out_kl"][1:]))]


def table(found: Summaries, order: Sequence[str]) -> Grid:
    """A line for each case, a column for each pair, and the mean share of the oracles where a case has every pair."""
    cases = [name for name in order if any(name in each for each in found.values())]
    lines = []
    for name in cases:
        own = [each.get(name) for each in found.values()]
        shares = [s.share for s in own if s]
        whole = float(100 * np.mean(shares)) if len(shares) == len(found) else np.nan
        cells = [f"{interval(s.final, 0)}{_percent(s.share)}" if s else UNKNOWN for s in own]
        lines.append((name, *cells, f"{number(whole, 0)} %" if np.isfinite(whole) else UNKNOWN))
    if len(found) == 1:
        lines = [line[:-1] for line in lines]
    return Grid(("method", *found, *(["mean share"] if len(found) > 1 else [])), lines)


def _percent(share: float) -> str:
    return f" · {100 * share:.0f} %" if np.isfinite(share) else ""


def notes(found: Summaries) -> list[str]:
    """What the columns are; and what choosing a checkpoint without a reward of the target would have given."""
    adapted = [(s, s.final.value / s.share) for each in found.values() for s in each.values() if s.adapted]
    known = [(s, bound) for s, bound in adapted if np.isfinite(bound) and bound > 0]
    if not known:
        return [LEGEND]
    end, picked, best = (
        f"{100 * np.mean([value(s) / bound for s, bound in known]):.0f} %"
        for value in (lambda s: s.final.value, lambda s: s.picked, lambda s: s.best)
    )
    return [
        LEGEND + " After the dot: share of the oracle, an agent that was trained in the target.",
        f"Which checkpoint: over {len(known)} adaptations above, the end of the curve is at {end} of the oracle in the "
        f"mean, the point of the lowest held-out error, which needs no reward of the target, at {picked}, and the best "
        f"point of each curve of means, which only rewards could tell, at {best}.",
    ]


def reading(rows: Rows) -> list[str]:
    """How well the agent's own model tells its return, where both were measured, in a sentence."""
    curves = [row["curve"] for row in rows if "read_return" in row["curve"]]
    if not curves:
        return []
    read, true = (np.concatenate([curve[name] for curve in curves]) for name in ("read_return", "target_return"))
    off, lean, like = np.mean(np.abs(read - true)), np.mean(read - true), np.corrcoef(read, true)[0, 1]
    return [
        f"What the agent's model reads that it was paid, without a reward, is {off:.0f} of 500 off in the mean, and "
        f"{abs(lean):.0f} too {'much' if lean > 0 else 'little'}; correlation {like:.3f} over {len(read)} measurements "
        f"of {len(curves)} runs, whose returns are {min(true):.0f} to {max(true):.0f}."
    ]


def over_updates(rows: Rows, name: str) -> dict[str, dict[str, Curve]]:
    """Curves by pair and case: mean over seeds, and their range. What is measured once is a level all along."""
    found: dict[str, dict[str, Curve]] = {}
    longest = max(row["curve"]["updates"][-1] for row in rows)
    for pair, case in dict.fromkeys((row["pair"], row["method"]) for row in rows):
        mine = [row["curve"] for row in rows if (row["pair"], row["method"]) == (pair, case)]
        if name not in mine[0]:
            continue
        values = np.asarray([curve[name] for curve in mine], float)
        x = np.asarray(mine[0]["updates"], float)
        if len(x) == 1:
            x, values = np.asarray([0.0, longest]), np.repeat(values.mean(0, keepdims=True), 2, axis=1)
        band = (values.min(0), values.max(0)) if len(values) > 1 else (None, None)
        found.setdefault(pair, {})[case] = Curve(x, values.mean(0), *band)
    return found


def final_shares(rows: Rows, methods: Sequence[str]) -> dict[str, np.ndarray]:
    """By method, of those that every pair has from every seed: final returns over the oracle's mean, (seeds, pairs).

    A pair without an oracle, as there is while a study is under way, is left out.
    """
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    finals = {
        (row["method"], row["pair"], row["seed"]): float(np.mean(row["curve"]["target_return"][-LATE:])) for row in rows
    }
    pairs = [p for p in dict.fromkeys(row["pair"] for row in rows) if all((BOUND, p, seed) in finals for seed in seeds)]
    found = {}
    for m in methods if pairs else ():
        if all((m, pair, seed) in finals for pair in pairs for seed in seeds):
            own, best = (np.asarray([[finals[name, p, s] for p in pairs] for s in seeds]) for name in (m, BOUND))
            found[m] = own / best.mean(0)
    return found
