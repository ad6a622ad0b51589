"""File locks: held by another process, waited for by one thread."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.{call}(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.readline()
"""


class Holder:
    """A process that holds the lock until it is told to end."""

    def __init__(self, path: Path, call: str) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-c", HOLDER.format(call=call), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == b"held\n"

    def end(self) -> None:
        """Give the lock back."""
        self._child.communicate(b"\n")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file to lock."""
    path = tmp_path / "lock"
    path.write_bytes(b"x" * 100)
    return path


@pytest.fixture
def file(path: Path) -> Iterator[Any]:
    """The file, open."""
    with open(path, "r+b", buffering=0) as file:
        yield file


def setlkw(file: Any) -> None:
    lock = struct.pack("hhqqhh", fcntl.F_WRLCK, 0, 0, 0, 0, 0)
    assert fcntl.fcntl(file, fcntl.F_SETLKW, lock)[:2] == lock[:2]


LOCKS = {
    "flock": ("flock", lambda file: fcntl.flock(file, fcntl.LOCK_EX)),
    "flock of a number": ("flock", lambda file: fcntl.flock(file.fileno(), fcntl.LOCK_SH)),
    "lockf": ("lockf", lambda file: fcntl.lockf(file, fcntl.LOCK_EX)),
    "lockf of a range": ("lockf", lambda file: fcntl.lockf(file, fcntl.LOCK_EX, 10, 5, 0)),
    "os.lockf": ("lockf", lambda file: os.lockf(file.fileno(), os.F_LOCK, 0)),
    "F_SETLKW": ("lockf", setlkw),
}


@pytest.mark.parametrize("name", LOCKS)
def test_waiting_for_a_lock_parks(ticker: Any, path: Path, file: Any, name: str) -> None:
    if name == "F_SETLKW" and sys.platform != "linux":
        pytest.skip("struct flock is laid out as on Linux")
    call, lock = LOCKS[name]
    holder = Holder(path, call)
    with ticker().at(3, holder.end):
        lock(file)
    assert is_held(path, call)


@pytest.mark.parametrize("name", LOCKS)
def test_where_no_os_thread_can_wait_others_run(
    no_os_threads: None, ticker: Any, path: Path, file: Any, name: str
) -> None:
    test_waiting_for_a_lock_parks(ticker, path, file, name)


@pytest.mark.parametrize("name", LOCKS)
def test_a_free_lock_is_taken_at_once(patched: None, path: Path, file: Any, name: str) -> None:
    if name == "F_SETLKW" and sys.platform != "linux":
        pytest.skip("struct flock is laid out as on Linux")
    call, lock = LOCKS[name]
    lock(file)
    assert is_held(path, call)


def is_held(path: Path, call: str) -> bool:
    """Whether another process finds the lock taken."""
    code = f"""
import fcntl, sys
file = open(sys.argv[1], "r+b")
try:
    fcntl.{call}(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(3)
"""
    return subprocess.run([sys.executable, "-c", code, str(path)]).returncode == 3


@pytest.mark.parametrize("call", ["flock", "lockf"])
def test_not_waiting_for_a_lock(patched: None, path: Path, file: Any, call: str) -> None:
    holder = Holder(path, call)
    with pytest.raises(BlockingIOError):
        getattr(fcntl, call)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    holder.end()
    getattr(fcntl, call)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    getattr(fcntl, call)(file, fcntl.LOCK_UN)
    assert not is_held(path, call)


class Alarm(Exception):
    """What the signal handler raises."""


@pytest.fixture
def alarm(patched: None) -> Iterator[Callable[[float], None]]:
    """``alarm(seconds)`` has Alarm raised then."""

    def ring(*_: Any) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds) and None
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("call", ["flock", "lockf"])
def test_a_wait_that_was_given_up_leaves_no_lock(
    alarm: Callable[[float], None], path: Path, file: Any, call: str
) -> None:
    holder = Holder(path, call)
    alarm(0.05)
    with pytest.raises(Alarm):
        getattr(fcntl, call)(file, fcntl.LOCK_EX)
    holder.end()
    deadline = time.monotonic() + 10
    while is_held(path, call) and time.monotonic() < deadline:
        time.sleep(0.01)  # granted to an OS thread, which gives it back
    assert not is_held(path, call)


@pytest.mark.parametrize("call", ["flock", "lockf"])
def test_a_wait_that_was_given_up_can_be_taken_up(
    alarm: Callable[[float], None], path: Path, file: Any, call: str
) -> None:
    """The usual loop around an alarm gets the lock and keeps it."""
    holder = Holder(path, call)
    given_up = 0
    while True:
        alarm(0.05)
        try:
            getattr(fcntl, call)(file, fcntl.LOCK_EX)
            break
        except Alarm:
            given_up += 1
            if given_up == 3:
                holder.end()
    alarm(0)
    assert given_up >= 3
    for _ in range(5):
        assert is_held(path, call)


def test_a_lock_got_in_another_way_is_kept(
    alarm: Callable[[float], None], path: Path, file: Any
) -> None:
    """A wait was given up, its lock is granted late, and the program has asked again since."""
    holder = Holder(path, "flock")
    alarm(0.05)
    with pytest.raises(Alarm):
        fcntl.flock(file, fcntl.LOCK_EX)
    holder.end()
    fcntl.flock(file, fcntl.LOCK_EX)
    for _ in range(5):
        assert is_held(path, "flock")
        time.sleep(0.01)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: fcntl.flock(-1, fcntl.LOCK_EX),
        lambda: fcntl.flock("x", fcntl.LOCK_EX),
        lambda: fcntl.flock(0, 1 << 20),
        lambda: fcntl.lockf(-1, fcntl.LOCK_EX),
        lambda: fcntl.lockf(0, 1 << 20),
        lambda: fcntl.fcntl(-1, fcntl.F_GETFL),
        lambda: fcntl.fcntl(0, fcntl.F_SETLKW, b"short"),
        lambda: os.lockf(-1, os.F_LOCK, 0),
    ],
)
def test_misuse_raises_what_stock_raises(
    misuse: Callable[[], Any], request: pytest.FixtureRequest
) -> None:
    def error() -> tuple[type, str]:
        with pytest.raises((OSError, TypeError, ValueError)) as raised:
            misuse()
        return raised.type, str(raised.value)

    stock = error()
    request.getfixturevalue("patched")
    assert error() == stock
