"""The kernel's cache of names, asked without waiting."""

from __future__ import annotations

import ctypes
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from capriccio_patch.io.name_cache import ABSENT, WAIT, Lookup, parent, stat_mode

needs_openat2 = pytest.mark.skipif(not Lookup().works, reason="no openat2")


def known(lookup: Lookup, path: Any, dir_fd: int | None = None) -> int:
    """Its mode; the system says WAIT, too, if something is renamed anywhere meanwhile, and where it
    has forgotten a name, above all one that is not there."""
    found = WAIT
    for _ in range(100):
        found = lookup.mode(path, dir_fd)
        if found != WAIT:
            break
        stat_mode(path, dir_fd)
    return found


@needs_openat2
def test_the_cache_of_names(tmp_path: Path) -> None:
    lookup = Lookup()
    path = tmp_path / "file"
    assert lookup.mode(path) in (WAIT, ABSENT)
    path.touch()
    (tmp_path / "link").symlink_to("nowhere")
    assert stat.S_ISREG(known(lookup, path))
    assert stat.S_ISREG(known(lookup, os.fsencode(path)))
    assert lookup.mode("a\0b") == ABSENT
    assert known(lookup, tmp_path / "link") == ABSENT
    assert any(lookup.is_cached(tmp_path / "link", follow=False) for _ in range(100))
    at = os.open(tmp_path, os.O_RDONLY)
    assert stat.S_ISREG(known(lookup, "file", at))
    os.close(at)


@needs_openat2
@pytest.mark.parametrize("number", [0, 7])
def test_a_name_that_is_not_there_leaves_the_errno_of_the_program(
    tmp_path: Path, number: int
) -> None:
    ctypes.set_errno(number)
    lookup = Lookup()
    assert lookup.mode(tmp_path / "nothing") in (WAIT, ABSENT)
    assert lookup.open_now(tmp_path / "nothing", None, os.O_RDONLY) < 0
    assert ctypes.set_errno(0) == number


@pytest.mark.parametrize(
    ("path", "found"),
    [("a/b", "a"), ("a/b/", "a"), ("b", "."), ("/b", "/"), (b"a/b", b"a"), (b"b", b".")],
)
def test_the_directory_that_a_path_is_in(path: str | bytes, found: str | bytes) -> None:
    assert parent(path) == found


def test_what_is_not_there_has_no_mode(tmp_path: Path) -> None:
    assert stat_mode(tmp_path / "nothing") == ABSENT
    assert stat_mode("with a \0") == ABSENT
    assert stat_mode(tmp_path) == os.stat(tmp_path).st_mode
