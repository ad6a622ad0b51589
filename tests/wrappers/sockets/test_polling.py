"""A thread that polls lets others run: each of its calls would let go of the GIL in stock.

No slice ends in these tests: what runs meanwhile was let in by the calls.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("endless_slices")


def refused(call: Callable[[], Any]) -> None:
    try:
        call()
    except BlockingIOError:
        return
    raise AssertionError("it should have had to wait")


class Ends:
    """What is polled: sockets and a pipe that are empty, and ones that are readable for ever."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.empty, self.peer = socket.socketpair()
        self.full, self.other = socket.socketpair()
        self.other.send(b"x")
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(("127.0.0.1", 0))
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.listener.setblocking(False)
        self.empty.setblocking(False)
        self.poller = select.poll()
        self.poller.register(self.full, select.POLLIN)
        client = socket.create_connection(self.listener.getsockname())
        client.setblocking(False)
        self.tls = ssl.create_default_context().wrap_socket(
            client, server_hostname="localhost", do_handshake_on_connect=False
        )

    def close(self) -> None:
        pairs = (self.empty, self.peer, self.full, self.other)
        for sock in (*pairs, self.listener, self.datagrams, self.tls):
            sock.close()
        os.close(self.reader)
        os.close(self.writer)

    def handshake(self) -> None:
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()

    def pass_through_pipe(self) -> None:
        os.write(self.writer, b"x")
        os.read(self.reader, 1)

    def sendall(self) -> None:
        self.other.sendall(b"x")
        self.full.recv(1)

    def send(self) -> None:
        self.datagrams.sendto(b"x", self.datagrams.getsockname())
        self.datagrams.recv(1)

    def connect(self) -> None:
        with socket.socket() as client:
            client.setblocking(False)
            assert client.connect_ex(self.listener.getsockname()) in (0, errno.EINPROGRESS)

    def poll_epoll(self) -> None:
        with select.epoll() as poller:
            poller.register(self.full, select.EPOLLIN)
            assert poller.poll(0)


def accept_in_vain(ends: Ends) -> None:
    try:
        ends.listener.accept()[0].close()
    except BlockingIOError:
        pass


CALLS: list[tuple[str, Callable[[Ends], Any]]] = [
    ("recv", lambda e: e.full.recv(1, socket.MSG_PEEK)),
    ("recv, in vain", lambda e: refused(lambda: e.empty.recv(1))),
    ("recvfrom", lambda e: e.full.recvfrom(1, socket.MSG_PEEK)),
    ("recv at once", lambda e: refused(lambda: e.peer.recv(1, socket.MSG_DONTWAIT))),
    ("send", Ends.send),
    ("sendall", Ends.sendall),
    ("accept, in vain", accept_in_vain),
    ("connect", Ends.connect),
    ("select", lambda e: select.select([e.full], [], [])),
    ("select, in vain", lambda e: select.select([e.listener], [], [], 0)),
    ("poll", lambda e: e.poller.poll()),
    ("epoll", Ends.poll_epoll),
    ("os.read, in vain", lambda e: refused(lambda: os.read(e.reader, 1))),
    ("os.write", Ends.pass_through_pipe),
    ("TLS, in vain", Ends.handshake),
]


@pytest.mark.parametrize(("name", "call"), CALLS, ids=[name for name, _ in CALLS])
def test_others_run(name: str, call: Callable[[Ends], Any]) -> None:
    ends = Ends()
    here, there = socket.socketpair()
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(here.recv(1)))
    thread.start()
    time.sleep(0.005)
    there.send(b"x")
    end = time.monotonic() + 30
    calls = 0
    while not answers and time.monotonic() < end:
        calls += 1
        call(ends)
    answered = list(answers)
    thread.join()
    ends.close()
    here.close()
    there.close()
    assert answered == [b"x"], f"{calls} calls"
