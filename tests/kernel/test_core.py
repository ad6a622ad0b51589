"""The kernel by itself: parking, resuming, deadlines, interrupts, finalizers, in simulated time."""

from __future__ import annotations

import _thread
import ctypes
import gc
import sys
from collections.abc import Callable
from itertools import cycle
from typing import Any

import greenlet
import pytest

from capriccio_patch.contracts.thread import Finalizer, Thread
from capriccio_patch.kernel.core import TURN
from capriccio_patch.schedulers.lifo import LifoScheduler
from tests.simulation import Deadlock, Simulation


def test_threads_start_in_order_and_end(sim: Simulation) -> None:
    sim.run([lambda: sim.log.append("a"), lambda: sim.log.append("b")])
    assert sim.log == ["a", "b"]
    assert list(sim.kernel.threads) == [sim.kernel.main.ident]


def test_a_resume_ends_a_wait(sim: Simulation) -> None:
    kernel = sim.kernel
    me = kernel.begin()
    kernel.spawn(lambda: kernel.resume(me))
    assert kernel.park(me) is True
    assert kernel.current is kernel.main


def test_a_thread_that_is_not_parked_cant_be_resumed(sim: Simulation) -> None:
    with pytest.raises(SystemError, match="not parked"):
        sim.kernel.resume(sim.kernel.main)


def test_a_second_resume_is_an_error(sim: Simulation) -> None:
    kernel = sim.kernel
    me = kernel.begin()
    kernel.resume(me)
    with pytest.raises(SystemError, match="not parked"):
        kernel.resume(me)
    assert kernel.park(me) is True


def test_a_resume_before_the_park_is_not_lost(sim: Simulation) -> None:
    me = sim.kernel.begin()
    sim.kernel.resume(me)
    assert sim.kernel.park(me) is True
    assert sim.backend.timeouts == []


def test_a_wait_nobody_can_end_is_a_poll_without_timeout(sim: Simulation) -> None:
    with pytest.raises(Deadlock):
        sim.wait()
    assert sim.backend.timeouts == [None]


def test_a_deadline_ends_a_wait_in_time(sim: Simulation) -> None:
    assert sim.wait(timeout=5.0) is False
    assert sim.clock.now == 1005.0
    assert sim.backend.timeouts == [5.0]


def test_a_deadline_in_the_past_still_lets_others_run(sim: Simulation) -> None:
    sim.kernel.spawn(lambda: sim.log.append("other"))
    assert sim.wait(timeout=-1.0) is False
    assert sim.log == ["other"]


def test_the_earliest_deadline_comes_first(sim: Simulation) -> None:
    def sleeper(seconds: float) -> Callable[[], None]:
        def sleep() -> None:
            sim.kernel.sleep_until(sim.clock() + seconds)
            sim.log.append((seconds, sim.clock()))

        return sleep

    sim.run([sleeper(3.0), sleeper(1.0), sleeper(2.0)])
    assert sim.log == [(1.0, 1001.0), (2.0, 1002.0), (3.0, 1003.0)]


def test_a_wait_ended_in_time_leaves_no_deadline_behind(sim: Simulation) -> None:
    kernel = sim.kernel
    me = kernel.begin()
    kernel.spawn(lambda: kernel.resume(me))
    assert kernel.park(me, sim.clock() + 1.0) is True
    # The entry is still in the heap; this wait must not be ended by it.
    sim.during_polls(lambda: setattr(sim.clock, "now", 1002.0), lambda: kernel.resume(kernel.main))
    assert sim.wait() is True


