"""The records of descriptors: who waits, who is woken, and in which order.

The scheme is a fake that reports what the test tells it; time is the kernel's own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from errno import EBADF
from typing import Any

import pytest

from capriccio_patch.contracts.descriptor import ERR, HUP, PRI, READ, WRITE, Descriptor
from capriccio_patch.contracts.socket_backend import Backend
from capriccio_patch.cpython import originals
from capriccio_patch.io.descriptors import Descriptors
from capriccio_patch.kernel.core import Kernel
from capriccio_patch.schedulers import create_scheduler

FD = 1_000_000


class FakeBackend(Backend):
    """Reports what `happens`; notes what it is asked for."""

    name = "fake"

    def __init__(self, edge_triggered: bool) -> None:
        type(self).edge_triggered = edge_triggered
        self.happens: list[tuple[int, int]] = []
        self.requests: list[tuple[int, int]] = []
        self.forgotten: list[int] = []
        self.refuse: set[int] = set()

    @classmethod
    def is_available(cls) -> str | None:
        return None

    def init(self) -> None:
        pass

    def add_request(self, descriptor: Descriptor, events: int) -> int:
        if descriptor.fd in self.refuse:
            raise OSError(9, "Bad file descriptor")
        self.requests.append((descriptor.fd, events))
        descriptor.registration = self
        descriptor.armed = READ | WRITE if descriptor.owned else events
        return 0

    def poll(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        happens, self.happens = self.happens, []
        if not happens and timeout is None:
            raise AssertionError("every thread waits and nothing is left to happen")
        return happens

    def forget(self, descriptor: Descriptor) -> None:
        self.forgotten.append(descriptor.fd)

    def notify(self) -> None:
        pass

    def close(self) -> None:
        pass


class World:
    """A kernel over the fake, and threads that note what they do."""

    def __init__(self, edge_triggered: bool = True) -> None:
        self.backend = FakeBackend(edge_triggered)
        self.kernel = Kernel(self.backend, create_scheduler("fifo"))
        self.descriptors = Descriptors(self.kernel)
        self.log: list[Any] = []

    def start(self, run: Callable[[], Any]) -> None:
        """A thread that has run as far as it can."""
        self.kernel.spawn(run)
        self.settle()

    def settle(self) -> None:
        """Let everybody run until all wait."""
        for _ in range(5):
            self.kernel.yield_()

    def report(self, *happens: tuple[int, int]) -> None:
        """Have the scheme report events, and their consequences come about."""
        self.backend.happens.extend(happens)
        self.kernel.budget = 0  # the next switch polls
        self.settle()

    def reader(self, name: str, d: Descriptor, deadline: float | None = None) -> None:
        """A thread that reads once, from what a read has emptied before."""

        def run() -> None:
            d.can_read = False
            self.log.append((name, self.descriptors.wait_read(d, deadline, False)))

        self.start(run)


@pytest.fixture(params=[True, False], ids=["edge", "once"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """With a scheme that keeps owned descriptors registered, and with one that does not."""
    made = World(request.param)
    yield made
    assert len(made.kernel.threads) == 1, "a thread still waits"


@pytest.fixture(params=[True, False], ids=["owned", "foreign"])
def d(request: pytest.FixtureRequest, world: World) -> Descriptor:
    """A record that is known."""
    if request.param:
        return world.descriptors.opened(FD, owned=True, exact=False)
    return world.descriptors.record(FD)


def test_readers_are_served_in_order(world: World, d: Descriptor) -> None:
    for name in "abc":
        world.reader(name, d)
    for count in (1, 2, 3):
        world.report((FD, READ))
        assert world.log == [(name, True) for name in "abc"[:count]]


def test_an_event_wakes_one_reader_and_one_writer(world: World, d: Descriptor) -> None:
    world.reader("r1", d)
    world.reader("r2", d)
    for name in ("w1", "w2"):
        world.start(
            lambda name=name: world.log.append((name, world.descriptors.wait_write(d, None, False)))
        )
    world.report((FD, READ | WRITE))
    assert sorted(world.log) == [("r1", True), ("w1", True)]
    world.report((FD, READ | WRITE))
    assert len(world.log) == 4


def test_whoever_is_left_is_watched_further(world: World) -> None:
    """A descriptor that we don't own is armed for one report, which took one waiter out."""
    d = world.descriptors.record(FD)
    world.reader("a", d)
    world.reader("b", d)
    world.backend.requests.clear()
    world.report((FD, READ))
    assert world.backend.requests == [(FD, READ)]
    world.report((FD, READ))
    assert world.log == [("a", True), ("b", True)]


