"""Connecting."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import sys
import threading
import time
from typing import Any

import pytest

from tests.wrappers.sockets.running import run_all


def test_connect(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.socket() as client:
            client.connect(("localhost", address[1]))
            assert client.getpeername() == address
            with pytest.raises(OSError, match=f"Errno {errno.EISCONN}"):
                client.connect(address)
            assert os.get_blocking(client.fileno())
        with socket.socket() as client:
            client.settimeout(5)
            assert client.connect_ex(address) == 0
            assert client.gettimeout() == 5
    with (
        socket.socket() as client,
        pytest.raises(ConnectionRefusedError, match="Connection refused"),
    ):
        client.connect(address)
    with socket.socket() as client:
        assert client.connect_ex(address) == errno.ECONNREFUSED
    with socket.socket() as client, pytest.raises(socket.gaierror):
        client.connect(("no-such-host.invalid", 1))
    with socket.socket() as client, pytest.raises(TypeError):
        client.connect("127.0.0.1")


def test_connect_waits_for_room_at_a_unix_socket(scheme: str, tmp_path: Any) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        connectors = [threading.Thread(target=c.connect, args=(path,)) for c in clients]
        for thread in connectors:
            thread.start()
        for _ in clients:
            server.accept()[0].close()
        for thread in connectors:
            thread.join(10)
            assert not thread.is_alive()
        for client in clients:
            client.close()


def test_connect_times_out(scheme: str) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        fillers = []
        try:
            for _ in range(4):  # the queue takes no more, so the next connect gets no answer
                filler = socket.socket()
                filler.settimeout(0.05)
                fillers.append(filler)
                try:
                    filler.connect(server.getsockname())
                except TimeoutError as error:
                    told = str(error)
                    break
            else:
                pytest.skip("this system's queue of connections is longer than asked for")
            assert told == "timed out"
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.parametrize("timeout", [None, 10])
def test_a_reset_connection_was_made(scheme: str, timeout: float | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(5):
                accepted, _ = server.accept()
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                accepted.close()

        def ask() -> None:
            for _ in range(5):
                with socket.socket() as client:
                    client.settimeout(timeout)
                    client.connect(server.getsockname())
                    with pytest.raises(ConnectionResetError):
                        client.recv(1)

        run_all(serve, ask)


@pytest.mark.one_processor
@pytest.mark.usefixtures("endless_slices")  # it may be preempted where the process gets no CPU
@pytest.mark.parametrize("how", ["accept", "select"])
@pytest.mark.parametrize("backlog", [1, 5])
def test_the_queue_of_a_listener_in_this_process_does_not_overflow(
    scheme: str, how: str, backlog: int
) -> None:
    count = 60
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as server:

        def answer(accepted: socket.socket) -> None:
            with accepted:
                accepted.sendall(accepted.recv(10))

        def serve() -> None:
            for _ in range(count):
                if how == "select":
                    select.select([server], [], [])
                accepted, _ = server.accept()
                threading.Thread(target=answer, args=(accepted,)).start()

        def ask() -> bool:
            begun = time.monotonic()
            with socket.socket() as client:
                client.connect(server.getsockname())  # no name to be looked up by OS threads
                client.sendall(b"hello")
                assert client.recv(10) == b"hello"
                return was_sent_again(client, begun)

        assert not any(run_all(serve, *[ask] * count)[1:])


def was_sent_again(client: socket.socket, begun: float) -> bool:
    """Whether the queue has had no room: the request is sent again then, after a second."""
    if sys.platform != "linux":
        return time.monotonic() - begun > 0.9
    info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    (retransmitted,) = struct.unpack_from("I", info, 100)  # tcp_info.tcpi_total_retrans
    return bool(retransmitted)
