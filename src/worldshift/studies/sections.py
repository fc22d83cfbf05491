"""What a study's rows say as a section of a report: its question, picture, tables, and what was published about it."""

from collections.abc import Mapping
from pathlib import Path

from worldshift.report.grid import Grid, interval
from worldshift.report.section import Section
from worldshift.report.stats import Estimate
from worldshift.studies.commentary import COMMENTARY, Commentary
from worldshift.studies.contract import Evidence

LEAD = (
    "Pretrained world-model agents under changed dynamics: what each way of adapting recovers, on the same lives. "
    "Every number is drawn from committed rows; brackets are 95 % bootstrap intervals. IQM: mean of the middle half of "
    "all runs and tasks (arXiv 2108.13264)."
)


def section(evidence: Evidence, picture: Path | None) -> Section:
    """One study, with its picture if it was drawn."""
    study = evidence.study
    words = COMMENTARY.get(study.name.removesuffix("-quick"), Commentary(""))
    tables = [("Results", study.table(evidence))]
    if evidence.scores:
        tables.insert(0, (f"IQM: {evidence.scores.what}", middle(evidence.middles)))
    return Section(
        study.name,
        study.about,
        tables,
        picture=picture,
        paper=words.paper,
        meaning=words.meaning,
        notes=study.notes(evidence),
        provenance=provenance(evidence),
    )


def drawn(evidence: Evidence, folder: Path, results: Path) -> Path | None:
    """Draws the study's picture into a folder, if it has one. `results`: where published scores are."""
    path = folder / f"{evidence.study.name}.png"
    return path if evidence.study.draw(evidence, path, results) else None


def middle(middles: Mapping[str, Estimate]) -> Grid:
    """Interquartile means by method."""
    lines = [(method, interval(each), f"{each.runs} x {each.tasks}") for method, each in middles.items()]
    return Grid(("method", "IQM", "runs x tasks"), lines)


def provenance(evidence: Evidence) -> list[str]:
    """What made the rows: command, versions, commits, agents."""
    name, pairs = evidence.study.name, evidence.header["pairs"]
    versions, commits = ({pair[key] for pair in pairs if key in pair} for key in ("worldshift", "git"))
    agents = {pair["agent"]: pair["fingerprint"] for pair in pairs}
    days = sorted(pair["created"][:10] for pair in pairs)
    return [
        f"worldshift study {name}; worldshift {', '.join(sorted(versions))}, {days[0]} to {days[-1]}; commits "
        + ", ".join(sorted(commit[:8] for commit in commits)),
        "Agents: " + ", ".join(f"{agent} ({mark})" for agent, mark in agents.items()),
        f"Rows and definition: results/{name}.jsonl",
    ]
