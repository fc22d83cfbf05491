"""`worldshift report`: one self-contained HTML page of all the evidence, drawn from the committed rows."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from worldshift.cli.shared import emit, progress, say
from worldshift.files import write_text
from worldshift.provenance import origin
from worldshift.report.grid import Grid, interval
from worldshift.report.page import Section, page
from worldshift.report.stats import estimate, iqm
from worldshift.studies.commentary import COMMENTARY, Commentary
from worldshift.studies.contract import Evidence, Scores
from worldshift.studies.declared import load_study, with_rows

LEAD = (
    "Pretrained world-model agents under changed dynamics: what each way of adapting recovers, on the same lives. "
    "Every number is drawn from committed rows; brackets are 95 % bootstrap intervals. IQM: mean of the middle half of "
    "all runs and tasks (arXiv 2108.13264)."
)


@dataclass(frozen=True)
class Verb:
    """Writes the page. It needs no network, and nothing else but a browser."""

    studies: tyro.conf.Positional[tuple[str, ...]] = ()
    """Which studies; by default all that have rows."""
    folder: Path = Path("results")
    """Folder of the rows."""
    out: Path = Path("report.html")
    """The file that is written."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> int:
        """Reads the rows, draws the pictures, writes the page."""
        names = self.studies or with_rows(self.folder, quick=True)
        if not names:
            raise ValueError(f"there are no rows in {self.folder}: run `worldshift study NAME` first.")
        loaded = [load_study(name, self.folder) for name in names]
        with tempfile.TemporaryDirectory() as pictures, progress(len(names), "report") as told:
            sections = []
            for number, each in enumerate(loaded):
                told(each.study.name, number)
                sections.append(section(each, Path(pictures), self.folder))
            made = origin()
            lead = f"{LEAD} Written by worldshift {made['worldshift']}, {made['created'][:10]}."
            text = page("worldshift: the evidence", lead, sections)
        write_text(self.out, text)
        if self.json:
            emit({"file": str(self.out), "studies": [s.name for s in sections], "bytes": len(text.encode())})
        else:
            say().print(f"wrote {self.out}: {len(sections)} studies, {len(text.encode()) / 1e6:.1f} MB", soft_wrap=True)
        return 0


def section(evidence: Evidence, pictures: Path, results: Path) -> Section:
    """One study as a section of the page."""
    study = evidence.study
    path = pictures / f"{study.name}.png"
    words = COMMENTARY.get(study.name.removesuffix("-quick"), Commentary(""))
    scores = study.scores(evidence)
    tables = [("Results", study.table(evidence))]
    if scores:
        tables.insert(0, (f"IQM: {scores.what}", middle(scores)))
    return Section(
        study.name,
        study.about,
        tables,
        picture=path if study.draw(evidence, path, results) else None,
        paper=words.paper,
        meaning=words.meaning,
        notes=study.notes(evidence),
        provenance=provenance(evidence),
    )


def middle(scores: Scores) -> Grid:
    """Interquartile means by method, with stratified bootstrap intervals."""
    lines = []
    for method, each in scores.by_method.items():
        if len(each) > 1 and np.isfinite(each).all():
            lines.append((method, interval(estimate(each, iqm, resamples=2000)), "{} x {}".format(*each.shape)))
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
