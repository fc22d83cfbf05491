"""The README's results, written from committed rows between two markers, so that no number there is typed by hand."""

from collections.abc import Sequence
from pathlib import Path

from worldshift.files import write_text
from worldshift.report.page import TALL
from worldshift.studies.contract import Evidence

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def rewrite(path: Path, studies: Sequence[Evidence]) -> None:
    """Replaces what stands between the markers.

    Raises:
        ValueError: the file lacks the markers.
    """
    text = path.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no place for results: put the lines {BEGIN} and {END} where they belong.")
    parts = [section(each) for each in studies]
    write_text(path, "\n\n".join([head + BEGIN, *parts, END + tail]))


def section(evidence: Evidence) -> str:
    """One study in Markdown."""
    study = evidence.study
    title = f"**{study.name}**: {study.about} (`worldshift results {study.name}`)"
    grid = study.table(evidence)
    table = grid.markdown()
    if len(grid.rows) > TALL:
        table = f"<details><summary>{len(grid.rows)} lines</summary>\n\n{table}\n\n</details>"
    return "\n\n".join([title, table, *study.notes(evidence)])
