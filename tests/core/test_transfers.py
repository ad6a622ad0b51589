"""Sockets in C: what is C's, what is left to Python, and that nothing is leaked.

That they behave as in Python is what `tests/wrappers/sockets` shows, over both forms.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from types import FunctionType, MethodDescriptorType
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.core import table, transfers
from capriccio_patch.core.binding import COMPILED
from tests.conftest import RunScript

SOCKETS = [name for name, which in table.METHODS.items() if which.startswith("socket_")]


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
    assert type(method(name)) is MethodDescriptorType
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
    time.sleep(0)
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
