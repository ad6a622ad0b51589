"""The loop of a thread in C, and its small stack of Python frames."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import capriccio_patch
from tests.conftest import RunScript

pytest.importorskip("capriccio_patch.core._core")


@pytest.fixture(autouse=True)
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The patch is in force, with C."""
    monkeypatch.setenv("CAPRICCIO_CORE", "compiled")
    capriccio_patch.patch_all()
    try:
        yield
    finally:
        capriccio_patch.unpatch_all()


def joined(*calls: Callable[[], Any]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def deep(depth: int, call: Callable[[], Any]) -> int:
    """Make a call that many calls down; how many there were."""
    if depth == 0:
        call()
        return 0
    return deep(depth - 1, call) + 1


def test_a_thread_may_be_deeper_than_its_stack() -> None:
    found = []

    def dive() -> None:
        found.append([deep(depth, lambda: time.sleep(0)) for depth in range(0, 300, 7)])

    joined(*[dive] * 3)
    assert found == [[*range(0, 300, 7)]] * 3


def test_a_call_at_the_end_of_the_stack_is_made_again_and_again() -> None:
    counted = []

    def climb() -> None:
        # One of these depths is the last that fits.
        counted.extend(sum(deep(depth, int) for _ in range(50)) for depth in range(40))

    joined(climb)
    assert counted == [50 * depth for depth in range(40)]


def test_one_deep_thread_makes_no_larger_stacks_for_others(run_script: RunScript) -> None:
    script = """
    import capriccio_patch
    capriccio_patch.patch_all()
    import threading, time, tracemalloc

    def dive(depth):
        return dive(depth - 1) if depth else time.sleep(0)

    deep = threading.Thread(target=dive, args=(50,))
    deep.start()
    deep.join()
    gate = threading.Lock()
    gate.acquire()
    tracemalloc.start()
    for _ in range(200):
        threading.Thread(target=gate.acquire, daemon=True).start()
    sizes = [each.size for each in tracemalloc.take_snapshot().traces]
    print(sizes.count(896) > 100, sizes.count(1504))
    """
    assert run_script(script).stdout == "True 0\n"


def test_generators_that_outlive_the_thread_that_made_them() -> None:
    made: list[Iterator[int]] = []

    def numbers() -> Iterator[int]:
        yield from range(3)

    joined(*[lambda: made.append(numbers())] * 100)
    assert [list(each) for each in made] == [[0, 1, 2]] * 100


def test_more_threads_than_are_kept_come_and_go() -> None:
    for _ in range(3):
        joined(*[lambda: time.sleep(0)] * 300)
    kernel = capriccio_patch.api._applied.runtime.kernel  # type: ignore[union-attr]
    assert len(kernel.spare) <= 64


def test_what_a_raw_thread_raises_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import _thread

    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)

    def fail() -> None:
        raise KeyError("x")

    def leave() -> None:
        raise SystemExit

    _thread.start_new_thread(fail, ())
    _thread.start_new_thread(leave, ())
    while capriccio_patch.status()["threads"] > 1:
        time.sleep(0)
    [told] = seen
    assert told.exc_type is KeyError
    assert [each.name for each in _frames(told.exc_traceback)] == ["fail"]
    assert sys.exc_info() == (None, None, None)


def _frames(trace: Any) -> Any:
    import traceback

    return traceback.extract_tb(trace)


def test_a_context_is_each_threads_own() -> None:
    import contextvars

    var = contextvars.ContextVar("var", default=0)
    seen = []

    def use() -> None:
        seen.append(var.get())
        var.set(1)

    for _ in range(3):  # one after the other, on the same greenlet
        joined(use)
    assert seen == [0, 0, 0]


def test_a_greenlet_that_is_collected_ends(run_script: RunScript) -> None:
    script = """
    import gc, greenlet, capriccio_patch
    capriccio_patch.patch_all()
    import threading

    def wait():
        try:
            inner = greenlet.greenlet(lambda: greenlet.getcurrent().parent.switch())
            inner.switch()
            del inner  # GreenletExit is raised in it
            gc.collect()
        finally:
            print("ended")

    for _ in range(3):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    """
    assert run_script(script).stdout == "ended\n" * 3