def test_a_reader_that_was_woken_for_nothing_goes_first(world: World, d: Descriptor) -> None:
    def persistent() -> None:
        d.can_read = False
        world.descriptors.wait_read(d, None, False)
        d.can_read = False
        world.descriptors.wait_read(d, None, True)
        world.log.append("first")

    world.start(persistent)
    world.reader("second", d)
    world.report((FD, READ))
    assert world.log == []
    world.report((FD, READ))
    assert world.log == ["first"]
    world.report((FD, READ))
    assert world.log == ["first", ("second", True)]


def test_an_event_before_the_wait_is_not_lost(world: World, d: Descriptor) -> None:
    d.can_read = False
    world.report((FD, READ))
    assert d.can_read
    assert world.descriptors.wait_read(d, None, False)  # would be an assertion in the fake


@pytest.mark.parametrize("event", [READ, PRI, ERR, HUP])
def test_what_ends_a_read(world: World, d: Descriptor, event: int) -> None:
    world.reader("a", d)
    world.report((FD, event))
    assert world.log == [("a", True)]


def test_a_deadline_takes_the_waiter_out_of_the_queue(world: World, d: Descriptor) -> None:
    world.reader("late", d, deadline=world.kernel.clock())
    world.kernel.budget = 0
    world.settle()
    assert world.log == [("late", False)]
    assert d.readers is None
    world.report((FD, READ))
    assert d.can_read


def test_one_that_gives_up_passes_its_turn_on(world: World, d: Descriptor) -> None:
    """Woken and interrupted at once: the event must reach the next reader."""
    victims = []

    def victim() -> None:
        victims.append(world.kernel.current)
        d.can_read = False
        with pytest.raises(KeyboardInterrupt):
            world.descriptors.wait_read(d, None, False)
        world.log.append("interrupted")

    def interrupt() -> None:
        raise KeyboardInterrupt

    world.start(victim)
    world.reader("next", d)
    world.descriptors.dispatch([(FD, READ)])  # the victim is on its way now
    world.kernel.interrupt(victims[0], interrupt)
    world.settle()
    assert world.log == ["interrupted", ("next", True)]


def test_observers_wake_for_their_events_only(world: World) -> None:
    def observe(name: str, events: int) -> None:
        world.start(lambda: world.log.append((name, world.descriptors.observe({FD: events}, None))))

    observe("read", READ)
    observe("write", WRITE)
    observe("both", READ | WRITE)
    world.report((FD, READ))
    assert world.log == [("read", True), ("both", True)]
    world.report((FD, HUP))
    assert world.log[2:] == [("write", True)]
    assert world.descriptors.record(FD).observers is None


def test_an_observer_of_several_wakes_once(world: World) -> None:
    wanted = {FD: READ, FD + 1: READ}
    world.start(lambda: world.log.append(world.descriptors.observe(wanted, None)))
    world.report((FD, READ), (FD + 1, READ))
    assert world.log == [True]
    assert all(world.descriptors.record(fd).observers is None for fd in wanted)


def test_an_observer_takes_no_readers_turn(world: World, d: Descriptor) -> None:
    world.start(lambda: world.log.append(world.descriptors.observe({FD: READ}, None)))
    world.reader("a", d)
    world.report((FD, READ))
    assert sorted(map(str, world.log)) == ["('a', True)", "True"]


