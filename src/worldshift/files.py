"""Files that a reader never meets half-written, and folders that two processes do not write at once.

No paper. Checkpoints and data sets, which are folders, have their own ways of being written whole.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Where to write: what is there takes the place of `path` when all went well, and is removed otherwise.

    Folders above `path` are made.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield beside
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)
"""What file systems without locks answer, as some of clusters are."""


class InUseError(ValueError):
    """Another process writes there."""


@contextmanager
def held(folder: str | os.PathLike[str], *, wait: bool = False) -> Iterator[None]:
    """A folder for this process alone: until the context ends, or the process, however it does.

    Where the file system has no locks, nobody is kept out.

    Arguments:
        folder: made if it is not there; the lock is on `.lock` in it, which stays.
        wait: for whoever holds it, instead of refusing.

    Raises:
        InUseError: another process holds it.
    """
    path = Path(folder) / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError(f"{folder} is in use by another process: wait for it, or choose another one.") from None
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
        yield
