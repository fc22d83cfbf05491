"""Files are written whole or not at all; a folder that is held is nobody else's."""

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from worldshift.files import InUseError, held, replacing, write_text


def test_a_file_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "new" / "rows.jsonl"
    with replacing(target) as beside:
        beside.write_text("half")
        assert not target.exists() and beside.parent == target.parent
    assert target.read_text() == "half" and list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "rows.jsonl"
    write_text(target, "old é")
    with pytest.raises(KeyboardInterrupt), replacing(target) as beside:
        beside.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text(encoding="utf-8") == "old é" and list(tmp_path.iterdir()) == [target]


def _holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds a folder until it is killed."""
    script = (
        "import sys, time; from worldshift.files import held\nwith held(sys.argv[1]): print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.readline()
    return process


def test_a_folder_that_is_held_is_refused_and_free_once_its_holder_was_killed(tmp_path):
    with _holder(tmp_path) as holder:
        with pytest.raises(InUseError, match="in use by another process"), held(tmp_path):
            pass
        holder.kill()
        with held(tmp_path, wait=True), pytest.raises(InUseError), held(tmp_path):
            pass
    with held(tmp_path):
        pass


@pytest.mark.parametrize(("number", "held_anyway"), [(errno.ENOSYS, True), (errno.EIO, False)])
def test_a_file_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch, number, held_anyway):
    def refuse(*_):
        raise OSError(number, "no")

    monkeypatch.setattr(fcntl, "flock", refuse)
    if held_anyway:
        with held(tmp_path):
            return
    with pytest.raises(OSError, match="no"), held(tmp_path):
        pass
