"""The README's results, written from committed rows between two markers, so that no number there is typed by hand.

An overview of the reflexes, and the tables of the two studies that answer the first questions; all are in
`docs/results.md`.
"""

from collections.abc import Sequence
from pathlib import Path

from worldshift.files import write_text
from worldshift.report.grid import UNKNOWN, Grid, share
from worldshift.report.markdown import folded, link
from worldshift.studies.contract import Evidence

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
TABLES = "docs/results.md"
FRONT = ("step-gains", "offline-own")
"""Studies whose tables stand in the README."""
COLUMNS = ("frozen", "fast", "layered", "oracle")
"""Methods whose share of the healthy body's reward is shown for every study of reflexes."""


def rewrite(path: Path, studies: Sequence[Evidence], tables: Path | None = None) -> None:
    """Replaces what stands between the markers; `tables`: the file of all tables, if not `TABLES`.

    Raises:
        ValueError: the file lacks the markers.
    """
    text = path.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no place for results: put the lines {BEGIN} and {END} where they belong.")
    front = [whole(each) for each in studies if each.study.name.removesuffix("-quick") in FRONT]
    write_text(
        path,
        "\n\n".join(
            [head + BEGIN, *glance(studies, link(tables, path.parent) if tables else TABLES), *front, END + tail]
        ),
    )


def glance(studies: Sequence[Evidence], tables: str) -> list[str]:
    """What reflexes keep of the healthy body's reward, a line for each study, and where all other studies are."""
    lines, others = [], []
    for each in studies:
        linked = f"[{each.study.name}]({tables}#{each.study.name})"
        if each.scores and "frozen" in each.scores.by_method:
            shares = (share(each.middles[m]) if m in each.middles else UNKNOWN for m in COLUMNS)
            lines.append((f"{linked}: {each.study.about}", *shares))
        else:
            others.append(linked)
    said = "Share of the healthy body's reward: interquartile mean over bodies and levels, 95 % bootstrap intervals."
    kept = [Grid(("reflexes", *COLUMNS), lines).markdown(), said] if lines else []
    return [*kept, f"Tables and pictures of the others: {', '.join(others)}."] if others else kept


def whole(evidence: Evidence) -> str:
    """One study with its table."""
    study = evidence.study
    title = f"**{study.name}**: {study.about} (`worldshift results {study.name}`)"
    return "\n\n".join([title, folded(study.table(evidence)), *study.notes(evidence)])
