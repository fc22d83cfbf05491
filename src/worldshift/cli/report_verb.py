"""`worldshift report`: one self-contained HTML page of all the evidence, drawn from the committed rows."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from worldshift.cli.shared import emit, progress, say
from worldshift.files import write_text
from worldshift.provenance import origin
from worldshift.report.page import page
from worldshift.studies.declared import load_study, with_rows
from worldshift.studies.sections import LEAD, drawn, section


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
                sections.append(section(each, drawn(each, Path(pictures), self.folder)))
            made = origin()
            lead = f"{LEAD} Written by worldshift {made['worldshift']}, {made['created'][:10]}."
            text = page("worldshift: the evidence", lead, sections)
        write_text(self.out, text)
        if self.json:
            emit({"file": str(self.out), "studies": [s.name for s in sections], "bytes": len(text.encode())})
        else:
            say().print(f"wrote {self.out}: {len(sections)} studies, {len(text.encode()) / 1e6:.1f} MB", soft_wrap=True)
        return 0
