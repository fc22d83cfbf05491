"""Where a file came from: version, command, date and, in a git checkout, commit of the code that writes it.

No paper. Goes into the manifest of every checkpoint, and is meant for every row of results as well.
"""

import datetime
import importlib.metadata
import shlex
import shutil
import subprocess
import sys
from pathlib import Path


def _told(words: list[str]) -> list[str]:
    """The words of a command but for where it writes: what comes out does not depend on that."""
    kept = [word for word in words if not word.startswith("--out=")]
    if "--out" in kept:
        at = kept.index("--out")
        kept[at : at + 2] = []
    return kept


def origin() -> dict[str, str]:
    """`worldshift` (version), `command`, `created` (UTC, ISO 8601) and, if the package lies in a checkout, `git`."""
    try:
        version = importlib.metadata.version("worldshift")
    except importlib.metadata.PackageNotFoundError:
        version = "not installed"
    command = shlex.join([Path(sys.argv[0]).name, *_told(sys.argv[1:])])  # the name alone: no paths of the machine
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    record = {"worldshift": version, "command": command, "created": created}
    root = Path(__file__).parents[2]
    if (root / ".git").exists() and shutil.which("git"):
        run = subprocess.run(["git", "-C", root, "rev-parse", "--verify", "HEAD"], capture_output=True, text=True)
        if run.returncode == 0:
            record["git"] = run.stdout.strip()
    return record
