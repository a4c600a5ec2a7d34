from __future__ import annotations

from pathlib import Path

import pytest

from llmkit.output.atomic import write_whole


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "made" / "file"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"

    def fail(self: Path, target: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_whole(path, b"newer")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]
