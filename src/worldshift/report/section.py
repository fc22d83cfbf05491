"""What a report says about one study, before it is written as HTML (`page`) or Markdown (`markdown`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from worldshift.report.grid import Grid

TALL = 24
"""Lines beyond which a table is folded away until somebody asks for it."""


@dataclass(frozen=True)
class Section:
    """One study."""

    name: str
    question: str
    tables: Sequence[tuple[str, Grid]]
    """Captions and tables."""
    picture: Path | None = None
    paper: str = ""
    """What was published about it."""
    meaning: str = ""
    notes: Sequence[str] = ()
    provenance: Sequence[str] = ()
