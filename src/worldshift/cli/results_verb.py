"""`worldshift results`: what the committed rows say, as tables, JSON, figures and the README's own table."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.markup import escape

from worldshift.cli.readme import rewrite
from worldshift.cli.shared import emit, say
from worldshift.studies.contract import Evidence
from worldshift.studies.declared import load_study, with_rows


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
    """Rewrite the table of results in this file, between its two markers."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> int:
        """Summarises, draws, rewrites."""
        names = [self.study] if self.study else with_rows(self.folder)
        if not names:
            raise ValueError(f"there are no rows in {self.folder}: run `worldshift study NAME` first.")
        loaded = [load_study(name, self.folder) for name in names]
        files = [str(path) for each in loaded for path in drawn(each, self.figures, self.folder)]
        if self.readme:
            rewrite(self.readme, loaded)
            files.append(str(self.readme))
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


def drawn(evidence: Evidence, folder: Path | None, results: Path) -> list[Path]:
    """Draws the study's figure into a folder, if there is one and it has one."""
    path = folder and folder / f"{evidence.study.name}.png"
    return [path] if path and evidence.study.draw(evidence, path, results) else []


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
