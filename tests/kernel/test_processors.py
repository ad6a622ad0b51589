"""Several kernels: where threads begin, and how wake-ups go across.

All kernels here are of one OS thread, and are run by hand; the rest is in ``tests/processors``.
"""

from __future__ import annotations

from typing import Any

import pytest

from capriccio_patch.kernel.parking import Lot
from capriccio_patch.kernel.processors import PlacedThread, Processor, Processors
from capriccio_patch.schedulers import create_scheduler


class Quiet:
    """A scheme by which nothing ever happens."""

    name = "quiet"
    edge_triggered = holds_files = False

    def __init__(self) -> None:
        self.notified = 0

    def poll(self, timeout: float | None) -> list[Any]:
        return []

    def notify(self) -> None:
        self.notified += 1


@pytest.fixture
def processors() -> Processors:
    made = Processors()
    for _ in range(3):
        Processor(made, Quiet(), create_scheduler("fifo"))  # type: ignore[arg-type]
    return made


def begun(kernel: Processor) -> int:
    return len(kernel.ready)


class TestPlacement:
    def test_the_shortest_queue_is_taken(self, processors: Processors) -> None:
        first, second, third = processors.kernels
        for kernel in (first, second, first):
            kernel.push(PlacedThread())
        assert processors.place() is third

    def test_the_fewest_threads_are_taken_into_account(self, processors: Processors) -> None:
        first, second, third = processors.kernels
        first.population = third.population = 1
        assert processors.place() is second

    def test_they_are_spread_evenly(self, processors: Processors) -> None:
        first, second, third = processors.kernels
        for kernel in (first, second, third):
            assert first.of(first.spawn(lambda: None)) is kernel
            kernel.take_fresh()
        assert [kernel.population for kernel in processors.kernels] == [1, 1, 1]

    def test_a_thread_is_known_before_it_begins(self, processors: Processors) -> None:
        first, second, third = processors.kernels
        first.population = third.population = 1
        thread = first.spawn(lambda: None)
        assert processors.threads[thread.ident] is thread
        assert first.of(thread) is second
        assert begun(second) == 0

    def test_it_begins_when_its_kernel_switches(self, processors: Processors) -> None:
        first, second, third = processors.kernels
        first.population = third.population = 1
        thread = first.spawn(lambda: None)
        second._drain_inbox()
        assert list(second.ready) == [thread]  # type: ignore[call-overload]

    def test_who_starts_one_at_home_is_watched(self, processors: Processors) -> None:
        """It may compute for ever: the new thread begins when it has stepped aside."""
        first, second, third = processors.kernels
        second.population = third.population = 1
        woken: list[bool] = []
        first.wake_watchdog = lambda: woken.append(True)
        first.spawn(lambda: None)
        assert len(first.fresh) == len(woken) == 1
        assert not first.is_alone()

    def test_an_idle_kernel_helps(self, processors: Processors) -> None:
        first, second, third = processors.kernels
        first.population = third.population = 1
        thread = first.spawn(lambda: None)
        second.blocking = True  # it is about to wake up
        third.help_others()
        assert begun(third) == 0
        second.blocking = False
        third.help_others()
        assert begun(third) == 0  # more threads live there
        third.population = 0
        third.help_others()
        second._drain_inbox()
        assert begun(second) == 0
        assert list(third.ready) == [thread]  # type: ignore[call-overload]
        assert first.of(thread) is third

    def test_threads_that_were_there_are_the_main_kernels(self, processors: Processors) -> None:
        first, second, _ = processors.kernels
        assert second.of(first.main) is first


class TestWakingAcross:
    def waiting(self, lot: Lot, thing: object) -> PlacedThread:
        thread = PlacedThread()
        thread.parked = True
        lot.add(thing, thread)
        return thread

    def test_one_in_each_kernel(self, processors: Processors) -> None:
        lots = [Lot(kernel, "thing") for kernel in processors.kernels]
        thing = object()
        for _ in range(2):
            for lot in lots[1:]:
                self.waiting(lot, thing)
        assert id(thing) in lots[0].everywhere
        assert lots[0].wake_one(thing)
        for kernel in processors.kernels:
            kernel._drain_inbox()
        assert [begun(kernel) for kernel in processors.kernels] == [0, 1, 1]

    def test_all(self, processors: Processors) -> None:
        lots = [Lot(kernel, "thing") for kernel in processors.kernels]
        thing = object()
        for lot in (lots[0], lots[2], lots[2]):
            self.waiting(lot, thing)
        lots[1].wake_all(thing)
        for kernel in processors.kernels:
            kernel._drain_inbox()
        assert [begun(kernel) for kernel in processors.kernels] == [1, 0, 2]
        assert id(thing) not in lots[0].everywhere

    def test_nobody(self, processors: Processors) -> None:
        lots = [Lot(kernel, "thing") for kernel in processors.kernels]
        assert not lots[0].wake_one(object())

    def test_kinds_are_apart(self, processors: Processors) -> None:
        first, second, _ = processors.kernels
        thing = object()
        self.waiting(Lot(second, "one"), thing)
        assert not Lot(first, "other").wake_one(thing)


def test_what_is_shared_is_one(processors: Processors) -> None:
    first, second, _ = processors.kernels
    found = first.shared("name", {})
    assert second.shared("name", {}) is found
    assert first.threads is second.threads
    assert first.proxies is second.proxies
    assert first.all() == [first, second, _]


def test_after_a_fork_one_is_left(processors: Processors) -> None:
    _, second, _ = processors.kernels
    lots = [Lot(kernel, "thing") for kernel in processors.kernels]
    processors.keep(second)
    assert second.all() == [second]
    assert lots[1].peers == [lots[1]]
