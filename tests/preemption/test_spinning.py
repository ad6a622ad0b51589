"""Threads that wait for another one by asking again and again end, whatever they ask and how.

Each form gets a flag that another thread is about to raise, and returns once it has seen it.
"""

from __future__ import annotations

import functools
import itertools
import queue
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import capriccio_patch
from capriccio_patch.errors import CapriccioWarning
from capriccio_patch.schedulers.random import RandomScheduler

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGRTMAX") and not hasattr(signal, "SIGEMT"),
    reason="no signal number to spare",
)


class Other:
    """What another thread does after a while, in several ways that can be seen."""

    def __init__(self) -> None:
        self.flag = False
        self.items: queue.Queue[int] = queue.Queue()
        self.event = threading.Event()
        self.lock = threading.Lock()
        self.lock.acquire()
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        time.sleep(0.001)
        self.flag = True
        self.items.put(1)
        self.event.set()
        self.lock.release()
        self.far.sendall(b"x")

    def close(self) -> None:
        self.thread.join()
        self.near.close()
        self.far.close()


FORMS: list[Callable[[Other], object]] = []


def form(function: Callable[[Other], object]) -> Callable[[Other], object]:
    """One more way to spin."""
    FORMS.append(function)
    return function


@form
def plain(other: Other) -> object:
    while not other.flag:
        pass
    return None


@form
def the_clock(other: Other) -> object:
    while not other.flag:
        time.time()
    return None


@form
def a_socket(other: Other) -> object:
    data = b""
    while data == b"":
        try:
            data = other.near.recv(1)
        except BlockingIOError:
            pass
    return data


@form
def a_queue(other: Other) -> object:
    while other.items.empty():
        pass
    return other.items.get_nowait()


@form
def a_thread(other: Other) -> object:
    while other.thread.is_alive():
        pass
    return None


@form
def a_lock(other: Other) -> object:
    while other.lock.locked():
        pass
    return None


@form
def a_lock_without_waiting(other: Other) -> object:
    while not other.lock.acquire(blocking=False):
        pass
    return None


@form
def an_event(other: Other) -> object:
    while not other.event.is_set():
        continue
    return None


@form
def a_comprehension(other: Other) -> object:
    return [1 for _ in iter(lambda: other.flag, True)]


@form
def repeat(other: Other) -> object:
    for _ in itertools.repeat(None):
        if other.flag:
            break
    return None


@form
def generators(other: Other) -> object:
    def inner() -> Iterator[int]:
        while not other.flag:
            yield 1

    def outer() -> Iterator[int]:
        yield from inner()

    return sum(outer())


@form
def recursion(other: Other) -> object:
    def descend(depth: int) -> None:
        if depth and not other.flag:
            descend(depth - 1)

    while not other.flag:
        descend(50)
    return None


@form
def sort_keys(other: Other) -> object:
    def key(number: int) -> int:
        for _ in range(20):
            number = -number
        return number

    while not other.flag:
        sorted(range(50), key=key)
    return None


@form
def comparisons(other: Other) -> object:
    def compare(a: int, b: int) -> int:
        return (a > b) - (a < b)

    while not other.flag:
        sorted(range(50, 0, -1), key=functools.cmp_to_key(compare))
    return None


@form
def regular_expressions(other: Other) -> object:
    while not other.flag:
        re.sub(r"\d", lambda match: match[0] * 2, "1a2b3c")
    return None


@form
def exceptions(other: Other) -> object:
    while True:
        try:
            if not other.flag:
                raise KeyError
            return None
        except KeyError:
            pass


@form
def a_property(other: Other) -> object:
    class Asks:
        @property
        def ready(self) -> bool:
            return other.flag

        def __bool__(self) -> bool:
            return self.ready

    asks = Asks()
    while not asks:
        pass
    return None


@form
def c_iterators(other: Other) -> object:
    return any(map(lambda _: other.flag, itertools.count()))  # noqa: C417


@pytest.fixture(params=capriccio_patch.known_schedulers())
def each_scheduler(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The patch in force with each of the schedulers; the seeded one is no more patient here."""
    monkeypatch.setattr(RandomScheduler, "least_slice", 0.0)
    capriccio_patch.patch_all(scheduler=request.param, slice=0.001)
    try:
        yield
    finally:
        capriccio_patch.unpatch_all()


def test_each_form_ends(each_scheduler: None) -> None:
    for spin in FORMS:
        other = Other()
        spin(other)
        other.close()


def test_all_of_them_beside_each_other(each_scheduler: None) -> None:
    others = [Other() for _ in FORMS]
    threads = [
        threading.Thread(target=spin, args=(other,))
        for spin, other in zip(FORMS, others, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in others:
        other.close()


@pytest.mark.parametrize("mode", ["off", "warn", "raise"])
def test_none_is_reported_as_blocking(mode: str, recwarn: pytest.WarningsRecorder) -> None:
    capriccio_patch.patch_all(slice=0.001, blocked=mode if mode == "off" else f"0.1:{mode}")
    try:
        for spin in FORMS:
            other = Other()
            spin(other)
            other.close()
    finally:
        capriccio_patch.unpatch_all()
    assert not [each for each in recwarn if issubclass(each.category, CapriccioWarning)]
