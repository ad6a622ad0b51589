"""The scheduler ``priority``: who goes before whom, and that nobody waits for ever."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.contracts.descriptor import Descriptor
from capriccio_patch.contracts.thread import Thread
from capriccio_patch.io.descriptors import Descriptors
from capriccio_patch.schedulers.priority import CLASS_STEP, LEVEL_STEP, PriorityScheduler
from tests.conftest import let_others_park, wait_until
from tests.inside import applied


def waited(kind: str, awaited: Any = None) -> Thread:
    thread = Thread()
    thread.kind = kind
    thread.object = awaited
    return thread


def listener(fd: int = 3) -> Descriptor:
    descriptor = Descriptor(fd)
    descriptor.listens = True
    return descriptor


def order(scheduler: PriorityScheduler) -> list[Thread]:
    popped = []
    while scheduler:
        popped.append(scheduler.pop())
    return popped


@pytest.fixture
def scheduler() -> PriorityScheduler:
    return PriorityScheduler()


def test_writes_before_reads_before_accepts(scheduler: PriorityScheduler) -> None:
    accept = waited("read", listener())
    read = waited("read", Descriptor(4))
    write = waited("write", Descriptor(5))
    for thread in (accept, read, write):
        scheduler.push(thread)
    assert order(scheduler) == [write, read, accept]


def test_others_rank_with_the_readers(scheduler: PriorityScheduler) -> None:
    sleeper, read, lock = waited("sleep"), waited("read", Descriptor(4)), waited("lock", object())
    for thread in (sleeper, read, lock):
        scheduler.push(thread)
    assert order(scheduler) == [sleeper, read, lock]


def test_what_a_thread_waited_for_before_does_not_count(scheduler: PriorityScheduler) -> None:
    yielding, read = waited("write", None), waited("read", Descriptor(4))
    for thread in (read, yielding):
        scheduler.push(thread)
    assert order(scheduler) == [read, yielding]


def test_a_select_on_listeners_alone_is_an_accept(scheduler: PriorityScheduler, sim: Any) -> None:
    kernel = sim.kernel
    Descriptors(kernel).table.update({3: listener(), 4: Descriptor(4)})
    scheduler.attach(kernel)
    accept, both = waited("select", {3: 1}), waited("select", {3: 1, 4: 1})
    for thread in (accept, both):
        scheduler.push(thread)
    assert order(scheduler) == [both, accept]


def test_a_priority_of_the_program_comes_before_the_class(scheduler: PriorityScheduler) -> None:
    write, accept = waited("write", Descriptor(5)), waited("read", listener())
    idle, back = waited("write", Descriptor(6)), waited("sleep")
    scheduler.set_priority(accept, 1)
    scheduler.set_priority(idle, -1)
    scheduler.set_priority(back, 5)
    scheduler.set_priority(back, 0)
    for thread in (idle, write, back, accept):
        scheduler.push(thread)
    assert order(scheduler) == [accept, write, back, idle]


@pytest.mark.parametrize("kind", ["accept", "idle"])
def test_nobody_starves(scheduler: PriorityScheduler, kind: str) -> None:
    """However many writes come after it, the last in rank has its turn."""
    if kind == "accept":
        late, bound = waited("read", listener()), 2 * CLASS_STEP
    else:
        late, bound = waited("sleep"), LEVEL_STEP + CLASS_STEP
        scheduler.set_priority(late, -1)
    scheduler.push(late)
    write = waited("write", Descriptor(5))
    scheduler.push(write)
    turns = 0
    while scheduler.pop() is not late:
        turns += 1
        scheduler.push(write)
        assert turns <= bound
    assert turns >= bound - 1


def test_priorities_of_ended_threads_are_forgotten(scheduler: PriorityScheduler) -> None:
    thread = Thread()
    scheduler.set_priority(thread, 1)
    del thread
    assert not scheduler._levels


@pytest.fixture
def prioritised() -> Iterator[None]:
    capriccio_patch.patch_all(scheduler="priority")
    yield
    capriccio_patch.unpatch_all()


@pytest.mark.one_processor
def test_threads_of_a_program(prioritised: None) -> None:
    ran = []
    go = threading.Event()

    def work(name: str, priority: int) -> None:
        capriccio_patch.set_priority(priority)
        go.wait()
        ran.append(name)

    threads = [
        threading.Thread(target=work, args=each)
        for each in (("last", -1), ("middle", 0), ("first", 1))
    ]
    for thread in threads:
        thread.start()
    while any(not thread.is_alive() for thread in threads):
        time.sleep(0)
    time.sleep(0.01)
    go.set()
    for thread in threads:
        thread.join()
    assert ran == ["first", "middle", "last"]


@pytest.mark.one_processor
def test_an_accept_waits_for_the_reader(prioritised: None) -> None:
    """Both become ready in the same poll, the listener first."""
    ran = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        left, right = socket.socketpair()

        def accept() -> None:
            server.accept()[0].close()
            ran.append("accept")

        def read() -> None:
            right.recv(1)
            ran.append("read")

        threads = [threading.Thread(target=each) for each in (accept, read)]
        for thread in threads:
            thread.start()
        time.sleep(0.01)  # both are parked
        with left, right, socket.socket() as client:
            client.setblocking(False)
            client.connect_ex(server.getsockname())
            left.send(b"x")
            for thread in threads:
                thread.join()
    assert ran == ["read", "accept"]


class TestSetPriority:
    @pytest.mark.parametrize("value", [101, -101, 0.5, "1"])
    def test_out_of_range(self, value: Any) -> None:
        with pytest.raises(ValueError, match="-100 to 100"):
            capriccio_patch.set_priority(value)

    def test_of_a_thread_not_yet_started(self) -> None:
        with pytest.raises(RuntimeError, match="before it is started"):
            capriccio_patch.set_priority(1, threading.Thread())

    def test_without_a_patch(self) -> None:
        capriccio_patch.set_priority(1)

    def test_under_a_scheduler_that_has_none(self, patched: None) -> None:
        capriccio_patch.set_priority(1)
        capriccio_patch.set_priority(1, threading.current_thread())

    def test_of_another_thread(self, prioritised: None) -> None:
        go = threading.Event()
        thread = threading.Thread(target=go.wait)
        thread.start()
        let_others_park()
        kernel = applied().runtime.kernel
        levels = kernel.of(kernel.threads[thread.ident]).scheduler._levels
        capriccio_patch.set_priority(3, thread)
        let_others_park()
        assert list(levels.values()) == [3]
        capriccio_patch.set_priority(2, thread.ident)
        let_others_park()
        assert list(levels.values()) == [2]
        go.set()
        thread.join()
        wait_until(lambda: not levels)  # the kernel forgets it with the next switch

    def test_from_an_os_thread(self, prioritised: None) -> None:
        done = threading.Event()
        me = threading.current_thread()

        def outside() -> None:
            capriccio_patch.set_priority(4)  # its own: the system schedules it
            capriccio_patch.set_priority(4, me)
            done.set()

        capriccio_patch.original("_thread.start_new_thread")(outside, ())
        done.wait()
        time.sleep(0.001)  # the kernel may have yet to do what it was told
        levels = applied().runtime.kernel.scheduler._levels
        assert list(levels.values()) == [4]
