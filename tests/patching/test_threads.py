"""`interrupt`: another thread raises now, wherever it is.  (`set_priority` is tested with its
scheduler.)"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch import interrupt
from tests.conftest import Ticker, green, os_thread


class Stop(BaseException):
    """What the tests have threads raise."""


def receive() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.recv(1)


def read_pipe() -> None:
    reading, writing = os.pipe()
    try:
        os.read(reading, 1)
    finally:
        os.close(reading)
        os.close(writing)


def take_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def compute() -> None:
    while True:
        sum(range(100))


WAITS: dict[str, Callable[[], Any]] = {
    "sleep": lambda: time.sleep(60),
    "event": lambda: threading.Event().wait(60),
    "queue": lambda: queue.Queue[int]().get(),
    "lock": take_lock,
    "socket": receive,
    "pipe": read_pipe,
    "computing": compute,
}


class Victim:
    """A thread that is in a call until something is raised in it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self.began = False
        self.raised: BaseException | None = None
        self.thread = green(self._run)

    def _run(self) -> None:
        try:
            self.began = True
            self._call()
        except BaseException as error:
            self.raised = error


def wait_for(holds: Callable[[], Any]) -> None:
    while not holds():
        time.sleep(0.001)


@pytest.mark.parametrize("wait", WAITS)
def test_what_it_waits_for_is_given_up(patched: None, wait: str) -> None:
    victim = Victim(WAITS[wait])
    wait_for(lambda: victim.began)
    error = Stop("now")
    assert interrupt(victim.thread, error)
    victim.thread.join()
    assert victim.raised is error


def test_by_its_identifier_and_with_a_class(patched: None) -> None:
    victim = Victim(WAITS["sleep"])
    wait_for(lambda: victim.began)
    assert victim.thread.ident is not None
    assert interrupt(victim.thread.ident, Stop)  # type: ignore[arg-type]
    victim.thread.join()
    assert type(victim.raised) is Stop


def test_from_an_os_thread(patched: None) -> None:
    victim = Victim(WAITS["event"])
    wait_for(lambda: victim.began)
    answers: list[bool] = []
    os_thread(lambda: answers.append(interrupt(victim.thread, Stop)))
    victim.thread.join()
    wait_for(lambda: answers)
    assert (answers, type(victim.raised)) == ([True], Stop)


def test_a_lock_that_it_waited_for_goes_to_the_next(patched: None) -> None:
    lock = threading.Lock()
    lock.acquire()
    victim = Victim(lock.acquire)
    next_ = Victim(lock.acquire)
    wait_for(lambda: next_.began)
    interrupt(victim.thread, Stop)
    victim.thread.join()
    lock.release()
    next_.thread.join()
    assert next_.raised is None
    assert lock.locked()


def test_a_condition_is_held_again_when_its_wait_is_given_up(ticker: type[Ticker]) -> None:
    condition = threading.Condition()
    notified: list[bool] = []

    def wait() -> None:
        with condition:
            try:
                condition.wait()
            finally:
                notified.append(condition._is_owned())  # type: ignore[attr-defined]

    victim = Victim(wait)
    wait_for(lambda: condition._waiters)  # type: ignore[attr-defined]
    interrupt(victim.thread, Stop)
    victim.thread.join()
    assert notified == [True]
    with condition:
        condition.notify_all()  # nobody


def test_the_calling_thread_raises_at_once(patched: None) -> None:
    with pytest.raises(Stop):
        interrupt(threading.current_thread(), Stop)


def test_who_is_not_there_is_not_interrupted(patched: None) -> None:
    thread = green(lambda: None)
    thread.join()
    assert not interrupt(thread, Stop)
    with pytest.raises(RuntimeError, match="before it is started"):
        interrupt(threading.Thread(), Stop)
    with pytest.raises(TypeError, match="BaseException"):
        interrupt(thread, "no exception")  # type: ignore[arg-type]


def test_without_a_patch_nothing_happens() -> None:
    assert not capriccio_patch.interrupt(threading.main_thread(), Stop)
