"""SO_RCVTIMEO and SO_SNDTIMEO end a blocking call with EAGAIN, as the kernel does."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import capriccio_patch
from tests.wrappers.sockets.running import fill, run_all

pytestmark = pytest.mark.wall_clock

LIMIT = 0.1
TIMEVAL = struct.pack("ll", 0, int(LIMIT * 1_000_000))


def recv_by_a_copy(sock: socket.socket) -> bytes:
    with sock.dup() as copy:
        return copy.recv(9)


RECEIVERS: list[tuple[str, Callable[[socket.socket], Any]]] = [
    ("recv", lambda s: s.recv(100)),
    ("recv_into", lambda s: s.recv_into(bytearray(9))),
    ("recvfrom", lambda s: s.recvfrom(100)),
    ("recvfrom_into", lambda s: s.recvfrom_into(bytearray(9))),
    ("recvmsg", lambda s: s.recvmsg(100)),
    ("recvmsg_into", lambda s: s.recvmsg_into([bytearray(9)])),
    ("waitall", lambda s: s.recv(6, socket.MSG_WAITALL)),
    ("os.read", lambda s: os.read(s.fileno(), 9)),
    ("a copy", recv_by_a_copy),
]

SENDERS: list[tuple[str, Callable[[socket.socket], Any]]] = [
    ("send", lambda s: s.send(bytes(1 << 20))),
    ("sendmsg", lambda s: s.sendmsg([bytes(1 << 20)])),
    ("sendall", lambda s: s.sendall(bytes(1 << 20))),
    ("os.write", lambda s: os.write(s.fileno(), bytes(1 << 20))),
]


def limit(sock: socket.socket, option: int, value: bytes = TIMEVAL) -> None:
    sock.setsockopt(socket.SOL_SOCKET, option, value)


def refused_in_time(call: Callable[[], Any]) -> None:
    """`call` fails with EAGAIN when the time is up, and lets others run meanwhile."""
    ticks: list[float] = []
    begun = time.monotonic()

    def wait() -> None:
        with pytest.raises(BlockingIOError) as caught:
            call()
        assert caught.value.errno == errno.EAGAIN
        ticks.append(-1.0)

    def tick() -> None:
        while not ticks or ticks[-1] >= 0:
            ticks.append(time.monotonic())
            time.sleep(0.01)

    run_all(wait, tick)
    assert time.monotonic() - begun >= LIMIT
    assert len(ticks) > 3


@pytest.mark.parametrize(("name", "receive"), RECEIVERS, ids=[name for name, _ in RECEIVERS])
def test_receiving(scheme: str, name: str, receive: Callable[..., Any], pair: Any) -> None:
    left, _ = pair
    limit(left, socket.SO_RCVTIMEO)
    refused_in_time(lambda: receive(left))


@pytest.mark.parametrize(("name", "send"), SENDERS, ids=[name for name, _ in SENDERS])
def test_sending(scheme: str, name: str, send: Callable[..., Any], pair: Any) -> None:
    left, _ = pair
    fill(left, lambda: left.send(bytes(1 << 20)))
    limit(left, socket.SO_SNDTIMEO)
    refused_in_time(lambda: send(left))


def test_what_was_sent_counts(scheme: str, pair: Any) -> None:
    left, _ = pair
    limit(left, socket.SO_SNDTIMEO)
    data = bytes(40_000_000)
    sent = left.send(data)
    assert 0 < sent < len(data)
    refused_in_time(lambda: left.sendall(data))


def test_accepting_and_what_is_accepted(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        limit(server, socket.SO_RCVTIMEO)
        refused_in_time(server.accept)
        with socket.create_connection(server.getsockname()), server.accept()[0] as accepted:
            refused_in_time(lambda: accepted.recv(1))


def test_a_unix_datagram_to_a_full_queue(scheme: str, tmp_path: Any) -> None:
    path = str(tmp_path / "s")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client,
    ):
        server.bind(path)
        fill(client, lambda: client.sendto(b"x", path))
        limit(client, socket.SO_SNDTIMEO)
        refused_in_time(lambda: client.sendto(b"x", path))


def test_data_in_time(scheme: str, pair: Any) -> None:
    left, right = pair
    limit(left, socket.SO_RCVTIMEO, struct.pack("ll", 20, 0))

    def send() -> None:
        time.sleep(0.01)
        right.send(b"x")

    assert run_all(lambda: left.recv(9), send)[0] == b"x"
    limit(left, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
    assert run_all(lambda: left.recv(9), send)[0] == b"x"


def test_the_timeout_of_the_program_comes_first(scheme: str, pair: Any) -> None:
    left, _ = pair
    limit(left, socket.SO_RCVTIMEO)
    left.settimeout(3 * LIMIT)
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match=r"^timed out$"):
        left.recv(1)
    assert time.monotonic() - begun >= 3 * LIMIT
    left.settimeout(0)
    with pytest.raises(BlockingIOError):
        left.recv(1)


@pytest.fixture
def limited() -> Iterator[int]:
    """The number of a socket that has its limit from elsewhere."""
    left, right = socket.socketpair()
    limit(left, socket.SO_RCVTIMEO)
    with left, right:
        yield left.fileno()


def test_a_socket_that_exists_at_the_patch(limited: int) -> None:
    with socket.socket(fileno=os.dup(limited)) as sock:
        capriccio_patch.patch_all()
        refused_in_time(lambda: sock.recv(1))


def test_a_socket_that_another_process_has_limited(limited: int) -> None:
    program = (
        "import socket, sys, errno\n"
        "import capriccio_patch; capriccio_patch.patch_all()\n"
        "sock = socket.socket(fileno=int(sys.argv[1]))\n"
        "try: sock.recv(1)\n"
        "except BlockingIOError as error: print(errno.errorcode[error.errno])\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, str(limited)],
        pass_fds=[limited],
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert told.stdout == b"EAGAIN\n"


@pytest.mark.parametrize("on", ["the socket", "its listener"])
def test_a_close_that_lingers_lets_others_run(ticker: Any, on: str) -> None:
    """It ends when what was sent has arrived, which another thread sees to."""
    lingering = struct.pack("ii", 1, 20)
    drained: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        if on == "its listener":
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
        with socket.create_connection(server.getsockname()) as client:
            accepted, _ = server.accept()
            if on == "the socket":
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
            fill(accepted, lambda: accepted.send(bytes(1 << 16)))
            accepted.setblocking(True)

            def drain() -> None:
                while got := client.recv(1 << 20):
                    drained.append(len(got))

            with ticker().at(3, drain):
                accepted.close()
            assert drained
