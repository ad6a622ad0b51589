"""`queue.Queue`: what it does in green threads, in OS threads, and in both together."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import RunScript, green, os_thread

pytestmark = pytest.mark.usefixtures("patched")

KINDS: list[Callable[[], Any]] = [
    queue.Queue,
    queue.LifoQueue,
    queue.PriorityQueue,
    lambda: queue.Queue(3),
]


@pytest.mark.parametrize("kind", KINDS, ids=["fifo", "lifo", "priority", "bounded"])
@pytest.mark.parametrize("puts", [green, os_thread])
@pytest.mark.parametrize("gets", [green, os_thread])
def test_what_is_put_is_got_once(
    kind: Callable[[], Any], puts: Callable[..., Any], gets: Callable[..., Any]
) -> None:
    items = kind()
    found: list[int] = []
    ends = queue.SimpleQueue[int]()

    def produce(first: int) -> None:
        for number in range(first, first + 100):
            items.put(number)

    def consume() -> None:
        while (number := items.get()) >= 0:
            found.append(number)
            items.task_done()
        ends.put(number)

    for _ in range(3):
        gets(consume)
    for first in (0, 100):
        puts(lambda first=first: produce(first))
    deadline = time.monotonic() + 30
    while len(found) < 200 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert sorted(found) == [*range(200)]
    items.join()
    for _ in range(3):
        items.put(-1)
    assert [ends.get(timeout=30) for _ in range(3)] == [-1, -1, -1]
    assert items.unfinished_tasks == 3


def test_the_methods_of_a_subclass_are_used() -> None:
    class Distinct(queue.Queue[int]):
        def _init(self, maxsize: int) -> None:
            self.queue: Any = {}

        def _qsize(self) -> int:
            return len(self.queue)

        def _put(self, item: int) -> None:
            self.queue[item] = None

        def _get(self) -> int:
            return int(self.queue.popitem()[0])

    items = Distinct()
    for number in (1, 2, 1):
        items.put(number)
    assert (items.qsize(), items.get(), items.get()) == (2, 2, 1)
    with pytest.raises(queue.Empty):
        items.get_nowait()


def test_an_error_in_a_method_of_a_subclass_leaves_the_queue_free() -> None:
    items = queue.PriorityQueue[Any]()
    items.put(1)
    with pytest.raises(TypeError, match="not supported between"):
        items.put("a")
    items.queue.clear()
    items.put("a")
    assert items.get() == "a"


def test_whoever_holds_the_mutex_is_waited_for() -> None:
    items = queue.Queue[int]()
    with items.mutex:
        putting = green(lambda: items.put(1))
        getting = green(items.get)
        time.sleep(0.001)
        assert not items.queue
        assert putting.is_alive()
        assert getting.is_alive()
    putting.join()
    getting.join()
    assert items.empty()


def test_arguments_are_those_of_stock() -> None:
    items = queue.Queue[int](1)
    with pytest.raises(queue.Empty):
        items.get(block=False)
    with pytest.raises(queue.Empty):
        items.get(timeout=0.001)
    with pytest.raises(ValueError, match="non-negative"):
        items.get(timeout=-1)
    items.put(1, True, None)
    with pytest.raises(queue.Full):
        items.put(2, False)
    with pytest.raises(queue.Full):
        items.put(2, timeout=0.001)
    with pytest.raises(ValueError, match="non-negative"):
        items.put(2, timeout=-1)
    assert items.get(True, None) == 1


def test_putting_wakes_what_waits_for_less() -> None:
    """A getter frees the place that a putter of a bounded queue waits for."""
    items = queue.Queue[int](1)
    items.put(0)
    thread = green(lambda: [items.put(number) for number in range(1, 4)])
    assert [items.get() for _ in range(4)] == [0, 1, 2, 3]
    thread.join()


@pytest.mark.skipif(not hasattr(queue, "ShutDown"), reason="CPython 3.13")
@pytest.mark.parametrize("immediate", [False, True])
def test_shutting_down_ends_waits_and_refuses_more(immediate: bool) -> None:
    items: Any = queue.Queue()
    ended: list[str] = []

    def get() -> None:
        try:
            items.get()
        except queue.ShutDown:  # type: ignore[attr-defined]
            ended.append("shut down")

    threads = [green(get) for _ in range(3)]
    time.sleep(0.001)
    items.shutdown(immediate)
    for thread in threads:
        thread.join()
    assert ended == ["shut down"] * 3
    with pytest.raises(queue.ShutDown):  # type: ignore[attr-defined]
        items.put(1)
    with pytest.raises(queue.ShutDown):  # type: ignore[attr-defined]
        items.get()

    left: Any = queue.Queue()
    left.put(1)
    left.shutdown(immediate)
    if not immediate:
        assert left.get() == 1
    with pytest.raises(queue.ShutDown):  # type: ignore[attr-defined]
        left.get()


def test_a_module_that_is_imported_later_is_served(run_script: RunScript) -> None:
    result = run_script(
        """
        import sys
        import capriccio_patch
        capriccio_patch.patch_all()
        assert "queue" not in sys.modules
        import queue
        print(capriccio_patch.is_patched("queue.Queue.get"))
        capriccio_patch.unpatch_all()
        print(queue.Queue.get.__code__.co_filename == queue.__file__)
        """
    )
    assert result.stdout.split() == ["True", "True"]
