"""The README's results, written from committed rows between two markers, so that no number there is typed by hand.

An overview of the reflexes, and the tables of the two studies that answer the first questions; all are in
`docs/results.md`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from worldshift.files import write_text
from worldshift.report.grid import UNKNOWN, Grid, share
from worldshift.report.markdown import folded
from worldshift.report.stats import estimate, iqm
from worldshift.studies.contract import Evidence

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
FRONT = ("step-gains", "offline-data")
"""Studies whose tables stand in the README."""
COLUMNS = ("frozen", "fast", "layered", "oracle")
"""Methods whose share of the healthy body's reward is shown for every study of reflexes."""


def rewrite(path: Path, studies: Sequence[Evidence], tables: str = "docs/results.md") -> None:
    """Replaces what stands between the markers; `tables`: where each study's own table is, from there.

    Raises:
        ValueError: the file lacks the markers.
    """
    text = path.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no place for results: put the lines {BEGIN} and {END} where they belong.")
    front = [whole(each) for each in studies if each.study.name.removesuffix("-quick") in FRONT]
    write_text(path, "\n\n".join([head + BEGIN, *glance(studies, tables), *front, END + tail]))


def glance(studies: Sequence[Evidence], tables: str) -> list[str]:
    """What reflexes keep of the healthy body's reward, a line for each study, and where all other studies are."""
    lines, others = [], []
    for each in studies:
        link = f"[{each.study.name}]({tables}#{each.study.name})"
        scores = each.study.scores(each)
        if scores and "frozen" in scores.by_method:
            known = {m: own for m, own in scores.by_method.items() if len(own) > 1 and np.isfinite(own).all()}
            shares = {m: share(estimate(known[m], iqm, resamples=2000)) for m in COLUMNS if m in known}
            lines.append((f"{link}: {each.study.about}", *(shares.get(m, UNKNOWN) for m in COLUMNS)))
        else:
            others.append(link)
    said = "Share of the healthy body's reward: interquartile mean over bodies and levels, 95 % bootstrap intervals."
    kept = [Grid(("reflexes", *COLUMNS), lines).markdown(), said] if lines else []
    return [*kept, f"Tables and pictures of the others: {', '.join(others)}."] if others else kept


def whole(evidence: Evidence) -> str:
    """One study with its table."""
    study = evidence.study
    title = f"**{study.name}**: {study.about} (`worldshift results {study.name}`)"
    return "\n\n".join([title, folded(study.table(evidence)), *study.notes(evidence)])
