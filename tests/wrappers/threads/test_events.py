"""Events: those of green threads, of OS threads, and of both together."""

from __future__ import annotations

import _thread
import contextvars
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import green, os_thread

pytestmark = pytest.mark.usefixtures("patched")


def spin(until: Callable[[], Any], limit: float = 30.0) -> None:
    deadline = time.monotonic() + limit
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def waiters(condition: Any) -> int:
    with condition:
        return len(condition._waiters)


@pytest.mark.parametrize("sets", [green, os_thread])
def test_an_event_wakes_all_even_if_it_is_cleared_at_once(sets: Callable[..., Any]) -> None:
    event = threading.Event()
    woken: list[bool] = []
    for start in (green, os_thread, green):
        start(lambda: woken.append(event.wait(30)))
    spin(lambda: waiters(event._cond) == 3)  # type: ignore[attr-defined]

    def pulse() -> None:
        event.set()
        event.clear()

    sets(pulse)
    spin(lambda: len(woken) == 3)
    assert woken == [True, True, True]
    assert not event.is_set()


def test_an_event_that_is_not_set_in_time() -> None:
    event = threading.Event()
    condition: Any = event._cond  # type: ignore[attr-defined]
    for timeout in (0.001, 0, -1, 0.0):
        assert event.wait(timeout) is False
        assert not condition._waiters
    event.set()
    for timeout in (None, 0, -1, 5):  # type: ignore[assignment]
        assert event.wait(timeout) is True
    event.clear()
    assert event.wait(0.001) is False


def test_an_event_whose_lock_is_held_is_set_when_that_is_free() -> None:
    event = threading.Event()
    with event._cond:  # type: ignore[attr-defined]
        thread = green(event.set)
        time.sleep(0.001)
        assert not event.is_set()
    thread.join()
    assert event.is_set()


def test_a_signal_handler_sets_the_event_that_the_main_thread_waits_for() -> None:
    event = threading.Event()
    old = signal.signal(signal.SIGUSR1, lambda *_: event.set())
    try:
        green(lambda: os.kill(os.getpid(), signal.SIGUSR1))
        assert event.wait(30)
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_what_dies_with_a_thread_may_wait() -> None:
    event = threading.Event()
    gone: list[bool] = []
    kept: contextvars.ContextVar[Any] = contextvars.ContextVar("kept")

    class Waits:
        def __del__(self) -> None:
            gone.append(event.wait())

    # A raw one: from CPython 3.14 a Thread keeps the context of what it ran.
    _thread.start_new_thread(lambda: kept.set(Waits()), ())  # type: ignore[arg-type, return-value]
    spin(lambda: waiters(event._cond) == 1)  # type: ignore[attr-defined]
    event.set()
    spin(lambda: gone)
    assert gone == [True]