def test_a_resume_that_crosses_the_deadline_wins(sim: Simulation) -> None:
    kernel = sim.kernel
    waiter: list[Thread] = []

    def wait() -> None:
        waiter.append(kernel.current)
        sim.log.append(sim.wait(timeout=1.0))

    def resume_late() -> None:
        # The deadline has passed and the waiter is in the run queue, behind this thread.
        sim.clock.now += 2.0
        kernel.resume(waiter[0])

    kernel.spawn(wait)
    kernel.yield_()
    main = kernel.begin()
    kernel.timers.add(main, sim.clock() + 0.5)  # expires in the same poll, ahead of the waiter
    sim.during_polls(lambda: setattr(sim.clock, "now", 1001.5))
    kernel.park(main)
    resume_late()
    kernel.yield_()
    assert sim.log == [True]


def test_cancel_takes_the_begin_back(sim: Simulation) -> None:
    kernel = sim.kernel
    kernel.spawn(lambda: sim.log.append("other"))
    kernel.cancel(kernel.begin())
    assert kernel.current is kernel.main
    assert sim.log == []  # nobody else had a turn
    kernel.yield_()


def test_cancel_after_a_resume_takes_the_turn(sim: Simulation) -> None:
    kernel = sim.kernel
    me = kernel.begin()
    kernel.resume(me)
    kernel.cancel(me)
    assert kernel.current is me
    assert not me.parked
    assert len(kernel.ready) == 0


def test_polls_happen_under_a_busy_run_queue(sim: Simulation) -> None:
    def busy() -> None:
        for _ in range(4 * TURN):
            sim.kernel.yield_()

    sim.run([busy, busy])
    assert len(sim.backend.timeouts) >= 8
    assert set(sim.backend.timeouts) == {0.0}


def test_timers_fire_under_a_busy_run_queue(sim: Simulation) -> None:
    def busy() -> None:
        while not sim.log:
            sim.clock.now += 0.001
            sim.kernel.yield_()

    def sleep() -> None:
        sim.kernel.sleep_until(sim.clock() + 0.5)
        sim.log.append("woken")

    sim.run([busy, sleep])
    assert sim.log == ["woken"]


def test_yield_lets_everybody_run_once(sim: Simulation) -> None:
    def worker(name: str) -> Callable[[], None]:
        def work() -> None:
            for turn in range(3):
                sim.log.append((turn, name))
                sim.kernel.yield_()

        return work

    sim.run([worker("a"), worker("b")])
    assert sim.log == [(turn, name) for turn in range(3) for name in "ab"]


def test_a_chain_of_starts_does_not_nest(sim: Simulation) -> None:
    limit = 3 * sys.getrecursionlimit()

    def link(number: int) -> None:
        if number < limit:
            sim.kernel.spawn(lambda: link(number + 1))
            sim.kernel.yield_()
        sim.log.append(number)

    sim.kernel.spawn(lambda: link(1))
    while len(sim.log) < limit:
        sim.kernel.yield_()
    assert sorted(sim.log) == list(range(1, limit + 1))


def test_very_many_waits(sim: Simulation) -> None:
    count = 50_000
    kernel = sim.kernel

    def wait() -> None:
        sim.log.append(sim.wait(timeout=3600.0))

    for _ in range(count):
        kernel.spawn(wait)
    kernel.yield_()
    while kernel.ready:
        kernel.yield_()
    waiting = [thread for thread in kernel.threads.values() if thread.parked]
    assert len(waiting) == count
    for thread in waiting[::2]:
        kernel.resume(thread)
    while kernel.ready:
        kernel.yield_()
    sim.clock.now += 3600.0
    while len(kernel.threads) > 1:
        kernel.sleep_until(sim.clock() + 1)
    assert sim.log.count(True) == sim.log.count(False) == count // 2
    assert len(kernel.timers) == 0


def on_arrival(thread: Thread, call: Callable[[], Any]) -> None:
    """Make `call` when `thread` is switched to the next time, before it does anything else: on
    CPython 3.12 and later finalizers run there.
    """

    def trace(event: str, where: tuple[Any, Any]) -> None:
        if where[1] is thread.greenlet:
            greenlet.settrace(None)
            call()

    greenlet.settrace(trace)


