"""``queue.SimpleQueue`` and, above the locks, ``queue.Queue``."""

from __future__ import annotations

import _queue
import ctypes
import gc
import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from capriccio_patch import original
from capriccio_patch.cpython import originals
from tests.conftest import Ticker

pytestmark = pytest.mark.usefixtures("patched")

Start = Callable[[Callable[[], Any]], None]


def start_green(run: Callable[[], Any]) -> None:
    threading.Thread(target=run).start()


def start_os(run: Callable[[], Any]) -> None:
    original("_thread.start_new_thread")(run, ())


STARTS = pytest.mark.parametrize("start", [start_green, start_os], ids=["green", "os"])


def spin(condition: Callable[[], Any]) -> None:
    while not condition():
        time.sleep(0.0005)


@pytest.fixture
def items() -> queue.SimpleQueue[Any]:
    return queue.SimpleQueue()


Items = queue.SimpleQueue[Any]


class TestGet:
    def test_what_is_there(self, items: Items) -> None:
        for number in range(3):
            items.put(number)
        assert [items.get(), items.get(False), items.get_nowait()] == [0, 1, 2]

    def test_waits_for_an_item(self, items: Items) -> None:
        with Ticker().at(3, lambda: items.put("item")):
            assert items.get() == "item"

    def test_waits_for_an_item_with_a_timeout(self, items: Items) -> None:
        with Ticker().at(3, lambda: items.put("item")):
            assert items.get(timeout=30) == "item"

    @STARTS
    def test_across_kinds_of_threads(self, items: Items, start: Start) -> None:
        replies: Items = queue.SimpleQueue()
        start(lambda: [replies.put(items.get() + 1) for _ in range(50)])
        with Ticker():
            for number in range(50):
                items.put(number)
                assert replies.get() == number + 1

    def test_nothing_in_time(self, items: Items) -> None:
        before = time.monotonic()
        with Ticker() as ticker, pytest.raises(queue.Empty):
            items.get(timeout=0.02)
        assert ticker.ticks > 1
        assert time.monotonic() - before >= 0.02

    @pytest.mark.parametrize(
        ("args", "kwargs"), [((False,), {}), ((True, 0), {}), ((), {"block": False, "timeout": -5})]
    )
    def test_nothing_without_waiting(self, items: Items, args: Any, kwargs: Any) -> None:
        with pytest.raises(queue.Empty):
            items.get(*args, **kwargs)

    @pytest.mark.parametrize("timeout", [-1, -0.001, "soon", 1e300, float("nan"), 10**400])
    @pytest.mark.parametrize("filled", [False, True])
    def test_bad_timeouts_are_those_of_stock(
        self, items: Items, timeout: Any, filled: bool
    ) -> None:
        if filled:
            items.put(1)
        with pytest.raises((ValueError, TypeError, OverflowError)) as expected:
            originals.queue_get(items, True, timeout)
        with pytest.raises((ValueError, TypeError, OverflowError)) as found:
            items.get(timeout=timeout)
        assert (type(found.value), str(found.value)) == (
            type(expected.value),
            str(expected.value),
        )
        assert items.qsize() == filled

    @pytest.mark.one_processor
    def test_the_first_to_wait_gets_the_first_item(self, items: Items) -> None:
        got: list[tuple[int, Any]] = []
        for number in range(10):
            start_green(lambda number=number: got.append((number, items.get())))  # type: ignore[misc]
            time.sleep(0)
        for number in range(10):
            items.put(number)
        spin(lambda: len(got) == 10)
        assert got == [(number, number) for number in range(10)]

    @pytest.mark.one_processor
    def test_an_item_taken_by_another_is_waited_for_again(self, items: Items) -> None:
        got: list[Any] = []
        start_green(lambda: got.append(items.get(timeout=30)))
        time.sleep(0)
        items.put("first")
        assert items.get() == "first"  # before the woken one has had its turn
        time.sleep(0.002)
        assert got == []
        items.put("second")
        spin(lambda: got)
        assert got == ["second"]

    def test_the_item_of_an_interrupted_wait_goes_to_the_next(self, items: Items) -> None:
        set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
        got: list[Any] = []
        idents: list[int] = []

        def take() -> None:
            idents.append(threading.get_ident())
            try:
                got.append(items.get())
            except KeyError:
                got.append("raised")

        for _ in range(2):
            start_green(take)
        time.sleep(0)
        assert set_async_exc(ctypes.c_ulong(idents[0]), ctypes.py_object(KeyError)) == 1
        items.put("item")
        spin(lambda: len(got) == 2)
        assert sorted(got) == ["item", "raised"]


