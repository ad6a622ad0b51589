"""Timeouts, and the mode of the descriptor, are what stock makes them."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

import capriccio_patch
from tests.wrappers.sockets.running import run_all


def test_timeouts(scheme: str, pair: Any) -> None:
    left, right = pair
    left.settimeout(0.05)
    assert left.gettimeout() == left.timeout == 0.05
    assert left.getblocking()
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match=r"^timed out$"):
        left.recv(1)
    assert time.monotonic() - begun >= 0.05
    right.sendall(b"x")
    assert left.recv(1) == b"x"
    left.settimeout(0)
    with pytest.raises(BlockingIOError) as caught:
        left.recv(1)
    assert caught.value.errno == errno.EAGAIN
    assert not left.getblocking()
    left.setblocking(True)
    assert left.gettimeout() is None
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.02)
        with pytest.raises(TimeoutError, match=r"^timed out$"):
            server.accept()
    with pytest.raises(ValueError, match="Timeout value out of range"):
        left.settimeout(-1)
    with pytest.raises(TypeError):
        left.settimeout("1")
    left.settimeout(0.05)
    with pytest.raises(TimeoutError, match=r"^timed out$"):
        left.sendall(b"x" * 50_000_000)


def test_the_default_timeout_is_taken_over(scheme: str) -> None:
    socket.setdefaulttimeout(0.03)
    try:
        left, right = socket.socketpair()
    finally:
        socket.setdefaulttimeout(None)
    with left, right:
        assert left.gettimeout() == 0.03
        with pytest.raises(TimeoutError):
            left.recv(1)


def test_descriptors_are_as_stock_leaves_them(scheme: str, pair: Any) -> None:
    left, right = pair
    run_all(lambda: right.recv(10), lambda: left.sendall(b"x"))
    for sock, blocking in ((left, True), (right, True)):
        assert os.get_blocking(sock.fileno()) is blocking
        assert not fcntl.fcntl(sock, fcntl.F_GETFL) & os.O_NONBLOCK
    told = (
        subprocess.run(
            [sys.executable, "-c", "import os; print(os.get_blocking(0), os.read(0, 10))"],
            stdin=right,
            input=None,
            stdout=subprocess.PIPE,
            timeout=20,
            check=True,
        )
        if left.send(b"child")
        else None
    )
    assert told is not None
    assert told.stdout == b"True b'child'\n"
    left.settimeout(1)
    assert not os.get_blocking(left.fileno())
    left.settimeout(None)
    assert os.get_blocking(left.fileno())


def test_an_os_thread_shares_a_socket_with_a_timeout(scheme: str, pair: Any) -> None:
    left, right = pair
    left.settimeout(5)
    right.settimeout(0.05)
    got: list[Any] = []
    done = threading.Event()

    def outside() -> None:
        got.append(left.recv(10))
        try:
            right.recv(10)
        except TimeoutError as error:
            got.append(str(error))
        left.sendall(b"back" * 1000)
        done.set()

    capriccio_patch.original("_thread.start_new_thread")(outside, ())
    time.sleep(0.02)
    right.sendall(b"hello")
    assert done.wait(10)
    assert got == [b"hello", "timed out"]
    assert right.recv(10)


def test_sockets_that_exist_at_the_patch_and_after_the_undo() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.settimeout(0.5)
        receive = right.recv
        capriccio_patch.patch_all()
        assert left.gettimeout() == 0.5
        ticked: list[int] = []
        thread = threading.Thread(target=lambda: (ticked.append(1), left.send(b"late")))
        thread.start()
        assert receive(10) == b"late"
        assert ticked == [1]
        right.settimeout(0.25)
        thread.join()
        capriccio_patch.unpatch_all()
        assert left.gettimeout() == 0.5
        assert right.gettimeout() == 0.25
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            right.recv(1)
        assert time.monotonic() - begun >= 0.25
