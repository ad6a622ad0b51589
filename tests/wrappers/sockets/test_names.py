"""Names are looked up on OS threads, many at once, with the results of stock."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.cpython import originals


class SlowServer:
    """Stands for libc: its look-ups wait on their OS threads until `expected` are there."""

    def __init__(self, expected: int) -> None:
        self.lock = originals.allocate_lock()
        self.left = expected
        self.all_here = originals.allocate_lock()
        originals.lock_acquire(self.all_here)

    def answer(self, *args: Any, **kwargs: Any) -> Any:
        originals.lock_acquire(self.lock)
        self.left -= 1
        if self.left == 0:
            originals.lock_release(self.all_here)
        originals.lock_release(self.lock)
        assert originals.lock_acquire(self.all_here, True, 20), "too few look-ups at once"
        originals.lock_release(self.all_here)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]


@pytest.fixture
def slow_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowServer]:
    server = SlowServer(50)
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
        monkeypatch.setattr(originals, name, server.answer)
    monkeypatch.setattr(originals, "getnameinfo", server.answer)
    capriccio_patch.patch_all()
    yield server
    capriccio_patch.unpatch_all()


CALLS = [
    lambda: socket.getaddrinfo("somewhere.invalid", 80),
    lambda: socket.getaddrinfo(host="somewhere.invalid", port=80),
    lambda: socket.gethostbyname("somewhere.invalid"),
    lambda: socket.gethostbyname_ex("somewhere.invalid"),
    lambda: socket.gethostbyaddr("127.0.0.1"),
    lambda: socket.getnameinfo(("127.0.0.1", 80), 0),
]


def test_fifty_lookups_at_once(slow_server: SlowServer) -> None:
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(CALLS[n % len(CALLS)]()))
        for n in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 50


@pytest.mark.parametrize("method", ["connect", "connect_ex", "bind", "sendto"])
def test_methods_of_sockets_look_names_up(slow_server: SlowServer, method: str) -> None:
    slow_server.left = 2
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        address = ("somewhere.invalid", 0 if method == "bind" else 9)
        other = threading.Thread(target=CALLS[0])
        other.start()  # the other of the two
        args = (b"x", address) if method == "sendto" else (address,)
        getattr(sock, method)(*args)
        other.join()
        if method.startswith("connect"):
            assert sock.getpeername() == ("127.0.0.1", 9)


@pytest.mark.parametrize("host", ["127.0.0.1", b"127.0.0.1", "::1", "::1%lo", None])
def test_numbers_are_not_looked_up(monkeypatch: pytest.MonkeyPatch, host: Any) -> None:
    monkeypatch.setattr(originals, "getaddrinfo", lambda *_: originals.get_ident())
    capriccio_patch.patch_all()
    try:
        assert socket._socket.getaddrinfo(host, 80) == originals.get_ident()
        assert socket._socket.getaddrinfo("name", 80) != originals.get_ident()
    finally:
        capriccio_patch.unpatch_all()


def outcome(call: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return call(*args, **kwargs)
    except Exception as error:
        return type(error), error.args


def everything() -> list[Any]:
    hosts: list[Any] = ["127.0.0.1", "localhost", b"localhost", bytearray(b"localhost"), "::1", ""]
    hosts += ["127.1", "a\0b", "x" * 300, "\u00e9", "\ud800", 1, None, "fe80::1%nosuch", "a:b"]
    results = [outcome(f) for f in (socket.gethostbyname, socket._socket.getaddrinfo)]
    for host in hosts:
        results.append(outcome(socket.gethostbyname, host))
        results.append(outcome(socket._socket.getaddrinfo, host, 80, socket.AF_INET))
        results.append(outcome(socket._socket.getaddrinfo, host=host, port="x"))
        for family in (socket.AF_INET, socket.AF_INET6):
            for method in ("connect", "connect_ex", "bind"):
                with socket.socket(family, socket.SOCK_DGRAM) as sock:
                    results.append((family, method, outcome(getattr(sock, method), (host, 0))))
                    results.append(outcome(getattr(sock, method), (host, 99999)))
                    results.append(outcome(getattr(sock, method), (host, "port")))
                    results.append(outcome(getattr(sock, method), (host,)))
                    results.append(outcome(getattr(sock, method), host))
    results.append(outcome(socket.getaddrinfo, "localhost", 80, bad=1))
    results.append(outcome(socket.gethostbyname, "localhost", 1))
    results.append(outcome(socket.getnameinfo, ("127.0.0.1", 80)))
    results.append(outcome(socket.getnameinfo, ("127.0.0.1", 80), socket.NI_NUMERICSERV))
    results.append(outcome(socket.getfqdn, "127.0.0.1"))
    return results


UNPATCHED = everything()


def test_results_and_errors_are_those_of_stock(patched: None) -> None:
    assert everything() == UNPATCHED


def test_what_was_refused_is_not_held_by_the_traceback(run_script: Any) -> None:
    # Of a global, whose references each version counts alike.
    program = """
        import socket, sys
        import capriccio_patch
        capriccio_patch.patch_all()
        refused = "no address".upper()
        before = sys.getrefcount(refused)
        try:
            socket.getnameinfo(refused, 0)
        except TypeError:
            print(sys.getrefcount(refused) - before)
    """
    assert run_script(program).stdout == "0\n"
