"""The README's results, written from committed rows between two markers, so that no number there is typed by hand."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from worldshift.cli.tables import CASES_LEGEND, interval, number, of_study, seconds, share
from worldshift.run.findings import numbers
from worldshift.run.offline_study import OfflineStudy
from worldshift.run.study import AnyStudy, Study
from worldshift.run.summary import Summary

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

Loaded = Mapping[str, tuple[AnyStudy, Mapping[str, Any], list[dict]]]


def rewrite(path: Path, studies: Loaded) -> None:
    """Replaces what stands between the markers.

    Raises:
        ValueError: the file lacks the markers.
    """
    text = path.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no place for results: put the lines {BEGIN} and {END} where they belong.")
    parts = [section(*each) for each in studies.values()]
    beside = path.with_name(path.name + ".tmp")
    beside.write_text("\n\n".join([head + BEGIN, *parts, END + tail]), encoding="utf-8")
    os.replace(beside, path)


def section(study: AnyStudy, header: Mapping[str, Any], rows: list[dict]) -> str:
    """One study in Markdown."""
    title = f"**{study.name}**: {study.about} (`worldshift results {study.name}`)"
    table = of_study(study, header, rows).markdown()
    if isinstance(study, OfflineStudy):
        return f"{title}\n\n{table}\n\n{CASES_LEGEND[0].upper()}{CASES_LEGEND[1:]}"
    if not isinstance(study, Study) or study.shift is None:
        return f"{title}\n\n{table}"
    found = cast(Mapping[str, Summary], numbers(study, header, rows))
    extra = [_fast(found["fast"])] if "fast" in found else []
    if "paper" in found:
        extra.append(_paper(found["paper"], found["nominal"]))
    return "\n\n".join([title, table, *extra])


def _paper(s: Summary, nominal: Summary) -> str:
    """What RWM's protocol asks of paper mode, in a sentence."""
    return (
        f"Paper mode: {share(s.recovery_late)} of the lost reward back in the last half of ON; at its end the control "
        f"error is {number(s.error_ratio, 2)} of the frozen agent's (the healthy body's: "
        f"{number(nominal.error_ratio, 2)}), and {number(s.excess_error_ratio, 2)} of what the fault added to it."
    )


def _fast(s: Summary) -> str:
    """What the fast reflex promises, in a sentence."""
    times = ", ".join(f"below {level} after {seconds(t)}" for level, t in s.actuation_times.items())
    return (
        f"Fast reflex, {s.bodies} trials of {s.draws} draws: actuation error {interval(s.actuation_end)} at the end; "
        f"{times} (median over bodies, sustained); {share(s.oracle_share)} of what the oracle wins back; after the "
        f"fault ends, below 0.25 after {seconds(s.after_effect)}. Brackets: 95 % bootstrap over fault draws."
    )
