"""Conditions: those of green threads, of OS threads, and of both together."""

from __future__ import annotations

import _thread
import ctypes
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from capriccio_patch import original
from tests.conftest import forks, green, os_thread

KINDS: dict[str, Callable[[], Any]] = {
    "default": threading.Condition,
    "lock": lambda: threading.Condition(threading.Lock()),
    "python": lambda: threading.Condition(threading._PyRLock()),  # type: ignore[attr-defined]
}

kinds = pytest.mark.parametrize("kind", KINDS)

pytestmark = pytest.mark.usefixtures("patched")


def spin(until: Callable[[], Any], limit: float = 30.0) -> None:
    deadline = time.monotonic() + limit
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or the type and text of what it raises."""
    try:
        return call()
    except Exception as error:
        return type(error), str(error)


def waiters(condition: Any) -> int:
    with condition:
        return len(condition._waiters)


@kinds
@pytest.mark.parametrize("waits", [green, os_thread])
@pytest.mark.parametrize("notifies", [green, os_thread])
def test_the_first_to_wait_are_the_first_to_be_notified(
    kind: str, waits: Callable[..., Any], notifies: Callable[..., Any]
) -> None:
    condition = KINDS[kind]()
    woken: list[int] = []

    def wait(number: int) -> None:
        with condition:
            assert condition.wait(30)
            woken.append(number)

    def notify(n: int) -> None:
        with condition:
            condition.notify(n)

    for number in range(5):
        waits(lambda number=number: wait(number))
        spin(lambda number=number: waiters(condition) == number + 1)
    for n, expected in ((2, 2), (0, 2), (1, 3), (9, 5)):
        notifies(lambda n=n: notify(n))
        spin(lambda expected=expected: len(woken) == expected)
        assert waiters(condition) == 5 - expected
        assert sorted(woken) == [*range(expected)]


@kinds
def test_a_timeout_leaves_the_queue_and_has_the_lock(kind: str) -> None:
    condition = KINDS[kind]()
    with condition:
        for timeout in (0.001, 0, 0.0, -1, -0.5, True):
            assert condition.wait(timeout) is False
            assert not condition._waiters
            assert condition._is_owned()
    assert not condition._is_owned()


@kinds
def test_it_is_waited_with_the_depth_that_was_held(kind: str) -> None:
    condition = KINDS[kind]()
    depth = 1 if kind == "lock" else 3
    for _ in range(depth):
        condition.acquire()

    def notify() -> None:
        with condition:
            condition.notify_all()

    green(notify)
    assert condition.wait(30) is True
    for _ in range(depth):
        assert condition._is_owned()
        condition.release()
    assert not condition._is_owned()


@kinds
def test_misuse_raises_what_stock_raises(kind: str) -> None:
    condition = KINDS[kind]()
    assert outcome(condition.wait) == (RuntimeError, "cannot wait on un-acquired lock")
    assert outcome(condition.notify) == (RuntimeError, "cannot notify on un-acquired lock")
    assert outcome(condition.notify_all) == (RuntimeError, "cannot notify on un-acquired lock")
    lock = original("_thread.allocate_lock")()
    acquire = original("_thread.LockType.acquire")
    for timeout in ("1", threading.TIMEOUT_MAX * 2, float("nan"), float("inf"), 1j):
        with condition:
            found = outcome(lambda timeout=timeout: condition.wait(timeout))
            expected = outcome(
                lambda timeout=timeout: timeout > 0 and acquire(lock, True, timeout)  # type: ignore[operator]
            )
            if type(timeout) in (str, complex):  # compared with 0, in one way or the other
                found, expected = (
                    (kind, text.replace("<=", ">")) for kind, text in (found, expected)
                )
            if timeout != timeout:  # neither above 0 nor not above it: versions differ
                assert found in (False, outcome(lambda: acquire(lock, True, float("nan"))))
            else:
                assert found == expected
            assert condition._is_owned()
            assert not condition._waiters


@kinds
def test_an_exception_in_a_wait_leaves_the_queue_and_has_the_lock(kind: str) -> None:
    condition = KINDS[kind]()
    found: list[Any] = []

    def wait() -> None:
        with condition:
            try:
                condition.wait()
            except ZeroDivisionError:
                found.append((condition._is_owned(), len(condition._waiters)))

    thread = green(wait)
    spin(lambda: waiters(condition) == 1)
    ident = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(ZeroDivisionError))
    with condition:
        condition.notify()
    thread.join()
    assert found == [(True, 0)]


def test_a_loop_of_empty_waits_lets_others_have_the_lock() -> None:
    condition = threading.Condition()
    done = False

    def finish() -> None:
        nonlocal done
        with condition:
            done = True

    with condition:
        green(finish)
        while not done:
            condition.wait(0)


def test_what_a_subclass_has_of_its_own_is_used() -> None:
    calls: list[str] = []

    class Noting(threading.Condition):
        def _is_owned(self) -> bool:
            calls.append("owned")
            return super()._is_owned()  # type: ignore[misc, no-any-return]

        def _release_save(self) -> Any:
            calls.append("release")
            return super()._release_save()  # type: ignore[misc]

        def _acquire_restore(self, state: Any) -> None:
            calls.append("restore")
            super()._acquire_restore(state)  # type: ignore[misc]

    condition = Noting(threading.Lock())
    with condition:
        condition.wait(0.001)
        condition.notify()
    assert calls == ["owned", "release", "restore", "owned"]


def test_a_waiter_is_released_once() -> None:
    condition = threading.Condition()

    def wait() -> None:
        with condition:
            condition.wait()

    thread = green(wait)
    spin(lambda: waiters(condition) == 1)
    waiter = condition._waiters[0]  # type: ignore[attr-defined]
    waiter.release()
    with pytest.raises(RuntimeError, match="release unlocked lock"):
        waiter.release()
    thread.join()


def test_os_threads_and_green_threads_lose_no_wake_up() -> None:
    event, answer = threading.Event(), threading.Event()
    rounds = 500

    def reply() -> None:
        for _ in range(rounds):
            event.wait()
            event.clear()
            answer.set()

    ended = _thread.allocate_lock()
    ended.acquire()

    def run() -> None:
        reply()
        ended.release()

    os_thread(run)
    for _ in range(rounds):
        event.set()
        assert answer.wait(30)
        answer.clear()
    assert ended.acquire(timeout=30)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@forks
def test_a_forked_child_may_notify_what_the_parents_threads_wait_for() -> None:
    condition, event = threading.Condition(), threading.Event()
    woken: list[bool] = []

    def wait() -> None:
        with condition:
            woken.append(condition.wait())

    threads = [green(wait), green(lambda: woken.append(event.wait()))]
    spin(lambda: waiters(condition) == 1)
    spin(lambda: waiters(event._cond) == 1)  # type: ignore[attr-defined]
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with condition:
                condition.notify_all()
            event.set()
            green(lambda: None).join()
            status = len(woken)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with condition:
        condition.notify_all()
    event.set()
    for thread in threads:
        thread.join()


def test_an_os_thread_that_does_not_own_it_can_t_notify(patched: None) -> None:
    condition, found = threading.Condition(), []

    def notify() -> None:
        try:
            condition.notify()
        except RuntimeError as error:
            found.append(str(error))

    os_thread(notify)
    while not found:
        time.sleep(0.001)
    assert found == ["cannot notify on un-acquired lock"]