class TestPut:
    def test_arguments_that_mean_nothing(self, items: Items) -> None:
        items.put(1, False)
        items.put(2, True, 5)
        items.put(3, timeout=-1)
        items.put_nowait(4)
        assert items.qsize() == 4

    def test_bad_arguments_are_those_of_stock(self, items: Items) -> None:
        with pytest.raises(TypeError):
            items.put()  # type: ignore[call-arg]
        assert items.empty()

    def test_from_a_finalizer(self, items: Items) -> None:
        class Finalized:
            def __init__(self) -> None:
                self.cycle = self

            def __del__(self) -> None:
                items.put("finalized")

        gc.collect()
        Finalized()
        with Ticker().at(3, gc.collect):
            assert items.get() == "finalized"

    def test_nothing_is_kept(self, items: Items) -> None:
        class Item:
            pass

        item = Item()
        alive = weakref.ref(item)
        with Ticker().at(2, lambda: items.put(Item())):
            items.get()
        items.put(item)
        del item
        items.get()
        assert alive() is None


def test_a_queue_goes_when_its_waits_are_over() -> None:
    def use() -> weakref.ref[Items]:
        items: Items = queue.SimpleQueue()
        with Ticker().at(2, lambda: items.put(1)):
            items.get()
        with pytest.raises(queue.Empty):
            items.get(timeout=0.001)
        return weakref.ref(items)

    assert use()() is None


def test_subclasses() -> None:
    class Mine(_queue.SimpleQueue):  # type: ignore[type-arg]
        def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
            super().put(("mine", item))

    items = Mine()
    with Ticker().at(3, lambda: items.put(1)):
        assert items.get() == ("mine", 1)


def test_many_producers_and_consumers_of_both_kinds() -> None:
    items: Items = queue.SimpleQueue()
    got: list[Any] = []
    ended: list[int] = []

    def produce() -> None:
        for number in range(200):
            items.put(number)
            if number % 20 == 0:
                time.sleep(0)

    def consume() -> None:
        while (item := items.get()) is not None:
            got.append(item)
        ended.append(1)

    for start in (start_green, start_os):
        for _ in range(3):
            start(consume)
        for _ in range(3):
            start(produce)
    spin(lambda: len(got) == 1200)
    for _ in range(6):
        items.put(None)
    spin(lambda: len(ended) == 6)
    assert sorted(got) == sorted([*range(200)] * 6)


@pytest.mark.parametrize("kind", [queue.Queue, queue.LifoQueue, queue.PriorityQueue])
def test_bounded_queues(kind: type[queue.Queue[int]]) -> None:
    items = kind(2)
    got: list[int] = []

    def consume() -> None:
        for _ in range(100):
            got.append(items.get())
            items.task_done()

    consumer = threading.Thread(target=consume)
    consumer.start()
    with Ticker():
        for number in range(100):
            items.put(number)
        items.join()
    consumer.join()
    assert sorted(got) == list(range(100))


def test_a_full_queue_with_a_timeout() -> None:
    items: queue.Queue[int] = queue.Queue(1)
    items.put(1)
    with Ticker() as ticker, pytest.raises(queue.Full):
        items.put(2, timeout=0.01)
    assert ticker.ticks > 1


def test_an_executor() -> None:
    barrier = threading.Barrier(50)

    def work(number: int) -> int:
        barrier.wait(30)  # they all run at once
        return number * number

    with ThreadPoolExecutor(50) as executor:
        assert list(executor.map(work, range(50))) == [n * n for n in range(50)]
