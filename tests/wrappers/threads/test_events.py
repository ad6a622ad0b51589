"""Events: those of green threads, of OS threads, and of both together."""

from __future__ import annotations

import _thread
import contextvars
import copy
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from capriccio_patch.cpython.standstill import has_gil
from tests.conftest import RunScript, forks, green, os_thread

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


_LAZY = """
    import sys
    import threading
    import time
    import capriccio_patch
    for number in range(int(sys.argv[2])):
        threading.Event.number = number
        assert threading.Event.number == number
    start_os_thread = capriccio_patch.original("_thread.start_new_thread")
    capriccio_patch.patch_all()

    def os_thread(call):
        start_os_thread(call, ())

    def green(call):
        threading.Thread(target=call).start()

    def spin(until):
        while not until():
            time.sleep(0.001)

    def waiters(condition):
        with condition:
            return len(condition._waiters)

    event = threading.Event()
    woken = []
    for limit in (None, 30, 0.001):
        green(lambda limit=limit: woken.append(event.wait(limit)))
    spin(lambda: woken == [False])
    assert "_cond" not in vars(event)
    assert waiters(event._cond) == 2
    os_thread(lambda: woken.append(event.wait(30)))
    green(lambda: woken.append(event.wait()))
    spin(lambda: waiters(event._cond) == 4)
    {"green": green, "os_thread": os_thread}[sys.argv[1]](event.set)
    spin(lambda: len(woken) == 5)
    assert woken == [False, True, True, True, True]
    assert waiters(event._cond) == 0

    thread = threading.Thread(target=int)
    thread.start()
    assert "_cond" not in vars(thread._started)
    thread.join()
"""


@pytest.mark.parametrize("changes", [0, 1200], ids=["", "without a version"])
@pytest.mark.parametrize("sets", ["green", "os_thread"])
def test_an_event_makes_its_condition_for_those_who_ask(
    run_script: RunScript, sets: str, changes: int
) -> None:
    """Also when the class was changed so often that CPython has no version of it left."""
    run_script(_LAZY, sets, str(changes))


def test_who_waits_is_notified_by_the_condition_too() -> None:
    event = threading.Event()
    woken: list[bool] = []
    threads = [green(lambda: woken.append(event.wait())) for _ in range(2)]
    spin(lambda: waiters(event._cond) == 2)  # type: ignore[attr-defined]
    with event._cond:  # type: ignore[attr-defined]
        event._cond.notify_all()  # type: ignore[attr-defined]
    for thread in threads:
        thread.join()
    assert woken == [True, True]


def test_an_event_is_copied_with_its_condition_and_not_pickled() -> None:
    event = threading.Event()
    event.set()
    copied = copy.copy(event)
    assert copied.is_set()
    assert copied._cond is event._cond  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(threading.Event())


def test_events_outlive_the_patch(run_script: RunScript) -> None:
    done = run_script(
        """
        import copy, threading, time
        import capriccio_patch
        capriccio_patch.patch_all()
        events = [threading.Event() for _ in range(3)]
        thread = threading.Thread(target=events[0].wait)
        thread.start()
        events[0].set()
        thread.join()
        capriccio_patch.unpatch_all()
        woken = []
        for event in events:
            threads = [
                threading.Thread(target=lambda: woken.append(event.wait(30))) for _ in range(3)
            ]
            for each in threads:
                each.start()
            event.set()
            for each in threads:
                each.join()
        assert woken == [True] * 9, woken
        assert not threading.Event().wait(0.001)
        print("all woken")
        """
    )
    assert done.stdout == "all woken\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@forks
def test_a_wait_goes_on_in_the_child_that_a_signal_handler_forks() -> None:
    event = threading.Event()
    pids: list[int] = []

    def handle(*_: Any) -> None:
        pids.append(os.fork())
        if pids == [0]:
            signal.alarm(30)
        green(event.set)

    old = signal.signal(signal.SIGUSR1, handle)
    try:
        green(lambda: os.kill(os.getpid(), signal.SIGUSR1))
        woken = event.wait()
        if pids == [0]:
            os._exit(0 if woken else 1)
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert woken
    assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 0


@pytest.mark.skipif(has_gil(), reason="this interpreter has a GIL: see PYTHONS in the Makefile")
def test_an_os_thread_begins_to_wait_as_it_is_set(run_script: RunScript) -> None:
    run_script("""
        import collections, threading, time
        import capriccio_patch
        capriccio_patch.patch_all()
        made, over, found = collections.deque(maxlen=1), [], []
        def wait():
            while not over:
                if made and not made.pop().wait(2):
                    found.append("lost")
            found.append("ended")
        capriccio_patch.original("_thread.start_new_thread")(wait, ())
        end = time.monotonic() + 5
        while time.monotonic() < end and not found:
            event = threading.Event()
            made.append(event)
            for _ in range(8):
                pass
            event.set()
        over.append(True)
        while "ended" not in found:
            time.sleep(0.001)
        assert found == ["ended"]
        """)


@pytest.mark.skipif(has_gil(), reason="this interpreter has a GIL: see PYTHONS in the Makefile")
@pytest.mark.parametrize("lives", [0.002, 10.0])
def test_an_os_thread_sets_it_as_waits_for_it_end(run_script: RunScript, lives: float) -> None:
    run_script(f"""
        import threading, time
        import capriccio_patch
        capriccio_patch.patch_all()
        shared, over, found = [threading.Event()], [], []
        def set_all():
            try:
                while not over:
                    event = shared[0]
                    event.set()
                    event.clear()
            except Exception as error:
                over.append(error)
            found.append("ended")
        for _ in range(2):
            capriccio_patch.original("_thread.start_new_thread")(set_all, ())
        end = time.monotonic() + 5
        def wait():
            while time.monotonic() < end and not over:
                shared[0].wait(0.00005)
        def renew():
            while time.monotonic() < end and not over:
                time.sleep({lives})
                shared[0] = threading.Event()
        threads = [threading.Thread(target=wait) for _ in range(6)]
        threads.append(threading.Thread(target=renew, daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads[:-1]:
            thread.join()
        assert not over, over
        over.append(True)
        while len(found) < 2:
            time.sleep(0.001)
        """)
