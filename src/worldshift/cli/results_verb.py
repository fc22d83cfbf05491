"""`worldshift results`: what the committed rows say, as tables, JSON, figures and the repository's own pages."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.markup import escape

from worldshift.cli.readme import rewrite
from worldshift.cli.shared import emit, say
from worldshift.files import write_text
from worldshift.report.markdown import document
from worldshift.studies.contract import Evidence
from worldshift.studies.declared import load_study, with_rows
from worldshift.studies.sections import LEAD, drawn, section


@dataclass(frozen=True)
class Verb:
    """Summarises the rows of a study, or of all that have any."""

    study: tyro.conf.Positional[str | None] = None
    """Which one; all by default."""
    folder: Path = Path("results")
    """Folder of the rows."""
    figures: Path | None = None
    """Draw the studies' figures into this folder."""
    readme: Path | None = None
    """Rewrite the overview of results in this file, between its two markers."""
    tables: Path | None = None
    """Write all tables into this Markdown file, with the figures if they are drawn, too."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> int:
        """Summarises, draws, rewrites."""
        names = [self.study] if self.study else with_rows(self.folder)
        if not names:
            raise ValueError(f"there are no rows in {self.folder}: run `worldshift study NAME` first.")
        loaded = [load_study(name, self.folder) for name in names]
        pictures = [drawn(each, self.figures, self.folder) if self.figures else None for each in loaded]
        files = [str(path) for path in pictures if path]
        if self.readme:
            rewrite(self.readme, loaded, self.tables)
            files.append(str(self.readme))
        if self.tables:
            sections = [section(each, path) for each, path in zip(loaded, pictures, strict=True)]
            write_text(self.tables, document("Results", LEAD, sections, self.tables.parent))
            files.append(str(self.tables))
        if self.json and len(loaded) > 1:
            emit(
                {
                    "studies": {each.study.name: findings(each) for each in loaded},
                    "files": files,
                }
            )
            return 0
        for each in loaded:
            tell(each, json=self.json, extra={"files": files} if self.json else {})
        for file in [] if self.json else files:
            say().print(f"wrote {file}", soft_wrap=True)
        return 0


def findings(evidence: Evidence) -> dict[str, Any]:
    """The numbers of a study as JSON values."""
    study = evidence.study
    base = {"study": study.name, "about": study.about, "definition": evidence.header["definition"]}
    return base | study.numbers(evidence)


def tell(evidence: Evidence, *, json: bool, extra: Mapping[str, Any]) -> None:
    """Prints what a study found: one JSON object, or a table."""
    if json:
        emit(findings(evidence) | dict(extra))
        return
    out, study = say(), evidence.study
    out.print(f"\n[bold]{study.name}[/]: {study.about}")
    out.print(study.table(evidence).rich())
    for note in study.notes(evidence):
        out.print(f"[dim]{escape(note)}[/]")
    for name, value in extra.items():
        out.print(f"{name}: {value}", soft_wrap=True)
