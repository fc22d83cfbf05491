"""Files are written whole or not at all."""

import pytest

from worldshift.files import replacing, write_text


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
