"""The log of a training run: one JSON object a line, cut back to what was saved before a run goes on."""

import json
from pathlib import Path
from typing import Any

from worldshift.files import write_text


class Journal:
    """`log.jsonl` of a run, in order of agent steps."""

    def __init__(self, path: Path, clock: str = "agent_steps"):
        """`clock` names the entry that grows from row to row."""
        self.path, self._clock = path, clock

    def append(self, row: dict[str, Any]) -> None:
        """Adds a row."""
        with open(self.path, "a") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """All complete rows; a last one that was cut short by a crash is left out."""
        rows = []
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def cut(self, clock: int) -> list[dict[str, Any]]:
        """Drops the rows after `clock`, which are going to be lived again; returns those that stay."""
        kept = [row for row in self.rows() if row[self._clock] <= clock]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        return kept

    def clear(self) -> None:
        """Begins anew."""
        self.path.unlink(missing_ok=True)
