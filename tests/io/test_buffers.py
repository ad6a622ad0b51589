"""What counts as a buffer of bytes, and memory for requests."""

from __future__ import annotations

import array
import ctypes
import os
from pathlib import Path
from typing import Any

import pytest

from capriccio_patch.cpython import originals
from capriccio_patch.io import buffers


@pytest.mark.parametrize(
    "value", [b"abcd", bytearray(b"abcd"), memoryview(b"abcd"), array.array("H", b"abcd")]
)
def test_a_buffer_counts_in_bytes(value: Any) -> None:
    found = buffers.as_bytes(value)
    assert len(found) == 4
    assert bytes(found) == b"abcd"
    if isinstance(value, (bytes, bytearray)):
        assert found is value


@pytest.mark.parametrize("value", ["text", 3, None, [1], memoryview(b"abcdef")[::2]])
def test_what_is_no_contiguous_buffer_is_none(value: Any) -> None:
    assert buffers.as_bytes(value) is None


def test_an_empty_one_is_empty() -> None:
    assert not buffers.as_bytes(memoryview(b""))


@pytest.mark.parametrize("sectors", [1, 8])
def test_whole_sectors_are_aligned(sectors: int) -> None:
    memory = buffers.memory(sectors * buffers.SECTOR)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert address % buffers.SECTOR == 0
    assert len(memory) == sectors * buffers.SECTOR


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_other_sizes_are_had_too(size: int) -> None:
    assert len(buffers.memory(size)) == size


@pytest.mark.parametrize("vectored", [True, False])
def test_reads_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vectored: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    if not vectored:
        monkeypatch.setattr(originals, "preadv", None)
    fd = os.open(path, os.O_RDONLY)
    assert bytes(buffers.read_owned(fd, 4, 3)) == b"3456"
    assert bytes(buffers.read_owned(fd, 4, -1)) == b"0123"
    assert bytes(buffers.read_owned(fd, 100, -1)) == b"456789"
    assert bytes(buffers.read_owned(fd, 4, 20)) == b""
    os.close(fd)


@pytest.mark.parametrize("count", [0, 1, 4999, 5000])
def test_a_room_becomes_what_was_written_to_it(count: int) -> None:
    room = buffers.Room(5000)
    assert len(room.view) == 5000
    room.view[:count] = b"x" * count
    assert room.taken(count) == b"x" * count


def test_a_room_of_which_somebody_holds_a_piece() -> None:
    room = buffers.Room(5000)
    room.view[:3] = b"abc"
    held = room.view[1:3]
    assert room.taken(3) == b"abc"
    assert held == b"bc"