class TestFinalizers:
    """Code that runs while the kernel is at work: it may wait like any other."""

    def test_it_has_the_identity_of_its_host(self, sim: Simulation) -> None:
        kernel = sim.kernel
        sim.during_polls(lambda: sim.log.append((type(kernel.current), kernel.current.ident)))
        kernel.sleep_until(sim.clock() + 1)
        assert sim.log == [(Finalizer, kernel.main.ident)]

    def test_its_wait_does_not_end_that_of_its_host(self, sim: Simulation) -> None:
        kernel = sim.kernel
        waits: list[Thread] = []

        def finalize() -> None:
            me = kernel.begin()
            waits.append(me)
            kernel.spawn(lambda: kernel.resume(me))
            assert kernel.park(me)
            sim.log.append("finalizer")

        def end() -> None:
            sim.log.append("host")
            kernel.resume(kernel.main)

        sim.during_polls(finalize, end)
        assert sim.wait() is True
        assert sim.log == ["finalizer", "host"]
        assert waits[0] is not kernel.main

    def test_it_may_yield(self, sim: Simulation) -> None:
        kernel = sim.kernel

        def finalize() -> None:
            kernel.spawn(lambda: sim.log.append("other"))
            kernel.yield_()
            sim.log.append("finalizer")

        sim.during_polls(finalize, lambda: kernel.resume(kernel.main))
        assert sim.wait() is True
        assert sim.log == ["other", "finalizer"]

    def test_its_host_is_resumed_first(self, sim: Simulation) -> None:
        """The host can't run before what lies on its stack has returned, and then it does."""
        kernel = sim.kernel

        def finalize() -> None:
            me = kernel.begin()
            kernel.resume(kernel.main)
            kernel.spawn(lambda: kernel.resume(me))
            kernel.park(me)
            sim.log.append("finalizer")

        sim.during_polls(finalize)
        assert sim.wait() is True
        assert sim.log == ["finalizer"]

    def test_a_finalizer_in_the_wait_of_a_finalizer(self, sim: Simulation) -> None:
        kernel = sim.kernel

        def inner() -> None:
            kernel.sleep_until(sim.clock() + 1.0)
            sim.log.append("inner")

        def outer() -> None:
            sim.during_polls(inner)
            kernel.sleep_until(sim.clock() + 2.0)
            sim.log.append("outer")

        sim.during_polls(outer)
        kernel.sleep_until(sim.clock() + 3.0)
        assert sim.log == ["inner", "outer"]
        assert kernel.current is kernel.main

    def test_one_that_comes_before_a_thread_has_taken_its_turn(self, sim: Simulation) -> None:
        """What ended the thread's wait is not what ends the finalizer's."""
        kernel = sim.kernel

        def finalize() -> None:
            kernel.sleep_until(sim.clock() + 1.0)
            sim.log.append((type(kernel.current), kernel.current.ident))

        me = kernel.begin()
        kernel.spawn(lambda: (on_arrival(kernel.main, finalize), kernel.resume(me)))
        assert kernel.park(me, sim.clock() + 5.0) is True
        assert sim.log == [(Finalizer, kernel.main.ident)]
        assert kernel.current is kernel.main
        assert sim.wait(1.0) is False

    def test_one_that_comes_between_a_deadline_and_the_turn(self, sim: Simulation) -> None:
        kernel = sim.kernel

        def finalize() -> None:
            me = kernel.begin()
            kernel.spawn(lambda: kernel.resume(me))
            sim.log.append(kernel.park(me))

        def other() -> None:
            on_arrival(kernel.main, finalize)
            kernel.sleep_until(sim.clock() + 5.0)

        kernel.spawn(other)
        assert sim.wait(1.0) is False
        assert sim.log == [True]

    def test_one_that_comes_between_an_interrupt_and_the_turn(self, sim: Simulation) -> None:
        """The interrupt is the thread's; neither wait is ended by it."""
        kernel = sim.kernel

        def finalize() -> None:
            kernel.sleep_until(sim.clock() + 1.0)
            sim.log.append("finalized")

        def other() -> None:
            on_arrival(kernel.main, finalize)
            kernel.interrupt(kernel.main, lambda: sim.log.append("interrupted"))
            kernel.sleep_until(sim.clock() + 2.0)
            sim.log.append("resumed")
            kernel.resume(kernel.main)

        kernel.spawn(other)
        assert sim.wait() is True
        assert sim.log == ["finalized", "interrupted", "resumed"]

    def test_others_run_while_one_waits_before_the_turn(self, sim: Simulation) -> None:
        kernel = sim.kernel
        me = kernel.begin()

        def finalize() -> None:
            waiter = kernel.begin()
            kernel.spawn(lambda: (sim.log.append("started"), kernel.resume(waiter)))
            kernel.park(waiter)
            sim.log.append("finalized")

        kernel.spawn(lambda: (on_arrival(kernel.main, finalize), kernel.resume(me)))
        assert kernel.park(me)
        assert sim.log == ["started", "finalized"]

    def test_one_on_the_base_greenlet_waits_for_a_new_thread(self, sim: Simulation) -> None:
        """Between the end of a thread and the next; new threads need the base greenlet."""
        kernel = sim.kernel
        turns = 20

        def finalize() -> None:
            kernel.spare.clear()
            me = kernel.begin()
            kernel.spawn(lambda: kernel.resume(me))
            kernel.park(me)
            sim.log.append("finalized")

        for turn in range(turns):
            me = kernel.begin()

            def end(me: Thread = me) -> None:
                sim.during_polls(finalize, lambda: kernel.resume(me))
                kernel.budget = 0

            kernel.spawn(end)
            kernel.park(me)
            sim.run([lambda: sim.log.append("after")])
            assert sim.log == ["finalized", "after"] * (turn + 1)

    def test_many_wait_on_base_greenlets_at_once(self, sim: Simulation) -> None:
        kernel = sim.kernel
        waiters: list[Thread] = []

        def finalize() -> None:
            me = kernel.begin()
            waiters.append(me)
            kernel.park(me)
            sim.log.append(waiters.index(me))

        def end() -> None:
            sim.during_polls(finalize)
            kernel.budget = 0

        for _ in range(3):
            kernel.spawn(end)
            kernel.sleep_until(sim.clock() + 1.0)
        assert len(waiters) == 3
        for turn in (1, 0, 2):
            kernel.resume(waiters[turn])
            kernel.sleep_until(sim.clock() + 1.0)
            sim.run([lambda: sim.log.append("started")])
        assert sim.log == [1, "started", 0, "started", 2, "started"]

    def test_one_that_comes_while_a_thread_is_chosen(
        self, sim: Simulation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The chosen thread may be what the finalizer waits for."""
        kernel = sim.kernel
        me = kernel.begin()

        def finalize() -> None:
            monkeypatch.undo()
            waiter = kernel.begin()
            waiters.append(waiter)
            kernel.park(waiter)
            sim.log.append("finalized")

        def chosen() -> None:
            sim.log.append("chosen")
            kernel.resume(waiters[0])
            kernel.resume(me)

        waiters: list[Thread] = []
        kernel.spawn(chosen)
        ctypes.set_errno(7)  # so that there is something to exchange
        monkeypatch.setattr("capriccio_patch.kernel.core.let_finalizers_come", finalize)
        assert kernel.park(me)
        assert ctypes.set_errno(0) == 7
        assert sim.log == ["chosen", "finalized"]

    def test_one_that_comes_when_the_base_greenlet_has_chosen(
        self, sim: Simulation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who was chosen may be what the finalizer waits for, and have ended when it returns."""
        kernel = sim.kernel
        me = kernel.begin()

        def finalize() -> None:
            monkeypatch.undo()
            waiter = kernel.begin()
            kernel.spawn(lambda: (sim.log.append("later"), kernel.resume(me)))
            waiters.append(waiter)
            kernel.park(waiter)
            sim.log.append("finalized")

        def first() -> None:
            monkeypatch.setattr("capriccio_patch.kernel.lifecycle.let_finalizers_come", finalize)

        def chosen() -> None:
            sim.log.append("chosen")
            kernel.resume(waiters[0])

        waiters: list[Thread] = []
        kernel.spawn(first)
        kernel.spawn(chosen)
        assert kernel.park(me)
        assert sorted(sim.log) == ["chosen", "finalized", "later"]

    def test_one_that_wakes_a_thread_ends_the_poll(self, sim: Simulation) -> None:
        """The poll has begun, with nobody to run: it would wait in spite of the thread."""
        kernel = sim.kernel
        me = kernel.begin()

        def finalize() -> None:
            kernel.resume(me)
            assert sim.backend.notified == 1

        sim.during_polls(finalize)
        kernel.park(me)
        assert sim.backend.notified == 1
        kernel.yield_()
        assert sim.backend.notified == 1

    def test_one_that_waits_ends_the_poll_below(self, sim: Simulation) -> None:
        """A poll on top may have taken what was to end it."""
        kernel = sim.kernel
        me = kernel.begin()
        backend = sim.backend
        notified: list[int] = []

        def finalize() -> None:
            sim.during_polls(lambda: notified.append(backend.notified))  # and the time passes
            kernel.sleep_until(sim.clock())
            notified.append(backend.notified)
            kernel.call_soon(kernel.resume, me)
            notified.append(backend.notified)

        sim.during_polls(finalize)
        kernel.park(me)
        within, after, called = notified
        assert within < after < called

    def test_one_that_is_resumed_before_it_parks(self, sim: Simulation) -> None:
        kernel = sim.kernel

        def outer() -> None:
            me = kernel.begin()
            kernel.resume(me)
            kernel.sleep_until(sim.clock() + 1.0)  # another one on top of it
            kernel.park(me)
            sim.log.append("outer")

        sim.during_polls(outer)
        kernel.sleep_until(sim.clock() + 3.0)
        assert sim.log == ["outer"]

    def test_the_collector_runs_in_a_poll(self, sim: Simulation) -> None:
        kernel = sim.kernel

        class Cycle:
            def __init__(self) -> None:
                self.self = self

            def __del__(self) -> None:
                kernel.sleep_until(sim.clock() + 1.0)
                sim.log.append("collected")

        Cycle()
        sim.during_polls(gc.collect)
        kernel.sleep_until(sim.clock() + 5.0)
        assert sim.log == ["collected"]
        assert kernel.current is kernel.main


class TestOtherOSThreads:
    """`call_soon`: all that they may do."""

    def test_a_waiting_poll_is_notified(self, sim: Simulation) -> None:
        kernel = sim.kernel
        sim.during_polls(lambda: kernel.call_soon(kernel.resume, kernel.main))
        assert sim.wait() is True
        assert sim.backend.notified == 1

    def test_the_rest_may_have_been_made_within_a_call(self, sim: Simulation) -> None:
        kernel = sim.kernel

        def call() -> None:
            kernel._drain_inbox()  # as those that run while a finalizer waits here
            sim.log.append("first")

        kernel.call_soon(call)
        kernel.call_soon(sim.log.append, "second")
        kernel._drain_inbox()
        assert sim.log == ["second", "first"]

    def test_a_running_kernel_is_not(self, sim: Simulation) -> None:
        kernel = sim.kernel
        me = kernel.begin()
        kernel.call_soon(kernel.resume, me)
        assert kernel.park(me) is True
        assert sim.backend.notified == 0
        assert None not in sim.backend.timeouts

    def test_a_call_that_came_just_before_the_poll_makes_it_short(self, sim: Simulation) -> None:
        kernel = sim.kernel
        next_deadline = kernel.timers.next_deadline

        class Timers:
            def next_deadline(self) -> float | None:
                kernel.call_soon(kernel.resume, kernel.main)  # "between" looking and polling
                return next_deadline()

            def __len__(self) -> int:
                return 0

        kernel.timers = Timers()  # type: ignore[assignment]
        assert sim.wait() is True
        assert set(sim.backend.timeouts) == {0.0}

    def test_from_a_real_one(self, sim: Simulation) -> None:
        kernel = sim.kernel
        done = _thread.allocate_lock()
        done.acquire()
        mine: list[bool] = []

        def foreign() -> None:
            mine.append(kernel.is_mine())
            kernel.call_soon(kernel.resume, kernel.main)
            done.release()

        def start_and_wait() -> None:
            _thread.start_new_thread(foreign, ())
            done.acquire()

        sim.during_polls(start_and_wait)
        assert sim.wait() is True
        assert mine == [False]
        assert kernel.is_mine()


def test_any_scheduler_will_do() -> None:
    sim = Simulation(LifoScheduler())
    sim.run([lambda: sim.kernel.yield_() or sim.log.append(1) for _ in range(5)])  # type: ignore[func-returns-value]
    assert sim.log == [1] * 5


class Noting(LifoScheduler):
    """Notes whether a collection may come while it is at work."""

    __slots__ = ("open",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[bool] = []

    def push(self, thread: Thread) -> None:
        self.open.append(gc.isenabled())
        self.append(thread)

    def pop(self) -> Thread:  # type: ignore[override]
        self.open.append(gc.isenabled())
        return super().pop()


def test_no_collection_comes_in_the_middle_of_a_scheduler() -> None:
    scheduler = Noting()
    sim = Simulation(scheduler)
    sim.run([sim.kernel.yield_, sim.kernel.yield_])
    assert len(scheduler.open) > 6
    assert not any(scheduler.open)
    assert gc.isenabled()
    gc.disable()
    try:
        sim.run([sim.kernel.yield_])
        assert not gc.isenabled()
    finally:
        gc.enable()


class Overtaken(LifoScheduler):
    """At the call of its pop a finalizer lets the only thread run, which has become runnable again
    when the kernel polls."""

    __slots__ = ("sim", "taken")

    def pop(self) -> Thread:  # type: ignore[override]
        if not self.taken:
            self.taken.append(super().pop())
            self.sim.during_polls(lambda: self.append(self.taken[0]))
            raise IndexError("pop from an empty deque")
        return super().pop()


def test_a_finalizer_has_let_all_run_at_the_call_of_pop() -> None:
    scheduler = Overtaken()
    scheduler.taken = []
    scheduler.sim = sim = Simulation(scheduler)
    sim.run([lambda: sim.log.append("ran")])
    assert sim.log == ["ran"]
    assert scheduler.taken


def test_an_error_of_a_scheduler_with_threads_is_its_own() -> None:
    class Failing(LifoScheduler):
        __slots__ = ()

        def pop(self) -> Thread:  # type: ignore[override]
            raise IndexError("lost")

    with pytest.raises(IndexError, match="lost"):
        Simulation(Failing()).run([lambda: None])


def test_who_wakes_the_watchdog_asks_once(sim: Simulation) -> None:
    """Without the GIL it may wake up by itself between one look and the next."""
    woken: list[None] = []
    answers = cycle((lambda: woken.append(None), None))

    class Fickle(type(sim.kernel)):  # type: ignore[misc]
        __slots__ = ()
        wake_watchdog = property(lambda self: next(answers))

    sim.kernel.__class__ = Fickle
    for _ in range(3):
        sim.run([lambda: sim.log.append("a")])
        sim.kernel.sleep_until(sim.clock.now + 1.0)
    assert sim.log == ["a"] * 3
    assert woken
