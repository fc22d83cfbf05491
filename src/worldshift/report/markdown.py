"""Reports in Markdown, for a repository's own pages: the sections that `page` writes as HTML, with pictures linked."""

import os
from collections.abc import Sequence
from pathlib import Path

from worldshift.report.grid import Grid
from worldshift.report.section import TALL, Section


def document(title: str, lead: str, sections: Sequence[Section], home: Path) -> str:
    """A whole file that will stand in the folder `home`."""
    links = "\n".join(f"- [{s.name}](#{s.name}): {s.question}" for s in sections)
    return "\n\n".join([f"# {title}", lead, links, *(section(s, home) for s in sections)]) + "\n"


def section(s: Section, home: Path) -> str:
    """One study under a heading of its own."""
    picture = [f"![{s.question}]({link(s.picture, home)})"] if s.picture else []
    paper = [f"Published: {s.paper}"] if s.paper else []
    tables = [part for caption, grid in s.tables for part in (f"**{caption}**", folded(grid))]
    made = "<sub>" + "<br>".join(s.provenance) + "</sub>"
    words = [s.question[0].upper() + s.question[1:] + ".", *picture, s.meaning, *paper, *tables, *s.notes, made]
    return "\n\n".join([f"## {s.name}", *filter(None, words)])


def folded(grid: Grid) -> str:
    """A table, folded away where it is tall."""
    if len(grid.rows) <= TALL:
        return grid.markdown()
    return f"<details><summary>{len(grid.rows)} lines</summary>\n\n{grid.markdown()}\n\n</details>"


def link(path: Path, home: Path) -> str:
    """The way to a file from the folder `home`."""
    return Path(os.path.relpath(path, home)).as_posix()
