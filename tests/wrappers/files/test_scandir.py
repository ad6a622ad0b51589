"""The entries of ``os.scandir``."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest


def test_entries_tell_what_stock_tells(beside_another: None, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("abc")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    (tmp_path / "broken").symlink_to("nothing")
    with os.scandir(tmp_path) as found:
        entries = {entry.name: entry for entry in found}
    assert {name for name, entry in entries.items() if entry.is_dir()} == {"directory", "link"}
    assert [n for n, entry in entries.items() if entry.is_dir(follow_symlinks=False)] == [
        "directory"
    ]
    assert [name for name, entry in entries.items() if entry.is_file()] == ["file"]
    assert entries["file"].stat().st_size == 3
    assert stat.S_ISDIR(entries["link"].stat().st_mode)
    assert stat.S_ISLNK(entries["link"].stat(follow_symlinks=False).st_mode)
    with pytest.raises(FileNotFoundError):
        entries["broken"].stat()
    with pytest.raises(TypeError, match="positional argument"):
        entries["file"].stat(True)  # type: ignore[misc]
