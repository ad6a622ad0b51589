"""Numbers that are no open descriptors: stock's kind of error, from files and sockets alike."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import capriccio_patch

_BUFFER = bytearray(4)
_ROOM = [_BUFFER]
_LOCK = getattr(os, "F_LOCK", 1)

CALLS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "read": ("os.read", (1,)),
    "read nothing": ("os.read", (0,)),
    "write": ("os.write", (b"x",)),
    "write nothing": ("os.write", (b"",)),
    "readv": ("os.readv", (_ROOM,)),
    "writev": ("os.writev", ([b"x"],)),
    "pread": ("os.pread", (1, 0)),
    "pwrite": ("os.pwrite", (b"x", 0)),
    "preadv": ("os.preadv", (_ROOM, 0)),
    "pwritev": ("os.pwritev", ([b"x"], 0)),
    "preadv here": ("os.preadv", (_ROOM, -1)),
    "pwritev here": ("os.pwritev", ([b"x"], -1)),
    "fsync": ("os.fsync", ()),
    "fdatasync": ("os.fdatasync", ()),
    "ftruncate": ("os.ftruncate", (0,)),
    "close": ("os.close", ()),
    "fstat": ("os.fstat", ()),
    "fchmod": ("os.fchmod", (0,)),
    "fchown": ("os.fchown", (0, 0)),
    "posix_fallocate": ("os.posix_fallocate", (0, 1)),
    "fstatvfs": ("os.fstatvfs", ()),
    "lockf of os": ("os.lockf", (_LOCK, 0)),
    "eventfd_read": ("os.eventfd_read", ()),
    "eventfd_write": ("os.eventfd_write", (1,)),
    "flock": ("fcntl.flock", (fcntl.LOCK_EX,)),
    "flock at once": ("fcntl.flock", (fcntl.LOCK_EX | fcntl.LOCK_NB,)),
    "lockf": ("fcntl.lockf", (fcntl.LOCK_EX,)),
    "fcntl": ("fcntl.fcntl", (fcntl.F_GETFD,)),
    "F_SETLKW": ("fcntl.fcntl", (fcntl.F_SETLKW, bytes(32))),
    "dup2": ("os.dup2", (70,)),
}
"""By name: the function, and what follows the descriptor."""

OTHERS: dict[str, tuple[str, Callable[[int], tuple[Any, ...]]]] = {
    "dup2 onto": ("os.dup2", lambda fd: (0, fd)),
    "sendfile": ("os.sendfile", lambda fd: (fd, fd, 0, 1)),
    "splice": ("os.splice", lambda fd: (fd, fd, 1)),
    "copy_file_range": ("os.copy_file_range", lambda fd: (fd, fd, 1)),
    "select": ("select.select", lambda fd: ([fd], [], [], 0)),
    "select to write": ("select.select", lambda fd: ([], [fd], [], 0)),
    "waitid": ("os.waitid", lambda fd: (os.P_PIDFD, fd, os.WEXITED)),
    "stat": ("os.stat", lambda fd: (fd,)),
    "truncate": ("os.truncate", lambda fd: (fd, 0)),
}

NUMBERS = {"-1": -1, "the least": -(2**31), "closed": 54321, "too large": 2**31}


@pytest.fixture(params=["alone", "with another"])
def company(request: pytest.FixtureRequest, patched: None) -> Iterator[None]:
    """With the patch in force, and perhaps with a second thread that makes parking worthwhile."""
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    if request.param != "alone":
        other.start()
    yield
    done.set()
    if other.ident is not None:
        other.join()


def outcome(function: Callable[..., Any], *args: Any) -> Any:
    """The kind of the error, and its number."""
    try:
        function(*args)
    except Exception as error:
        return type(error), getattr(error, "errno", None), str(error)
    return "no error"


def stock_and_ours(name: str, args: tuple[Any, ...]) -> tuple[Any, Any]:
    """What a call ends with, as it was and as it is."""
    module, function = name.split(".")
    found = {"os": os, "fcntl": fcntl, "select": select}[module]
    if not hasattr(found, function):
        pytest.skip(f"this system has no {name}")
    ours = outcome(getattr(found, function), *args)
    return outcome(capriccio_patch.original(name), *args), ours


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", CALLS)
def test_the_error_is_stocks(company: None, name: str, number: str) -> None:
    function, rest = CALLS[name]
    stock, ours = stock_and_ours(function, (NUMBERS[number], *rest))
    assert ours == stock


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", OTHERS)
def test_the_error_of_other_shapes_is_stocks(company: None, name: str, number: str) -> None:
    function, arguments = OTHERS[name]
    stock, ours = stock_and_ours(function, arguments(NUMBERS[number]))
    assert ours == stock


REFUSALS: dict[str, tuple[type[Exception], type[Exception]]] = {
    "-1": (ValueError, ValueError),
    "the least": (ValueError, ValueError),
    "closed": (OSError, OSError),
    "too large": (TypeError, ValueError),
}


@pytest.mark.parametrize("number", NUMBERS)
def test_objects_of_such_numbers_are_refused_as_in_stock(company: None, number: str) -> None:
    of_file, of_socket = REFUSALS[number]
    for make in (open, os.fdopen):
        assert outcome(make, NUMBERS[number], "rb")[0] is of_file
    assert outcome(lambda: socket.socket(fileno=NUMBERS[number]))[0] is of_socket


METHODS: dict[str, Callable[[Any], Any]] = {
    "recv": lambda sock: sock.recv(1),
    "recv_into": lambda sock: sock.recv_into(_BUFFER),
    "recvfrom": lambda sock: sock.recvfrom(1),
    "recvmsg": lambda sock: sock.recvmsg(1),
    "send": lambda sock: sock.send(b"x"),
    "sendall": lambda sock: sock.sendall(b"x"),
    "sendto": lambda sock: sock.sendto(b"x", ("127.0.0.1", 9)),
    "sendmsg": lambda sock: sock.sendmsg([b"x"]),
    "accept": lambda sock: sock._accept(),
    "connect": lambda sock: sock.connect(("127.0.0.1", 9)),
    "setblocking": lambda sock: sock.setblocking(False),
    "shutdown": lambda sock: sock.shutdown(socket.SHUT_RDWR),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_socket_that_is_closed_stands_for_minus_one(company: None, name: str) -> None:
    sock = socket.socket()
    sock.close()
    assert sock.fileno() == -1
    assert outcome(METHODS[name], sock)[:2] == (OSError, errno.EBADF)


def test_connect_ex_returns_its_number(company: None) -> None:
    sock = socket.socket()
    sock.close()
    assert sock.connect_ex(("127.0.0.1", 9)) == errno.EBADF
