"""No wait depends on O_NONBLOCK of a socket that other processes may hold: they may change it."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.wrappers.sockets import accept
from capriccio_patch.wrappers.sockets.mode import SocketMode
from tests.conftest import os_thread
from tests.wrappers.sockets.running import run_all


@pytest.fixture(autouse=True)
def patched(scheme: str) -> None:
    """With each scheme."""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listener that is private so far."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def fork(sock: socket.socket) -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)


def send_message(sock: socket.socket) -> None:
    left, right = socket.socketpair()
    with left, right:
        rights = array.array("i", [sock.fileno()])
        left.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


def execute(sock: socket.socket) -> None:
    program = [sys.executable, "-S", "-E", "-c", ""]
    subprocess.run(program, pass_fds=[sock.fileno()], check=True, timeout=20)


def execute_as_input(sock: socket.socket) -> None:
    subprocess.run([sys.executable, "-S", "-E", "-c", ""], stdin=sock, check=True, timeout=20)


WAYS: list[tuple[str, Callable[[socket.socket], None]]] = [
    ("fork", fork),
    ("SCM_RIGHTS", send_message),
    ("pass_fds", execute),
    ("stdin", execute_as_input),
    ("inheritable", lambda sock: sock.set_inheritable(True)),
]


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """The sockets whose mode was changed for the length of a call."""
    sockets: list[socket.socket] = []
    original = SocketMode.without_waiting

    def without_waiting(mode: SocketMode, sock: Any, *args: Any) -> Any:
        sockets.append(sock)
        return original(mode, sock, *args)

    monkeypatch.setattr(SocketMode, "without_waiting", without_waiting)
    return sockets


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The listeners from which an OS thread accepts."""
    listeners: list[Any] = []
    original = accept._Shared.accept

    def shared(self: accept._Shared, sock: Any, d: Any) -> Any:
        listeners.append(sock)
        return original(self, sock, d)

    monkeypatch.setattr(accept._Shared, "accept", shared)
    return listeners


def connect_and_accept(client: socket.socket, listener: socket.socket) -> None:
    with client:
        client.connect(listener.getsockname())
        listener.accept()[0].close()
        assert client.recv(1) == b""


@pytest.mark.parametrize(("name", "share"), WAYS, ids=[name for name, _ in WAYS])
def test_the_mode_is_left_alone(
    name: str,
    share: Callable[[socket.socket], None],
    listener: socket.socket,
    changed: list[socket.socket],
    elsewhere: list[Any],
) -> None:
    client = socket.socket()
    share(listener)
    share(client)
    connect_and_accept(client, listener)
    assert changed == []
    assert listener in elsewhere
    assert os.get_blocking(listener.fileno())


def test_a_socket_from_elsewhere(listener: socket.socket, changed: list[socket.socket]) -> None:
    with socket.socket(fileno=os.dup(listener.fileno())) as copy:
        connect_and_accept(socket.socket(fileno=socket.socket().detach()), copy)
    assert changed == []


def test_a_private_socket(
    listener: socket.socket, changed: list[socket.socket], elsewhere: list[Any]
) -> None:
    client = socket.socket()
    connect_and_accept(client, listener)
    assert changed == ([client] if sys.platform == "linux" else [client, listener])
    assert not elsewhere


def test_a_copy_from_which_an_os_thread_accepts(
    listener: socket.socket, elsewhere: list[Any]
) -> None:
    """It may take what was there a moment ago: the first one is not private any more."""
    with listener.dup() as copy:
        connect_and_accept(socket.socket(), copy)
        connect_and_accept(socket.socket(), listener)
        assert {*elsewhere} == {copy, listener}


def test_an_os_thread_of_the_program_accepts(listener: socket.socket, elsewhere: list[Any]) -> None:
    done = threading.Event()

    def accept_there() -> None:
        connect_and_accept(socket.socket(), listener)
        done.set()

    os_thread(accept_there)
    assert done.wait(20)
    assert not elsewhere
    connect_and_accept(socket.socket(), listener)
    assert {*elsewhere} == {listener}


def test_another_process_takes_the_connection(listener: socket.socket) -> None:
    """What was ready is gone when it is accepted: one thread waits, and not all."""
    fork(listener)
    address = listener.getsockname()
    accept_now = capriccio_patch.original("_socket.socket._accept")
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(listener.accept()[0]))
    thread.start()
    worst = 0.0
    for _ in range(50):
        begun = time.monotonic()
        with socket.create_connection(address):
            if not got:  # as another process would, which has not waited for it
                os.set_blocking(listener.fileno(), False)
                with contextlib.suppress(BlockingIOError):
                    os.close(accept_now(listener)[0])
                os.set_blocking(listener.fileno(), True)
            time.sleep(0.001)
        worst = max(worst, time.monotonic() - begun)
    if not got:
        socket.create_connection(address).close()
    thread.join(60)
    assert not thread.is_alive()
    got[0].close()
    assert worst < 30  # else it stands still until somebody connects


def test_what_nobody_waits_for_is_kept_for_the_next(listener: socket.socket) -> None:
    fork(listener)
    listener.settimeout(0.02)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            listener.accept()
    client = socket.create_connection(listener.getsockname())
    with client:
        time.sleep(0.02)
        listener.settimeout(10)
        with listener.accept()[0] as accepted:
            accepted.sendall(b"x")
            assert client.recv(1) == b"x"


def test_many_threads_and_processes_accept(listener: socket.socket) -> None:
    """Each connection is answered once, whoever gets it."""
    address = listener.getsockname()
    children = []
    for _ in range(2):
        pid = os.fork()
        if not pid:
            try:
                serve(listener)
            finally:
                os._exit(0)
        children.append(pid)
    threads = [threading.Thread(target=serve, args=(listener,)) for _ in range(2)]
    for thread in threads:
        thread.start()

    def ask() -> bytes:
        with socket.create_connection(address) as client:
            return b"".join(iter(lambda: client.recv(10), b""))

    answers = [answer for _ in range(5) for answer in run_all(*[ask] * 10)]
    for _ in range(4):
        with socket.create_connection(address) as client:
            client.sendall(b"stop")
            client.recv(1)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    for pid in children:
        os.waitpid(pid, 0)
    assert answers == [b"x"] * 50


def serve(listener: socket.socket) -> None:
    while True:
        accepted, _ = listener.accept()
        with accepted:
            accepted.sendall(b"x")
            accepted.shutdown(socket.SHUT_WR)
            if accepted.recv(4):
                return
