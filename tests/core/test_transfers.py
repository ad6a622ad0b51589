"""Sockets and files in C: what is C's, what is left to Python, and that nothing is leaked.

That they behave as in Python is what `tests/wrappers` shows, over both forms.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.core import table, transfers
from capriccio_patch.core.binding import COMPILED
from tests.conftest import RunScript, let_others_park

SOCKETS = [name for name, which in table.METHODS.items() if which.startswith("socket_")]
FILES = [name for name, which in table.METHODS.items() if which.startswith("file_")]
CHUNK = 1 << 17
SIZES = [1, 100, CHUNK - 1, CHUNK, CHUNK + 1, (3 << 20) + 5]


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test is about C."""
    pytest.importorskip("capriccio_patch.core._core")
    monkeypatch.setenv("CAPRICCIO_CORE", "compiled")


@pytest.fixture
def pair(compiled: None, patched: None) -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def method(name: str) -> Any:
    return vars(socket.SocketType)[name.rpartition(".")[2]]


@pytest.mark.parametrize("name", SOCKETS)
def test_the_methods_are_of_c(compiled: None, patched: None, name: str) -> None:
    stock = capriccio_patch.original(name)
    assert type(method(name)) is type(stock)
    assert method(name) is not stock
    assert method(name).__doc__ == stock.__doc__
    assert method(name).__qualname__ == stock.__qualname__


def test_a_socket_of_another_shape_is_left_to_python(
    compiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "_TIMEOUT", 2)
    real = transfers.originals.socket_settimeout
    monkeypatch.setattr(transfers.originals, "socket_settimeout", lambda sock, _: real(sock, None))
    capriccio_patch.patch_all()
    try:
        assert all(type(method(name)) is FunctionType for name in SOCKETS)
        form = capriccio_patch.status()["core"]
        assert form.startswith(COMPILED + ", but for sockets: ")
        left, right = socket.socketpair()
        with left, right:
            left.sendall(b"x")
            assert right.recv(1) == b"x"
    finally:
        capriccio_patch.unpatch_all()


