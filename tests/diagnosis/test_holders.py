"""Who holds a lock, as far as can be told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Self

import pytest

from capriccio_patch.diagnosis.holders import claims_of, holders_of, owner_of
from tests.conftest import let_others_park, os_thread
from tests.inside import applied

pytestmark = pytest.mark.usefixtures("patched")


class Holding:
    """A thread that holds something until the block ends."""

    def __init__(self, hold: Callable[[Callable[[], Any]], None]) -> None:
        self.over = threading.Event()
        self.thread = threading.Thread(target=hold, args=(self.over.wait,))

    def __enter__(self) -> Self:
        self.thread.start()
        let_others_park()
        return self

    def __exit__(self, *args: object) -> None:
        self.over.set()
        self.thread.join()

    def found(self, thing: Any) -> list[tuple[bool, bool]]:
        """For each holder of `thing`: whether it is this thread, and whether that is sure."""
        kernel = applied().runtime.kernel
        holders = holders_of(kernel, [thing], kernel.threads.values())[id(thing)]
        return [(holder.ident == self.thread.ident, holder.is_sure) for holder in holders]


def test_a_lock_in_a_block() -> None:
    lock = threading.Lock()

    def hold(wait: Callable[[], Any]) -> None:
        with lock:
            wait()

    with Holding(hold) as holding:
        assert holding.found(lock) == [(True, True)]
    assert holding.found(lock) == []


def test_a_lock_that_was_acquired_is_a_guess() -> None:
    lock = threading.Lock()

    def hold(wait: Callable[[], Any]) -> None:
        lock.acquire()
        wait()
        lock.release()

    with Holding(hold) as holding:
        assert holding.found(lock) == [(True, False)]


def test_the_lock_of_a_condition_is_not_held_by_who_waits_for_it() -> None:
    condition = threading.Condition(threading.Lock())

    def hold(wait: Callable[[], Any]) -> None:
        with condition:
            wait()
            condition.wait()

    with Holding(hold) as holding:
        lock = condition._lock  # type: ignore[attr-defined]
        assert holding.found(lock) == [(True, True)]
        holding.over.set()
        let_others_park()
        assert holding.found(lock) == []
        with condition:
            condition.notify()


@pytest.mark.parametrize("made", [threading.Condition, threading.Semaphore, threading.Barrier])
def test_nor_by_who_has_been_notified_and_wants_it_back(made: Any) -> None:
    waited_for = made(
        *{threading.Condition: [threading.Lock()], threading.Barrier: [2]}.get(made, [0])
    )
    condition = waited_for if made is threading.Condition else waited_for._cond

    def hold(wait: Callable[[], Any]) -> None:
        if made is threading.Condition:
            with condition:
                condition.wait()
        elif made is threading.Barrier:
            waited_for.wait()
        else:
            waited_for.acquire()

    with Holding(hold) as holding, condition:
        if made is threading.Barrier:
            waited_for._state = 1
        if made is threading.Semaphore:
            waited_for._value = 1
        condition.notify()
        let_others_park()
        kernel = applied().runtime.kernel
        record = kernel.threads[holding.thread.ident or 0]
        assert record.object is condition._lock
        assert claims_of(kernel, record) == []


def test_what_code_further_in_has_released_is_a_guess() -> None:
    lock = threading.Lock()

    def unlocked(wait: Callable[[], Any]) -> None:
        lock.release()
        wait()
        lock.acquire()

    def hold(wait: Callable[[], Any]) -> None:
        with lock:
            unlocked(wait)

    with Holding(hold) as holding:
        assert holding.found(lock) == [(True, False)]


def test_two_claims_are_no_certainty() -> None:
    lock = threading.Lock()

    def hold(wait: Callable[[], Any]) -> None:
        with lock:
            lock.release()
            wait()
            lock.acquire()

    with Holding(hold) as holding, Holding(hold):
        assert [sure for _, sure in holding.found(lock)] == [False, False]


def test_a_recursive_lock_knows_its_owner_on_every_os_thread() -> None:
    lock = threading.RLock()

    def hold(wait: Callable[[], Any]) -> None:
        lock.acquire()
        lock.acquire()
        wait()
        lock.release()
        lock.release()

    assert owner_of(lock) is None
    with Holding(hold) as holding:
        assert owner_of(lock) == holding.thread.ident
        found: list[int | None] = []
        os_thread(lambda: found.append(owner_of(lock)))
        while not found:
            time.sleep(0.001)
        assert found == [holding.thread.ident]
        assert holding.found(lock) == [(True, True)]
    assert owner_of(lock) is None
