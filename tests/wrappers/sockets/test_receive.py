"""Receiving parks one thread and behaves as stock does."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import in_order, let_others_park
from tests.wrappers.sockets.running import run_all

RECEIVERS: list[tuple[str, Callable[[socket.socket], bytes]]] = [
    ("recv", lambda s: s.recv(100)),
    ("recv_into", lambda s: into(s.recv_into)),
    ("recvfrom", lambda s: s.recvfrom(100)[0]),
    ("recvfrom_into", lambda s: into(lambda b: s.recvfrom_into(b)[0])),
    ("recvmsg", lambda s: s.recvmsg(100)[0]),
    ("recvmsg_into", lambda s: into(lambda b: s.recvmsg_into([b])[0])),
    ("makefile", lambda s: s.makefile("rb").readline()),
    ("peek", lambda s: s.recv(100, socket.MSG_PEEK) and s.recv(100)),
    ("waitall", lambda s: s.recv(6, socket.MSG_WAITALL)),
]


def into(receive: Callable[[bytearray], int]) -> bytes:
    buffer = bytearray(100)
    return bytes(buffer[: receive(buffer)])


@pytest.mark.parametrize(("name", "receive"), RECEIVERS, ids=[name for name, _ in RECEIVERS])
def test_receiving_parks_until_there_is_something(
    scheme: str, name: str, receive: Callable[[socket.socket], bytes], pair: Any
) -> None:
    left, right = pair
    sent = []

    def send() -> None:
        time.sleep(0.01)
        sent.append(True)
        left.sendall(b"hello\n")

    got, _ = run_all(lambda: (receive(right), bool(sent)), send)
    assert got == (b"hello\n", True)


def test_a_reader_that_emptied_the_socket_sees_what_follows(scheme: str, pair: Any) -> None:
    left, right = pair

    def write() -> None:
        for i in range(200):
            left.sendall(b"%03d" % i)
            if i % 3 == 0:
                time.sleep(0)
        left.shutdown(socket.SHUT_WR)

    def read() -> bytes:
        return b"".join(iter(lambda: right.recv(4096), b""))

    got, _ = run_all(read, write)
    assert got == b"".join(b"%03d" % i for i in range(200))


def test_the_end_that_came_with_the_data_is_not_missed(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(50):

            def serve() -> None:
                accepted, _ = server.accept()
                with accepted:
                    accepted.recv(10)
                    accepted.sendall(b"answer")

            def ask() -> bytes:
                with socket.create_connection(server.getsockname()) as asking:
                    asking.sendall(b"question")
                    return b"".join(iter(lambda: asking.recv(4096), b""))

            assert run_all(serve, ask)[1] == b"answer"


def test_urgent_data_between(scheme: str, pair: Any) -> None:
    left, right = pair
    left.sendall(b"before")
    left.send(b"!", socket.MSG_OOB)
    left.sendall(b"after")
    got = b""
    while len(got) < len(b"beforeafter"):
        got += run_all(lambda: right.recv(100))[0]
    assert got == b"beforeafter"


@pytest.mark.parametrize("turn", range(10))
def test_many_readers_of_one_socket_are_served_in_order(scheme: str, turn: int) -> None:
    """Also where the sender lets others run in between: who was woken is not overtaken."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        got: list[tuple[int, bytes]] = []
        threads = [
            threading.Thread(target=lambda i=i: got.append((i, sock.recv(10))))  # type: ignore[misc]
            for i in range(10)
        ]
        for thread in threads:
            thread.start()
            let_others_park()
        for i in range(10):
            sock.sendto(b"%d" % i, sock.getsockname())
        for thread in threads:
            thread.join(20)
    numbers, answers = zip(*got, strict=True)
    assert in_order([*numbers]) == list(range(10))
    assert in_order([*answers]) == [b"%d" % i for i in range(10)]


def test_ipv6_udp_and_unix(scheme: str, tmp_path: Any) -> None:
    path = str(tmp_path / "d")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            got, _ = run_all(lambda: server.recv(10), lambda: client.sendto(b"unix", path))
    assert got == b"unix"
    if socket.has_ipv6:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
            try:
                server.bind(("::1", 0))
            except OSError:
                return
            port = server.getsockname()[1]
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
                got = run_all(
                    lambda: server.recvfrom(10)[0], lambda: client.sendto(b"six", ("::1", port))
                )[0]
        assert got == b"six"


def datagrams(kind: str, path: str) -> socket.socket:
    """A bound socket whose messages are datagrams."""
    if kind == "UNIX":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(path)
        return sock
    if kind == "UNIX pair":
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        right.detach()  # it stays open
        return left
    try:
        if kind == "raw":
            return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    except PermissionError:
        pytest.skip("raw sockets are for the privileged")
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    if kind == "UDP, connected":
        sock.connect(sock.getsockname())
    return sock


@pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_RDWR])
@pytest.mark.parametrize("kind", ["UDP", "UDP, connected", "UNIX", "UNIX pair", "raw"])
def test_a_shutdown_ends_waits_for_datagrams(
    scheme: str, kind: str, how: int, tmp_path: Any
) -> None:
    with datagrams(kind, str(tmp_path / "s")) as sock:
        outcome: list[Any] = []
        threads = [
            threading.Thread(target=lambda: outcome.append(sock.recv(9))),
            threading.Thread(target=lambda: outcome.append(sock.recv_into(bytearray(9)))),
            threading.Thread(target=lambda: outcome.append(sock.recvfrom(9)[0])),
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.01)
        with contextlib.suppress(OSError):  # it is not connected, but shut down
            sock.shutdown(how)
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        outcome.append(sock.recv(9))
    assert in_order(outcome[:3]) == in_order([b"", 0, b""])
    assert outcome[3:] == [b""]
