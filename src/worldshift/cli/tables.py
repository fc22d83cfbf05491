"""Tables of results: one grid of words, shown on a terminal or written as Markdown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from rich.table import Table

from worldshift.report.stats import Estimate
from worldshift.run.findings import Harmless, complete, numbers
from worldshift.run.kinds_study import KindsStudy, KindSummary, by_kind
from worldshift.run.looks_study import LooksStudy, LookSummary, by_look
from worldshift.run.offline_study import LATE, CaseSummary, OfflineStudy, by_case
from worldshift.run.study import AgentStudy, AnyStudy
from worldshift.run.summary import Summary

UNKNOWN = "–"


@dataclass(frozen=True)
class Grid:
    """A header and rows of words."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def rich(self, title: str | None = None) -> Table:
        """For a terminal."""
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for i, name in enumerate(self.header):
            table.add_column(name, justify="left" if i == 0 else "right")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """For a README."""
        marks = ["---", *["---:"] * (len(self.header) - 1)]
        return "\n".join("| " + " | ".join(row) + " |" for row in (self.header, marks, *self.rows))


def of_study(study: AnyStudy, header: Mapping[str, Any], rows: list[dict]) -> Grid:
    """The table of a study, whatever kind of study it is."""
    if isinstance(study, AgentStudy):
        return agents({row["agent"]: row for row in rows})
    if isinstance(study, OfflineStudy):
        return cases(by_case(rows))
    if isinstance(study, LooksStudy):
        return looks(by_look(rows))
    steps = study.protocol.episode_steps
    if isinstance(study, KindsStudy):
        return kinds(by_kind(complete(rows)), steps)
    found = numbers(study, header, rows)
    if study.shift is None:
        return harmless(cast(Mapping[str, Harmless], found), steps)
    return comparison(cast(Mapping[str, Summary], found), steps)


def comparison(methods: Mapping[str, Summary], episode_steps: int) -> Grid:
    """Methods under a fault. Rewards are per episode's worth of steps."""
    header = (
        *("method", f"reward / {episode_steps} steps", "recovered", "50 % after", "90 % after"),
        *("actuation error", "below 0.25 after", "control error", "ms a step"),
    )
    rows = []
    for name, s in methods.items():
        reference = name in ("nominal", "frozen")
        rows.append(
            (
                name,
                number(s.reward * episode_steps, 0),
                UNKNOWN if reference else share(s.recovery),
                UNKNOWN if reference else seconds(s.time_to_half),
                UNKNOWN if reference else seconds(s.time_to_90),
                UNKNOWN if name in ("nominal", "finetune") else interval(s.actuation_end),
                UNKNOWN if name in ("nominal", "finetune") else seconds(s.actuation_times["0.25"]),
                number(s.error_ratio, 2),
                number(s.ms, 2),
            )
        )
    return Grid(header, rows)


COMPARISON_LEGEND = (
    "recovered: share of the reward lost to the fault that is won back, from 10 s after its onset on; actuation error: "
    "what is still wrong at the motors over what the fault does, at the end of it (1: frozen, 0: perfect); control "
    "error: relative to the frozen agent's."
)


def harmless(methods: Mapping[str, Harmless], steps: int) -> Grid:
    """Methods on healthy bodies."""
    rows = [(name, number(h.reward * steps, 0), share(h.harm, digits=1)) for name, h in methods.items()]
    return Grid(("method", f"reward / {steps} steps", "cost"), rows)


def kinds(found: Mapping[str, Mapping[str, KindSummary]], steps: int) -> Grid:
    """Kinds of change. Rewards are per episode's worth of steps, over the last half of the change."""
    methods = list(next(iter(found.values())))
    others = [m for m in methods if m != "frozen"]
    header = ("change", *(f"{m}, reward / {steps} steps" for m in methods), *(f"{m} wins" for m in others))
    rows = [
        (
            kind,
            *(number(each[m].reward.value * steps, 0) for m in methods),
            *(share(each[m].gain) for m in others),
        )
        for kind, each in found.items()
    ]
    return Grid(header, rows)


def cases(found: Mapping[str, Mapping[str, CaseSummary]]) -> Grid:
    """Ways of adapting offline, pair by pair. Returns are in the target, out of 500."""
    header = ("pair", "method", f"return, last {LATE} of the curve", "of the oracle", "best of the curve", "picked")
    rows = [
        (
            pair,
            name,
            interval(s.final, 0),
            share(Estimate(s.share, math.nan, math.nan, s.final.runs, 1)),
            number(s.best, 0),
            number(s.picked, 0),
        )
        for pair, each in found.items()
        for name, s in each.items()
    ]
    return Grid(header, rows)


def looks(found: Mapping[str, Mapping[float, LookSummary]]) -> Grid:
    """What a camera sees, ever further from what the agent was trained on. Returns are out of 500."""
    rows = [
        (look, number(severity, 2), interval(s.returned, 0), interval(s.error))
        for look, each in found.items()
        for severity, s in each.items()
    ]
    return Grid(("what changes", "severity", "return", "error of the model (nats)"), rows)


CASES_LEGEND = (
    "returns in the target, mean over seeds with 95 % bootstrap intervals, at most 500; best of the curve: highest "
    "point of the curve of means; picked: where the held-out error is lowest, which needs no reward of the target."
)


def agents(found: Mapping[str, Mapping[str, Any]]) -> Grid:
    """Base agents."""
    rows = [
        (name, number(a["mean"], 0), number(a["min"], 0), f"{100 * a['saturation']:.1f} %", str(a["episodes"]))
        for name, a in sorted(found.items())
    ]
    return Grid(("agent", "mean return", "lowest", "saturated actions", "episodes"), rows)


def number(value: float | None, digits: int) -> str:
    """A number, or a dash where there is none."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:z.{digits}f}"  # z: no minus before 0


def interval(e: Estimate, digits: int = 2) -> str:
    """A value and its interval, as far as there is one."""
    if math.isnan(e.value) or not math.isfinite(e.low) or not math.isfinite(e.high):
        return number(e.value, digits)
    return f"{number(e.value, digits)} [{number(e.low, digits)}, {number(e.high, digits)}]"


def share(e: Estimate, digits: int = 0) -> str:
    """A share in percent."""
    text = interval(Estimate(100 * e.value, 100 * e.low, 100 * e.high, e.runs, e.tasks), digits)
    return text if text == UNKNOWN else f"{text} %"


def seconds(e: Estimate) -> str:
    """A body time; infinity is never."""
    if math.isnan(e.value):
        return UNKNOWN
    words = ["never" if math.isinf(x) else f"{x:.0f}" for x in (e.value, e.low, e.high) if not math.isnan(x)]
    if set(words) == {"never"}:
        return "never"
    return f"{words[0]} s" if len(words) < 3 else f"{words[0]} [{words[1]}, {words[2]}] s"
