"""Which file a number stands for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from capriccio_patch.io.identity import identity, identity_if_open


def test_two_numbers_of_one_file_are_the_same(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    copy = os.dup(fd)
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    assert identity(fd) == identity(copy) != identity(other)
    for each in (fd, copy, other):
        os.close(each)


def test_a_reused_number_is_another_file(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    before = identity(fd)
    os.close(fd)
    assert os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT) == fd
    assert identity(fd) != before
    os.close(fd)


def test_a_closed_number_stands_for_none(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        identity(fd)
    assert identity_if_open(fd) is None
