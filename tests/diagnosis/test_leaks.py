"""Threads that nobody can wake any more."""

from __future__ import annotations

import gc
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.errors import PatchError
from tests.conftest import let_others_park

pytestmark = pytest.mark.usefixtures("patched_without_reports")


@pytest.fixture
def patched_without_reports() -> Iterator[None]:
    """The search lets no other thread run, and on a busy machine that would be reported."""
    capriccio_patch.patch_all(blocked="off")
    yield
    capriccio_patch.unpatch_all()


@pytest.fixture
def start(patched_without_reports: None) -> Iterator[Callable[..., threading.Thread]]:
    """Starts a daemon thread that waits; what they wait for is ended by `gc` behind the test."""
    ends: list[Callable[[], None]] = []

    def start(function: Callable[..., Any], *args: Any, name: str = "waits") -> threading.Thread:
        thread = threading.Thread(target=function, args=args, name=name, daemon=True)
        thread.start()
        let_others_park()
        ident = thread.ident
        ends.append(lambda: _end(ident))
        return thread

    yield start
    before, threading.excepthook = threading.excepthook, lambda args: None
    for end in ends:
        end()
    threading.excepthook = before


def _end(ident: int | None) -> None:
    """Have a thread end that may wait for good."""
    from tests.inside import applied

    kernel = applied().runtime.kernel
    thread = kernel.threads.get(ident)
    if thread is not None:
        home = kernel.of(thread)
        home.call_soon(home.interrupt, thread, _leave)
        while ident in kernel.threads:
            time.sleep(0.001)


def _leave() -> None:
    raise SystemExit


def names() -> list[str]:
    gc.collect()
    return sorted(leak.name for leak in capriccio_patch.leaked())


def work(jobs: Any) -> None:
    while True:
        jobs.get()


@pytest.mark.parametrize("kind", [queue.Queue, queue.SimpleQueue, queue.LifoQueue])
def test_a_queue_whose_producers_are_gone(start: Any, kind: Any) -> None:
    jobs = kind()
    start(work, jobs, name="worker 1")
    start(work, jobs, name="worker 2")
    assert names() == []
    del jobs
    [leak, _] = capriccio_patch.leaked()
    assert leak.waits_for.startswith(f"queue.{kind.__name__}")
    assert leak.begun == (__file__, work.__code__.co_firstlineno, "work")
    assert leak.stack[0][2] == "work"
    assert names() == ["worker 1", "worker 2"]


def test_an_event_that_nobody_holds(start: Any) -> None:
    def wait() -> None:
        threading.Event().wait()

    start(wait)
    assert names() == ["waits"]


def test_who_holds_it_may_wait_for_something_from_outside(start: Any) -> None:
    over = threading.Event()

    def produce(event: threading.Event) -> None:
        time.sleep(1000)
        event.set()

    def wait(event: threading.Event) -> None:
        event.wait()

    start(wait, over)
    start(produce, over, name="produces")
    del over
    assert names() == []


def test_who_holds_it_may_be_leaked_as_well(start: Any) -> None:
    def wait(mine: threading.Event, other: threading.Event) -> None:
        mine.wait()
        other.set()

    first, second = threading.Event(), threading.Event()
    start(wait, first, second, name="first")
    start(wait, second, first, name="second")
    assert names() == []
    del first
    assert names() == []  # `second` is held here, and who waits for it holds the other
    del second
    assert names() == ["first", "second"]


def test_a_thread_that_waits_for_the_end_of_a_leaked_one(start: Any) -> None:
    def wait() -> None:
        threading.Event().wait()

    thread = start(wait, name="leaks")
    start(thread.join, name="joins")
    assert names() == ["joins", "leaks"]


def test_what_a_thread_that_is_held_has_as_attribute(start: Any) -> None:
    class Worker(threading.Thread):
        def __init__(self) -> None:
            super().__init__(daemon=True, name="has a queue")
            self.jobs: queue.Queue[Any] = queue.Queue()

        def run(self) -> None:
            while self.jobs.get() is not None:
                pass

    worker = Worker()
    worker.start()
    let_others_park()
    assert names() == []
    worker.jobs.put(None)
    worker.join()


def test_on_other_os_threads_it_is_refused() -> None:
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            capriccio_patch.leaked()
        except PatchError as error:
            raised.append(error)

    capriccio_patch.original("_thread.start_new_thread")(ask, ())
    while not raised:
        time.sleep(0.001)
