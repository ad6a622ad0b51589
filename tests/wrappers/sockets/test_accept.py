"""Accepting."""

from __future__ import annotations

import errno
import socket
import threading
import time
from typing import Any

import pytest

from tests.conftest import in_order, let_others_park
from tests.wrappers.sockets.running import run_all


def test_many_acceptors_are_served_in_order(scheme: str) -> None:
    order: list[int] = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:

        def accept(number: int) -> None:
            accepted, _ = server.accept()
            order.append(number)
            with accepted:
                accepted.sendall(b"%d" % number)

        threads = [threading.Thread(target=accept, args=(i,)) for i in range(20)]
        for thread in threads:
            thread.start()
            let_others_park()
        clients = []
        for _ in threads:
            clients.append(socket.create_connection(server.getsockname()))
            time.sleep(0.001)
        for thread in threads:
            thread.join(20)
        for client in clients:
            client.close()
    assert in_order(order) == list(range(20))


def test_reuse_port(scheme: str) -> None:
    first = socket.create_server(("127.0.0.1", 0), reuse_port=True)
    second = socket.create_server(first.getsockname(), reuse_port=True)
    with first, second:
        accepted: list[int] = []

        def serve(server: socket.socket) -> None:
            server.settimeout(0.3)
            try:
                while True:
                    server.accept()[0].close()
                    accepted.append(1)
            except TimeoutError:
                pass

        def ask() -> None:
            for _ in range(20):
                socket.create_connection(first.getsockname()).close()

        run_all(lambda: serve(first), lambda: serve(second), ask)
        assert len(accepted) == 20


@pytest.mark.parametrize("family", ["AF_INET", "AF_UNIX"])
def test_a_shutdown_ends_the_wait(scheme: str, family: str, tmp_path: Any) -> None:
    kind = getattr(socket, family)
    address: Any = str(tmp_path / "s") if family == "AF_UNIX" else ("127.0.0.1", 0)
    with socket.socket(kind) as server:
        server.bind(address)
        server.listen()
        outcome: list[Any] = []

        def wait() -> None:
            try:
                outcome.append(server.accept())
            except OSError as error:
                outcome.append(error.errno)

        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.01)
        server.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        wait()
    assert outcome == [errno.EINVAL] * 4