def test_a_descriptor_that_is_refused_leaves_nobody_queued(world: World) -> None:
    world.backend.refuse.add(FD + 1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        world.descriptors.observe({FD: READ, FD + 1: READ}, None)
    assert world.descriptors.record(FD).observers is None
    d = world.descriptors.record(FD + 1)
    d.can_read = False
    for wait in (world.descriptors.wait_read, world.descriptors.wait_write):
        with pytest.raises(OSError, match="Bad file descriptor"):
            wait(d, None, False)
    assert d.readers is None
    assert d.writers is None


def test_closing_wakes_everybody(world: World, d: Descriptor) -> None:
    world.reader("r1", d)
    world.reader("r2", d)
    world.start(lambda: world.log.append(("w", world.descriptors.wait_write(d, None, False))))
    world.start(lambda: world.log.append(("o", world.descriptors.observe({FD: READ}, None))))
    closing = world.descriptors.closing(FD)
    assert closing is d
    assert not d.closed
    assert world.backend.forgotten == [FD]
    world.descriptors.closed(closing)
    assert d.closed
    world.settle()
    assert sorted(name for name, _ in world.log) == ["o", "r1", "r2", "w"]
    assert world.descriptors.get(FD) is None


def test_closing_what_nobody_knows(world: World) -> None:
    world.descriptors.closed(world.descriptors.closing(FD))
    assert world.backend.forgotten == []


def test_a_close_on_another_os_thread_does_not_touch_the_scheme(world: World) -> None:
    d = world.descriptors.record(FD)
    world.reader("a", d)
    elsewhere: list[Descriptor | None] = []
    originals.start_new_thread(lambda: elsewhere.append(world.descriptors.closing(FD)), ())
    while not elsewhere:
        time.sleep(0.001)
    assert elsewhere == [d]
    assert not d.closed
    assert world.backend.forgotten == []
    world.descriptors.closed(d)
    world.settle()
    assert d.closed
    assert world.log == [("a", True)]


@pytest.mark.parametrize("reused", [False, True])
def test_others_run_while_a_number_is_being_closed(world: World, reused: bool) -> None:
    """They are told of nothing before it is free, and who comes meanwhile is told then."""
    reader, writer = os.pipe()
    other = os.open(os.devnull, os.O_RDONLY)
    d = world.descriptors.record(reader)
    world.reader("before", d)
    begun = originals.allocate_lock()
    go = originals.allocate_lock()
    over = originals.allocate_lock()
    for lock in (begun, go, over):
        lock.acquire()

    def close() -> None:
        begun.release()
        go.acquire()
        if reused:
            os.dup2(other, reader)
        else:
            os.close(reader)

    def run() -> None:
        world.descriptors.close(reader, close)
        over.release()

    originals.start_new_thread(run, ())
    begun.acquire()
    world.settle()
    assert not d.closed
    assert world.log == []
    newer = world.descriptors.record(reader)
    assert newer is not d

    def come() -> None:
        newer.can_read = False
        try:
            world.descriptors.wait_read(newer, None, False)
        except OSError as error:
            world.log.append(error.errno)
        else:
            world.log.append(("meanwhile", newer.closed))

    world.start(come)
    go.release()
    over.acquire()
    world.report()
    assert d.closed
    told = EBADF if reused else ("meanwhile", True)
    assert len(world.log) == 2
    assert all(each in world.log for each in (("before", True), told))
    assert world.descriptors.get(reader) is (newer if reused else None)
    for fd in (writer, other, *([reader] if reused else [])):
        os.close(fd)


def test_a_new_socket_voids_what_was_known(world: World, d: Descriptor) -> None:
    world.reader("a", d)
    new = world.descriptors.opened(FD, owned=True, exact=True)
    world.settle()
    assert world.log == [("a", True)]
    assert not d.closed
    assert new.can_read
    assert new.registration is None


def test_a_report_for_a_number_that_nobody_knows(world: World) -> None:
    world.report((FD, READ))
    assert world.descriptors.get(FD) is None


def test_a_short_read_proves_less_after_a_hang_up(world: World) -> None:
    for event, exact in ((READ, True), (READ | HUP, False), (PRI, False)):
        d = world.descriptors.opened(FD, owned=True, exact=True)
        world.report((FD, event))
        assert d.exact is exact


def test_in_a_forked_child_nobody_waits(world: World, d: Descriptor) -> None:
    world.reader("a", d)
    d.armed = READ
    d.registration = world.backend
    world.descriptors.after_fork()
    assert d.readers is None
    assert d.can_read
    assert d.registration is None
    assert not d.armed
    world.kernel.resume(next(t for t in world.kernel.threads.values() if t.parked))
    world.settle()


def test_a_regular_file_is_dispatched_without_the_scheme(world: World) -> None:
    def at_once(descriptor: Descriptor, events: int) -> int:
        return events

    world.backend.add_request = at_once  # type: ignore[method-assign]
    assert world.descriptors.observe({FD: READ}, None)


def test_what_the_package_watches_is_called(world: World) -> None:
    reader, writer = os.pipe()
    try:
        world.descriptors.watch(reader, lambda: world.log.append("called"))
        world.report((reader, READ))
        world.report((reader, READ))
        assert world.log == ["called", "called"]
        world.descriptors.unwatch(reader)
        world.report((reader, READ))
        assert world.log == ["called", "called"]
    finally:
        os.close(reader)
        os.close(writer)
