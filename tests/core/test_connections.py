"""Connections in C: what is accepted, made and closed, and what is left to Python.

That they behave as in Python is what `tests/wrappers/sockets` shows, over both forms.
"""

from __future__ import annotations

import socket
import sys
import threading

import pytest

import capriccio_patch

pytestmark = pytest.mark.usefixtures("in_c")

HOSTS = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


@pytest.mark.parametrize(("family", "host"), HOSTS)
@pytest.mark.parametrize("timeout", [None, 30])
def test_the_address_is_the_clients(
    family: socket.AddressFamily, host: str, timeout: float | None
) -> None:
    if family == socket.AF_INET6 and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6")
    with socket.create_server((host, 0), family=family) as listener:
        listener.settimeout(timeout)
        for _ in range(3):  # the first is Python's
            with socket.create_connection(listener.getsockname()[:2]) as client:
                connection, address = listener.accept()
                with connection:
                    assert address == client.getsockname()
                    assert connection.getpeername() == address
                    assert not connection.get_inheritable()
                    assert connection.gettimeout() is None


@pytest.mark.skipif(sys.platform != "linux", reason="one address of this machine may be all")
@pytest.mark.parametrize("host", ["127.0.0.9", "127.10.99.100", "127.200.255.254"])
def test_each_digit_of_the_address(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(2):  # the first is Python's
            with socket.create_connection(
                listener.getsockname(), source_address=(host, 0)
            ) as client:
                connection, address = listener.accept()
                connection.close()
                assert address == client.getsockname() == (host, address[1])


def test_each_of_many_threads_accepts_in_its_turn() -> None:
    order: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = threading.Semaphore(0)
        with socket.create_connection(listener.getsockname()):
            listener.accept()[0].close()  # the first is Python's

        def accept(number: int) -> None:
            started.release()
            for _ in range(3):
                connection, _ = listener.accept()
                order.append(number)
                connection.sendall(b"x")
                connection.close()

        threads = [threading.Thread(target=accept, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
            started.acquire()
        for _ in range(15):
            with socket.create_connection(listener.getsockname()) as client:
                assert client.recv(10) == b"x"
        for thread in threads:
            thread.join()
    assert order == [0, 1, 2, 3, 4] * 3


def test_connections_that_come_at_once_are_accepted_by_all() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted = threading.Semaphore(0)

        def accept() -> None:
            listener.accept()[0].close()
            accepted.release()

        threads = [threading.Thread(target=accept) for _ in range(20)]
        for thread in threads:
            thread.start()
        clients = [socket.create_connection(listener.getsockname()) for _ in threads]
        for thread in threads:
            thread.join(30)
        for client in clients:
            client.close()
        assert all(accepted.acquire(timeout=0) for _ in threads)


def test_a_listener_that_times_out_is_no_longer_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for timeout in (None, 0.01):
            listener.settimeout(timeout)
            with socket.create_connection(listener.getsockname()):
                listener.accept()[0].close()
        with pytest.raises(TimeoutError, match="timed out"):
            listener.accept()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize("ends", ["close", "detach", "shutdown"])
def test_who_accepts_learns_of_the_end(ends: str) -> None:
    errors: list[OSError] = []
    listener = socket.create_server(("127.0.0.1", 0))
    with socket.create_connection(listener.getsockname()):
        listener.accept()[0].close()

    def accept() -> None:
        try:
            listener.accept()
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=accept) for _ in range(3)]
    for thread in threads:
        thread.start()
    if ends == "shutdown":
        listener.shutdown(socket.SHUT_RDWR)
    elif ends == "close":
        listener.close()
    else:
        socket.close(listener.detach())
    for thread in threads:
        thread.join(30)
    assert len(errors) == 3
    listener.close()


def test_nothing_is_held_of_what_was_closed() -> None:
    objects = (None, True, False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()

        def visit() -> None:
            with socket.create_connection(address) as client:
                connection, _ = listener.accept()
                with connection:
                    client.sendall(b"x")
                    assert connection.recv(1) == b"x"

        for _ in range(3):
            visit()
        before = [sys.getrefcount(each) for each in objects]
        blocks = sys.getallocatedblocks()
        for _ in range(500):
            visit()
        after = [sys.getrefcount(each) for each in objects]
        assert all(abs(one - other) < 100 for one, other in zip(before, after, strict=True))
        assert sys.getallocatedblocks() - blocks < 200


def test_a_number_that_is_used_again_is_another_socket() -> None:
    left, right = socket.socketpair()
    number = left.fileno()
    left.close()
    again = socket.socket()
    assert again.fileno() == number
    other, another = socket.socketpair()
    with again, right, other, another:
        thread = threading.Thread(target=another.sendall, args=(b"x",))
        thread.start()
        assert other.recv(1) == b"x"
        thread.join()


def test_a_method_that_was_kept_works_without_the_patch() -> None:
    accept, close, make = (
        vars(socket.SocketType)[name] for name in ("_accept", "close", "__init__")
    )
    capriccio_patch.unpatch_all()
    listener = socket.create_server(("127.0.0.1", 0))
    with socket.create_connection(listener.getsockname()) as client:
        number, address = accept(listener)
        assert address == client.getsockname()
        made = socket.SocketType.__new__(socket.SocketType)
        make(made, fileno=number)
        client.sendall(b"x")
        assert made.recv(1) == b"x"
        close(made)
        close(listener)
        assert made.fileno() == listener.fileno() == -1
