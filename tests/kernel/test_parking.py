"""Lots: threads park for a thing, first come first served, and each wake-up is used once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from capriccio_patch.contracts.thread import Slot, Thread, WaitQueue
from capriccio_patch.kernel.parking import Lot
from tests.simulation import Simulation


class Record:
    """A thing; with a field for who waits."""

    def __init__(self) -> None:
        self.waiting: Slot = None


Make = Callable[[Simulation], Lot]


@pytest.fixture(params=["by id", "in a field"])
def lot(request: pytest.FixtureRequest, sim: Simulation) -> Lot:
    if request.param == "by id":
        return Lot(sim.kernel, "thing")
    return Lot(sim.kernel, "thing", field="waiting")


def slot_of(lot: Lot, thing: Record) -> Slot:
    return thing.waiting or lot.waiting.get(id(thing) if type(lot.waiting) is dict else thing)


def test_woken_in_the_order_in_which_they_came(sim: Simulation, lot: Lot) -> None:
    thing = Record()

    def wait(name: str) -> None:
        assert lot.park(thing)
        sim.log.append(name)

    def wake() -> None:
        for _ in range(3):
            assert lot.wake_one(thing)
            sim.kernel.yield_()
        assert not lot.wake_one(thing)

    sim.run([lambda: wait("a"), lambda: wait("b"), lambda: wait("c"), wake])
    assert sim.log == ["a", "b", "c"]
    assert slot_of(lot, thing) is None


def test_all_at_once(sim: Simulation, lot: Lot) -> None:
    thing, other = Record(), Record()
    sim.run(
        [
            lambda: sim.log.append(lot.park(thing)),
            lambda: sim.log.append(lot.park(thing)),
            lambda: sim.log.append(lot.park(other, sim.clock() + 1)),
            lambda: lot.wake_all(thing),
        ]
    )
    assert sim.log == [True, True, False]
    lot.wake_all(thing)  # nobody


def test_one_that_was_woken_for_nothing_goes_first(sim: Simulation, lot: Lot) -> None:
    thing = Record()

    def wait(name: str, first: bool) -> None:
        lot.park(thing, first=first)
        sim.log.append(name)

    def wake() -> None:
        for _ in range(3):
            lot.wake_one(thing)

    sim.run([lambda: wait("a", False), lambda: wait("b", False), lambda: wait("c", True), wake])
    assert sim.log == ["c", "a", "b"]


def test_the_deadline_takes_a_thread_out(sim: Simulation, lot: Lot) -> None:
    thing = Record()
    assert not lot.park(thing, sim.clock() + 5)
    assert slot_of(lot, thing) is None
    assert not lot.wake_one(thing)


def test_looks_again_once_it_is_queued(sim: Simulation, lot: Lot) -> None:
    thing = Record()
    me = sim.kernel.current

    def ready(what: Record) -> bool:
        assert what is thing
        assert lot.waiters(thing) == [me]
        return True

    assert lot.park(thing, ready=ready)
    assert sim.kernel.current is me
    assert slot_of(lot, thing) is None
    assert me.object is None


def test_a_look_that_raises(sim: Simulation, lot: Lot) -> None:
    thing = Record()
    me = sim.kernel.current

    def ready(what: Record) -> bool:
        raise KeyError

    with pytest.raises(KeyError):
        lot.park(thing, ready=ready)
    assert sim.kernel.current is me
    assert not me.parked
    assert slot_of(lot, thing) is None


def test_an_interrupt_that_raises_takes_a_thread_out(sim: Simulation, lot: Lot) -> None:
    thing = Record()

    def raise_it() -> None:
        raise KeyError

    def interrupted() -> None:
        with pytest.raises(KeyError):
            lot.park(thing)
        sim.log.append(lot.waiters(thing))

    def interrupt() -> None:
        (thread,) = lot.waiters(thing)
        sim.kernel.interrupt(thread, raise_it)

    sim.run([interrupted, interrupt])
    assert sim.log == [[]]


@pytest.mark.parametrize("own_way", [False, True])
def test_a_wake_up_that_can_not_be_used_is_passed_on(sim: Simulation, own_way: bool) -> None:
    thing = Record()

    def pass_on(what: Record) -> None:
        sim.log.append("passed on")
        lot.wake_one(what)

    lot = Lot(sim.kernel, "thing", pass_on if own_way else None)

    def raise_it() -> None:
        raise KeyError

    def first() -> None:
        with pytest.raises(KeyError):
            lot.park(thing)

    def second() -> None:
        lot.park(thing)
        sim.log.append("second")

    def wake() -> None:
        thread = lot.waiters(thing)[0]
        lot.wake_one(thing)
        sim.kernel.throw(thread, KeyError())

    sim.run([first, second, wake])
    assert sim.log == ["passed on"] * own_way + ["second"]


def test_exactly_one_resume_for_each_park(sim: Simulation, lot: Lot) -> None:
    thing = Record()

    def wake() -> None:
        (thread,) = lot.waiters(thing)
        lot.wake_one(thing)
        assert lot.waiters(thing) == []
        with pytest.raises(SystemError, match="resumed but is not parked"):
            sim.kernel.resume(thread)

    sim.run([lambda: lot.park(thing), wake])


def test_what_a_thread_waits_for_shows_and_is_let_go(sim: Simulation, lot: Lot) -> None:
    thing = Record()

    def look() -> None:
        (thread,) = lot.waiters(thing)
        sim.log.append((thread.kind, thread.object is thing))
        lot.wake_one(thing)

    waiter = sim.kernel.spawn(lambda: sim.log.append(lot.park(thing)))
    sim.run([look])
    assert sim.log == [("thing", True), True]
    assert waiter.object is None


@pytest.mark.parametrize("wake", ["wake_one", "wake_all"])
def test_woken_from_another_os_thread(sim: Simulation, lot: Lot, wake: str) -> None:
    thing = Record()

    def outside() -> None:
        other = threading.Thread(target=getattr(lot, wake), args=(thing,))
        other.start()
        other.join()

    sim.during_polls(outside)
    sim.run([lambda: sim.log.append(lot.park(thing))])
    assert sim.log == [True]


def test_nobody_waits_in_a_forked_child(sim: Simulation) -> None:
    thing = Record()
    lot = Lot(sim.kernel, "thing")
    sim.kernel.spawn(lambda: lot.park(thing))
    sim.kernel.yield_()
    assert lot.waiters(thing)
    sim.kernel.after_fork(sim.backend)
    assert not lot.waiters(thing)


def test_one_waiter_costs_no_queue_and_none_no_entry(sim: Simulation, lot: Lot) -> None:
    things = [Record() for _ in range(1000)]
    threads = [sim.kernel.spawn(lambda thing=thing: lot.park(thing)) for thing in things]  # type: ignore[misc]
    sim.kernel.yield_()
    assert [slot_of(lot, thing) for thing in things] == threads
    for thing in things:
        lot.wake_one(thing)
    sim.kernel.yield_()
    assert len(lot.waiting) == 0
    assert all(thing.waiting is None for thing in things)


def test_against_a_plain_model(sim: Simulation, lot: Lot) -> None:
    chance = random.Random(3)
    thing = Record()
    kernel = sim.kernel
    model: list[Any] = []
    woken: list[Thread] = []
    first = False

    def wait() -> None:
        me = kernel.current
        while len(woken) < 3000:
            model.insert(0 if first else len(model), me)
            if lot.park(thing, sim.clock() + chance.choice([1.0, 1e9]), first=first):
                assert me in woken
            else:
                model.remove(me)

    for _ in range(8):
        kernel.spawn(wait)
    while len(woken) < 3000:
        first = chance.random() < 0.3
        kernel.sleep_until(sim.clock() + chance.choice([0.0, 2.0]))
        assert lot.waiters(thing) == model
        assert (slot_of(lot, thing) is None) == (not model)
        assert type(slot_of(lot, thing)) is not WaitQueue or len(model) > 0
        if model:
            woken.append(model.pop(0))
            assert lot.wake_one(thing)
    lot.wake_all(thing)
    model.clear()
    kernel.sleep_until(sim.clock() + 3.0)
    assert len(kernel.threads) == 1


def test_a_wake_up_of_a_thread_below_a_waiting_finalizer_is_passed_on(
    sim: Simulation, lot: Lot
) -> None:
    """It can't run before the finalizer has returned, which waits for the same thing."""
    thing = Record()

    def finalize() -> None:
        lot.park(thing)
        sim.log.append("finalizer")
        lot.wake_one(thing)

    sim.during_polls(finalize, lambda: lot.wake_one(thing))
    lot.park(thing)
    assert sim.log == ["finalizer"]