@pytest.mark.parametrize("size", [1, 100, 1 << 14, 1 << 16, (1 << 16) + 1, 1 << 20])
def test_what_is_received_is_what_was_sent(
    pair: tuple[socket.socket, socket.socket], size: int
) -> None:
    """In pieces of any size: in memory that is shared, given away, or made for the call."""
    left, right = pair
    data = bytes(range(256)) * (size // 128 + 2)
    sender = threading.Thread(target=left.sendall, args=(data,))
    sender.start()
    got = b""
    kept = []
    while len(got) < len(data):
        kept.append(right.recv(size))
        assert 0 < len(kept[-1]) <= size
        got += kept[-1]
    sender.join()
    assert got == data == b"".join(kept)


def test_nothing_is_held_after_a_call(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    data, room, limit = bytes(1000), bytearray(1000), 10.123
    right.settimeout(limit)
    threads = [threading.Thread(target=time.sleep, args=(0,)) for _ in range(3)]
    objects = (data, room, left, right, None, threads)
    before = [sys.getrefcount(each) for each in objects[:4]]
    for _ in range(500):
        left.sendall(data)
        right.recv_into(room)
        left.send(data)
        right.recv(2000)
    right.settimeout(0)
    for _ in range(500):
        with pytest.raises(BlockingIOError):
            right.recv(10)
    right.settimeout(1e-6)
    for _ in range(100):
        with pytest.raises(TimeoutError, match=r"^timed out$"):
            right.recv(10)
    assert [sys.getrefcount(each) for each in objects[:4]] == before


def test_a_buffer_is_held_while_it_is_filled(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    room = bytearray(10)
    reader = threading.Thread(target=right.recv_into, args=(room,))
    reader.start()
    let_others_park()
    with pytest.raises(BufferError):
        room.clear()
    left.send(b"x")
    reader.join()
    assert room[:1] == b"x"
    room.clear()


@pytest.mark.parametrize("call", ["send", "sendall"])
def test_a_send_that_must_not_wait(pair: tuple[socket.socket, socket.socket], call: str) -> None:
    left, _ = pair
    left.setblocking(False)

    def send_all() -> None:
        while True:
            getattr(left, call)(bytes(1 << 16))

    with pytest.raises(BlockingIOError) as caught:
        send_all()
    assert caught.value.errno == errno.EAGAIN


def test_a_sendall_that_is_not_done_in_time(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    left.settimeout(0.05)
    with pytest.raises(TimeoutError, match=r"^timed out$"):
        left.sendall(bytes(1 << 24))
    assert right.recv(1) == b"\0"


def test_a_limit_of_the_kernels_is_left_to_python(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    _, right = pair
    right.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 20_000))
    with pytest.raises(BlockingIOError):
        right.recv(1)
    with pytest.raises(BlockingIOError):
        right.recv_into(bytearray(1))


def test_bad_arguments_are_refused_as_in_python(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    left, right = pair
    for call in (
        lambda: right.recv("1"),  # type: ignore[arg-type]
        right.recv,
        lambda: right.recv_into(b"constant"),  # type: ignore[arg-type]
        lambda: left.send("text"),  # type: ignore[arg-type]
        lambda: left.sendall(3),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match="negative"):
        right.recv(-1)
    with pytest.raises(ValueError, match="too small"):
        right.recv_into(bytearray(3), 4)
    with pytest.raises(OverflowError):
        right.recv(1 << 70)
    with pytest.raises(TypeError):
        socket.SocketType.recv(3, 1)  # type: ignore[arg-type]


def test_a_method_that_was_kept_works_when_the_patch_is_undone(
    compiled: None, run_script: RunScript
) -> None:
    run_script(
        """
        import socket
        import capriccio_patch
        capriccio_patch.patch_all()
        left, right = socket.socketpair()
        recv, send = right.recv, left.send
        capriccio_patch.unpatch_all()
        send(b"x")
        assert recv(1) == b"x"
        """
    )


def test_a_forked_child_waits_too(compiled: None, run_script: RunScript) -> None:
    run_script(
        """
        import os, socket, threading
        import capriccio_patch
        capriccio_patch.patch_all()
        left, right = socket.socketpair()
        pid = os.fork()
        if not pid:
            thread = threading.Thread(target=lambda: left.sendall(left.recv(1)))
            thread.start()
            right.sendall(b"x")
            assert right.recv(1) == b"x"
            thread.join()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        """
    )


# -- files ---------------------------------------------------------------------------------------


@pytest.fixture
def files(compiled: None, patched: None) -> Iterator[None]:
    """With another thread, without which nothing would be asked of the page cache."""
    if capriccio_patch.status()["core"] != COMPILED:
        pytest.skip("files are Python's here")
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    yield
    done.set()
    other.join()


def by_read(path: Path, size: int) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)


def by_raw_read(path: Path, size: int) -> bytes:
    with io.FileIO(path) as file:
        return file.read(size) or b""


def by_readall(path: Path, size: int) -> bytes:
    with io.FileIO(path) as file:
        return file.readall()[:size]


def by_readinto(path: Path, size: int) -> bytes:
    room = bytearray(size)
    with io.FileIO(path) as file:
        return bytes(room[: file.readinto(room)])


def by_readinto_of_words(path: Path, size: int) -> bytes:
    room = memoryview(bytearray(size + 7 & ~7)).cast("Q")
    with io.FileIO(path) as file:
        count = file.readinto(room)
    return room.tobytes()[: min(count or 0, size)]


READERS = [by_read, by_raw_read, by_readall, by_readinto, by_readinto_of_words]


@pytest.mark.parametrize("name", FILES)
def test_the_methods_of_files_are_of_c(files: None, name: str) -> None:
    assert type(vars(io.FileIO)[name.rpartition(".")[2]]) is MethodDescriptorType
    assert type(os.read) is BuiltinFunctionType


@pytest.mark.parametrize("asked", ["less", "all", "more"])
@pytest.mark.parametrize("is_cached", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("read", READERS)
def test_what_is_read_is_what_is_there(
    files: None,
    tmp_path: Path,
    read: Callable[[Path, int], bytes],
    size: int,
    is_cached: bool,
    asked: str,
) -> None:
    """Less than was asked for only at the end, whatever of it is in memory."""
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    path = tmp_path / "file"
    path.write_bytes(data)
    if not is_cached:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, size // 3, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
    wanted = {"less": size - size // 2, "all": size, "more": size + 1000}[asked]
    assert read(path, wanted) == data[:wanted]


def test_reading_goes_on_where_it_was(files: None, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200)))
    with io.FileIO(path) as file:
        assert file.read(10) == bytes(range(10))
        assert os.read(file.fileno(), 10) == bytes(range(10, 20))
        assert file.readall() == bytes(range(20, 200))
        assert file.readall() == b""
        assert file.read(5) == b""
        file.seek(300)
        assert file.readall() == b""


def test_a_file_that_is_closed_or_only_written(files: None, tmp_path: Path) -> None:
    with io.FileIO(tmp_path / "file", "w") as file:
        for call in (file.readall, lambda: file.read(3), lambda: file.readinto(bytearray(3))):
            with pytest.raises(OSError, match=r"readable|reading|descriptor"):
                call()  # type: ignore[no-untyped-call]
    for call in (file.readall, lambda: file.read(3), lambda: file.readinto(bytearray(3))):
        with pytest.raises(ValueError, match="closed"):
            call()  # type: ignore[no-untyped-call]
    with pytest.raises(OSError, match="descriptor"):
        os.read(file_number_that_is_closed(), 3)


def file_number_that_is_closed() -> int:
    fd = os.open("/", os.O_RDONLY)
    os.close(fd)
    return fd


def test_bad_arguments_of_os_read_and_write(files: None) -> None:
    reader, writer = os.pipe()
    try:
        for call in (
            lambda: os.read(reader, "1"),  # type: ignore[arg-type]
            lambda: os.read(reader),  # type: ignore[call-arg]
            lambda: os.read("0", 1),  # type: ignore[arg-type]
            lambda: os.write(writer, "text"),  # type: ignore[arg-type]
        ):
            with pytest.raises(TypeError):
                call()
        with pytest.raises(OSError, match="argument"):
            os.read(reader, -1)
        with pytest.raises(OverflowError):
            os.read(1 << 70, 1)
        assert os.write(writer, b"") == 0
    finally:
        os.close(reader)
        os.close(writer)


def test_a_pipe_is_written_and_read_to_the_last_byte(files: None) -> None:
    reader, writer = os.pipe()
    data = bytes(range(256)) * 4000
    written: list[int] = []
    thread = threading.Thread(target=lambda: written.append(os.write(writer, data)))
    thread.start()
    got = b""
    while len(got) < len(data):
        got += os.read(reader, 5000)
    thread.join()
    assert written == [len(data)]
    assert got == data
    for fd in (reader, writer):
        os.close(fd)


def test_a_pipe_that_does_not_wait(files: None) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    size = 0
    with pytest.raises(BlockingIOError):  # noqa: PT012
        while True:
            size += os.write(writer, bytes(5000))
    assert size >= 1 << 12
    os.close(writer)
    while got := os.read(reader, 1 << 20):
        size -= len(got)
    assert size == 0
    os.close(reader)


def test_nothing_of_a_file_is_held_after_a_call(files: None, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1000))
    room, data = bytearray(100), bytes(10)
    reader, writer = os.pipe()
    with io.FileIO(path) as file:
        before = [sys.getrefcount(each) for each in (room, data, file)]
        for _ in range(500):
            file.seek(0)
            file.readinto(room)
            file.read(10)
            file.readall()
            os.write(writer, data)
            os.read(reader, 100)
        assert [sys.getrefcount(each) for each in (room, data, file)] == before
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("interval", [0.0005, 0])
def test_others_run_between_the_pieces_of_a_read(
    files: None, tmp_path: Path, interval: float
) -> None:
    """Those whom a timer wakes, and those that could run already."""
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 25))
    turns = 0
    is_over = False

    def take_turns() -> None:
        nonlocal turns
        while not is_over:
            turns += 1
            time.sleep(interval)

    thread = threading.Thread(target=take_turns)
    thread.start()
    let_others_park()
    with io.FileIO(path) as file:
        room = bytearray(1 << 25)
        before = turns
        assert file.readinto(room) == len(room)
        after = turns
    is_over = True
    thread.join()
    assert after > before
