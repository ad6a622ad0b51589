"""Closing and replacing descriptors that somebody waits for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

import capriccio_patch
from tests.conftest import let_others_park
from tests.wrappers.files.ends import (
    BIG,
    Ends,
    in_thread,
)


def close(fd: int) -> None:
    os.close(fd)


def close_range(fd: int) -> None:
    os.closerange(fd, fd + 1)


def replace(fd: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, fd)
    os.close(null)


@pytest.mark.parametrize("close", [close, close_range, replace])
def test_whoever_waits_for_what_is_closed(
    scheme: None, patched: None, pipe: Ends, close: Callable[[int], None]
) -> None:
    os.write(pipe.writer, bytes(65536))
    writing = [in_thread(lambda: os.write(pipe.writer, BIG)) for _ in range(2)]
    let_others_park()
    close(pipe.writer)
    for each in writing:
        with pytest.raises(OSError, match="Bad file"):
            each()
    os.read(pipe.reader, 65536)
    more = Ends(*os.pipe())
    reading = [in_thread(lambda: os.read(more.reader, 1)) for _ in range(3)]
    let_others_park()
    close(more.reader)
    for each in reading:
        with pytest.raises(OSError, match="Bad file"):
            each()
    more.close()


def test_a_number_that_is_closed_and_reused(scheme: None, patched: None) -> None:
    """Whoever waited for the old file must not take what is in the new one."""
    reused = 0
    while reused < 200:
        reader, writer = os.pipe()
        old = in_thread(lambda fd=reader: os.read(fd, 1))
        let_others_park()
        os.close(reader)
        os.close(writer)
        again = os.pipe()
        if again != (reader, writer):  # the watchdog had one of the numbers for a moment
            for fd in again:
                os.close(fd)
            continue
        reused += 1
        new = in_thread(lambda fd=reader: os.read(fd, 1))
        os.write(writer, b"x")
        assert new() == b"x"
        with pytest.raises(OSError, match="Bad file"):
            old()
        os.close(reader)
        os.close(writer)


def test_a_number_that_is_closed_on_another_os_thread(patched: None, pipe: Ends) -> None:
    reading = in_thread(lambda: os.read(pipe.reader, 1))
    let_others_park()
    closed: list[None] = []
    capriccio_patch.original("_thread.start_new_thread")(
        lambda: closed.append(os.close(pipe.reader)),
        (),
    )
    with pytest.raises(OSError, match="Bad file"):
        reading()
    while not closed:  # before the number may stand for something else
        time.sleep(0.001)


def test_dup2_onto_itself_and_failing(patched: None, pipe: Ends) -> None:
    reading = in_thread(lambda: os.read(pipe.reader, 1))
    let_others_park()
    assert os.dup2(pipe.reader, pipe.reader) == pipe.reader
    with pytest.raises(OSError, match="Bad file"):
        os.dup2(999, pipe.reader)
    os.write(pipe.writer, b"x")
    assert reading() == b"x"