@pytest.mark.parametrize("waiters", [1, 2, 3])
def test_the_queue_changes_while_it_is_read(
    sim: Simulation, lot: Lot, waiters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finalizer, where the reader allocates, takes out the thread that was about to be woken."""
    thing = Record()

    def finalize() -> None:
        monkeypatch.undo()
        assert lot.wake_one(thing)

    def wait(number: int) -> None:
        lot.park(thing)
        sim.log.append(number)

    def wake() -> None:
        if waiters > 1:
            monkeypatch.setattr("capriccio_patch.kernel.parking.let_finalizers_come", finalize)
        else:
            finalize()
        assert lot.wake_one(thing) is (waiters > 1)
        while lot.wake_one(thing):
            pass

    sim.run([partial(wait, number) for number in range(waiters)] + [wake])
    assert sim.log == list(range(waiters))


def test_the_queue_is_emptied_while_it_is_read(
    sim: Simulation, lot: Lot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finalizer, where the reader allocates, wakes all."""
    thing = Record()

    class Queue(WaitQueue):
        def __iter__(self) -> Iterator[Thread]:
            if armed:
                armed.clear()
                lot.wake_all(thing)
            return super().__iter__()

    def wait(number: int) -> None:
        lot.park(thing)
        sim.log.append(number)

    def wake() -> None:
        armed.append(True)
        sim.log.append(lot.wake_one(thing))

    armed: list[bool] = []
    monkeypatch.setattr("capriccio_patch.kernel.parking.WaitQueue", Queue)
    sim.run([partial(wait, 0), partial(wait, 1), wake])
    assert sim.log == [False, 0, 1]
    assert not lot.waiters(thing)


def test_the_only_waiter_is_woken_while_a_second_one_queues(
    sim: Simulation, lot: Lot, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = Record()

    def queue() -> WaitQueue:
        monkeypatch.undo()
        assert lot.wake_one(thing)
        return WaitQueue()

    def wait(number: int) -> None:
        lot.park(thing)
        sim.log.append(number)

    def second() -> None:
        monkeypatch.setattr("capriccio_patch.kernel.parking.WaitQueue", Made)
        wait(2)

    class Made(WaitQueue):
        __slots__ = ()

        def __new__(cls) -> Any:
            return queue()

    def wake() -> None:
        assert lot.wake_one(thing)
        assert not lot.wake_one(thing)

    sim.run([partial(wait, 1), second, wake])
    assert sim.log == [1, 2]
