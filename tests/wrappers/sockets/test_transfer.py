"""Sockets: every blocking call parks one thread and behaves as stock's."""

from __future__ import annotations

import array
import errno
import fcntl
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

TickerType = Any


@pytest.fixture(params=["epoll", "poll", "select"])
def scheme(request: pytest.FixtureRequest) -> Iterator[str]:
    """The patch in force with each of the I/O schemes that run here."""
    name = request.param
    reason = capriccio_patch.available_backends()[name]
    if reason is not None:
        pytest.skip(reason)
    capriccio_patch.patch_all(sockio=name)
    try:
        yield name
    finally:
        deadline = time.monotonic() + 5
        while capriccio_patch.status()["threads"] > 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        capriccio_patch.unpatch_all()


def run_all(*targets: Callable[[], Any]) -> list[Any]:
    """Run the targets as threads; their results, in order, or the first error."""
    results: list[Any] = [None] * len(targets)
    errors: list[BaseException] = []

    def call(index: int) -> None:
        try:
            results[index] = targets[index]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(targets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    if errors:
        raise errors[0]
    return results


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right, _ = server.accept()
    with left, right:
        yield left, right


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


def test_sendall_of_more_than_fits_lets_others_run(scheme: str, pair: Any) -> None:
    left, right = pair
    data = bytes(range(256)) * 40_000

    def read() -> bytes:
        got = bytearray()
        while len(got) < len(data):
            got += right.recv(65536)
        return bytes(got)

    _, got = run_all(lambda: left.sendall(data), read)
    assert got == data


@pytest.mark.parametrize("kind", ["send", "sendmsg"])
def test_a_blocking_send_sends_everything(scheme: str, pair: Any, kind: str) -> None:
    left, right = pair
    data = b"x" * 10_000_000

    def read() -> int:
        count = 0
        while count < len(data):
            count += len(right.recv(1 << 16))
        return count

    def write() -> int:
        if kind == "send":
            return left.send(data)  # type: ignore[no-any-return]
        return left.sendmsg([data[:1000], array.array("i", bytes(4000)), data[5000:]])  # type: ignore[no-any-return]

    assert run_all(write, read) == [len(data), len(data)]


def test_two_that_send_all_do_not_mix(scheme: str, pair: Any) -> None:
    left, right = pair
    size = 3_000_000

    def read() -> bytes:
        got = bytearray()
        while len(got) < 2 * size:
            got += right.recv(65536)
        return bytes(got)

    got = run_all(read, lambda: left.sendall(b"a" * size), lambda: left.sendall(b"b" * size))[0]
    assert got.count(b"ab") + got.count(b"ba") == 1


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
            time.sleep(0)
        clients = []
        for _ in threads:
            clients.append(socket.create_connection(server.getsockname()))
            time.sleep(0.001)
        for thread in threads:
            thread.join(20)
        for client in clients:
            client.close()
    assert order == list(range(20))


def test_many_readers_of_one_socket_are_served_in_order(scheme: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        got: list[tuple[int, bytes]] = []
        threads = [
            threading.Thread(target=lambda i=i: got.append((i, sock.recv(10))))  # type: ignore[misc]
            for i in range(10)
        ]
        for thread in threads:
            thread.start()
            time.sleep(0)
        for i in range(10):
            sock.sendto(b"%d" % i, sock.getsockname())
        for thread in threads:
            thread.join(20)
    assert got == [(i, b"%d" % i) for i in range(10)]


@pytest.mark.parametrize("how", ["close", "shutdown", "os.close"])
def test_whoever_waits_learns_of_the_end(scheme: str, pair: Any, how: str) -> None:
    left, right = pair
    outcome: list[Any] = []

    def wait() -> None:
        try:
            outcome.append(left.recv(1))
        except OSError as error:
            outcome.append(error.errno)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.01)
    if how == "close":
        left.close()
    elif how == "shutdown":
        left.shutdown(socket.SHUT_RDWR)
    else:
        os.close(left.detach())
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert outcome == ([b""] * 3 if how == "shutdown" else [errno.EBADF] * 3)
    del right


def test_a_reused_number_starts_afresh(scheme: str) -> None:
    for _ in range(300):
        left, right = socket.socketpair()
        number = right.fileno()
        reader = threading.Thread(target=lambda sock=right: sock.recv(1))  # type: ignore[misc]
        reader.start()
        time.sleep(0)
        left.send(b"x")
        reader.join(10)
        assert not reader.is_alive()
        left.close()
        right.close()
        other_left, other_right = socket.socketpair()
        assert number in (other_left.fileno(), other_right.fileno())
        got, _ = run_all(
            lambda sock=other_right: sock.recv(1), lambda sock=other_left: sock.send(b"y")
        )  # type: ignore[misc]
        assert got == b"y"
        other_left.close()
        other_right.close()


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


def test_sendfile(scheme: str, pair: Any, tmp_path: Any) -> None:
    left, right = pair
    path = tmp_path / "file"
    data = os.urandom(3_000_000)
    path.write_bytes(data)

    def send() -> int:
        with path.open("rb") as file:
            return left.sendfile(file)  # type: ignore[no-any-return]

    def read() -> bytes:
        got = bytearray()
        while len(got) < len(data):
            got += right.recv(65536)
        return bytes(got)

    count, got = run_all(send, read)
    assert count == len(data)
    assert got == data


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
