"""A datagram to a UNIX socket whose queue is full waits for its reader."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.wrappers.sockets.running import fill, run_all

COUNT = 60

SENDERS: list[tuple[str, Callable[[socket.socket, bytes, str], Any]]] = [
    ("sendto", lambda s, data, path: s.sendto(data, path)),
    ("sendto with flags", lambda s, data, path: s.sendto(data, 0, path)),
    ("sendmsg", lambda s, data, path: s.sendmsg([data], [], 0, path)),
]


@pytest.fixture
def ends(tmp_path: Any) -> Iterator[tuple[socket.socket, socket.socket, str]]:
    """A bound socket, one that is not connected to it, and the address."""
    path = str(tmp_path / "s")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client,
    ):
        server.bind(path)
        yield server, client, path


@pytest.mark.parametrize(("name", "send"), SENDERS, ids=[name for name, _ in SENDERS])
def test_it_takes_no_time_of_the_processor(
    scheme: str, name: str, send: Callable[..., Any], ends: Any
) -> None:
    server, client, path = ends
    first = fill(client, lambda: client.sendto(b"x", path))
    sent: list[int] = []

    def write() -> None:
        for i in range(first, COUNT):
            send(client, b"%d" % i, path)
            sent.append(i)

    def read() -> tuple[float, int, list[bytes]]:
        before = time.process_time()
        time.sleep(0.5)
        burnt = time.process_time() - before
        return burnt, len(sent), [server.recv(10) for _ in range(COUNT)]

    _, (burnt, before_reading, got) = run_all(write, read)
    assert before_reading == 0
    assert got == [b"x"] * first + [b"%d" % i for i in range(first, COUNT)]
    assert burnt < 0.25


def test_several_that_wait(scheme: str, ends: Any) -> None:
    server, client, path = ends
    first = fill(client, lambda: client.sendto(b"x", path))

    def write() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            for _ in range(20):
                own.sendto(b"new", path)

    def read() -> int:
        return sum(server.recv(10) == b"new" for _ in range(first + 100))

    assert run_all(read, *[write] * 5)[0] == 100


def test_a_timeout(scheme: str, ends: Any) -> None:
    _, client, path = ends
    fill(client, lambda: client.sendto(b"x", path))
    client.settimeout(0.1)
    begun = time.monotonic()
    before = time.process_time()
    with pytest.raises(TimeoutError, match=r"^timed out$"):
        client.sendto(b"x", path)
    assert time.monotonic() - begun >= 0.1
    assert time.process_time() - before < 0.08


def test_the_reader_goes_away(scheme: str, ends: Any) -> None:
    server, client, path = ends
    fill(client, lambda: client.sendto(b"x", path))
    errors: list[int | None] = []

    def write() -> None:
        try:
            client.sendto(b"x", path)
        except OSError as error:
            errors.append(error.errno)

    thread = threading.Thread(target=write)
    thread.start()
    time.sleep(0.02)
    server.close()
    os.unlink(path)
    thread.join(10)
    assert not thread.is_alive()
    assert errors in ([errno.ECONNREFUSED], [errno.ENOENT])
