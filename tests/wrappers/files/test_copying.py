"""``os.sendfile`` and ``os.splice``: from one descriptor to another."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.wrappers.files.ends import (
    BIG,
    Ends,
    in_thread,
    make_tcp,
    read_exactly,
)

needs_splice = pytest.mark.skipif(not hasattr(os, "splice"), reason="no splice")


@pytest.mark.skipif(not hasattr(os, "sendfile"), reason="no sendfile")
@pytest.mark.parametrize("offset", [0, 1000, None])
def test_sendfile_sends_everything(patched: None, offset: int | None) -> None:
    one, other = socket.socketpair()
    with one, other, tempfile.TemporaryFile() as file:
        file.write(BIG)
        file.flush()
        os.lseek(file.fileno(), 500, os.SEEK_SET)
        start = 500 if offset is None else offset
        received = in_thread(lambda: read_exactly(other.fileno(), len(BIG) - start))
        sent = os.sendfile(one.fileno(), file.fileno(), offset, 2 * len(BIG))
        assert sent == len(BIG) - start
        assert received() == BIG[start:]
        position = os.lseek(file.fileno(), 0, os.SEEK_CUR)
        assert position == (len(BIG) if offset is None else 500)


@pytest.mark.skipif(not hasattr(os, "sendfile"), reason="no sendfile")
def test_sendfile_to_somebody_who_leaves(ticker: Any) -> None:
    one, other = socket.socketpair()
    with one, tempfile.TemporaryFile() as file:
        file.write(BIG)
        file.seek(0)
        with ticker().at(3, other.close):
            sent = os.sendfile(one.fileno(), file.fileno(), None, len(BIG))
        assert 0 < sent < len(BIG)
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == sent
        with pytest.raises(BrokenPipeError):
            os.sendfile(one.fileno(), file.fileno(), None, len(BIG))


@pytest.mark.skipif(not hasattr(os, "sendfile"), reason="no sendfile")
def test_sendfile_without_waiting(patched: None) -> None:
    one, other = socket.socketpair()
    one.setblocking(False)
    with one, other, tempfile.TemporaryFile() as file:
        file.write(BIG)
        file.flush()
        assert 0 < os.sendfile(one.fileno(), file.fileno(), 0, len(BIG)) < len(BIG)


@needs_splice
def test_splice_waits_for_either_end(ticker: Any, pipe: Ends) -> None:
    more = Ends(*os.pipe())
    try:
        with ticker().at(3, lambda: os.write(pipe.writer, b"abc")):
            assert os.splice(pipe.reader, more.writer, 100) == 3
        assert os.read(more.reader, 100) == b"abc"
        os.write(more.writer, bytes(65536))
        os.write(pipe.writer, b"def")
        with ticker().at(3, lambda: os.read(more.reader, 65536)):
            assert os.splice(pipe.reader, more.writer, 100) == 3
        assert os.read(more.reader, 100) == b"def"
        with pytest.raises(BlockingIOError):
            os.splice(pipe.reader, more.writer, 100, flags=os.SPLICE_F_NONBLOCK)
    finally:
        more.close()


@needs_splice
def test_splice_from_and_to_sockets(ticker: Any, pipe: Ends) -> None:
    ends = make_tcp(Path())
    try:
        with ticker().at(3, lambda: os.write(ends.writer, b"abc")):
            assert os.splice(ends.reader, pipe.writer, 100) == 3
        with ticker():
            assert os.splice(pipe.reader, ends.reader, 100) == 3
        assert os.read(ends.writer, 100) == b"abc"
    finally:
        ends.close()
