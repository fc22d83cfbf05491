"""Tables of results: one grid of words, shown on a terminal or written as Markdown; numbers as words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from worldshift.report.stats import Estimate

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
