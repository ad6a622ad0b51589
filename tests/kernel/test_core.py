"""The kernel by itself: parking, resuming, deadlines, interrupts, finalizers, in simulated time."""

from __future__ import annotations

import _thread
import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest

from capriccio_patch.contracts.thread import Finalizer, Thread
from capriccio_patch.kernel.core import TURN
from capriccio_patch.kernel.slices import POLL_INTERVAL
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


class TestUncaughtErrors:
    """What leaves a thread's function."""

    def test_is_reported(self, sim: Simulation) -> None:
        sim.kernel.report = lambda thread: sim.log.append((thread.ident, sys.exc_info()[0]))
        thread = sim.kernel.spawn(lambda: 1 / 0)
        sim.kernel.yield_()
        assert sim.log == [(thread.ident, ZeroDivisionError)]

    def test_system_exit_is_not(self, sim: Simulation) -> None:
        sim.kernel.report = sim.log.append
        sim.run([sys.exit])
        assert sim.log == []


class TestInterrupts:
    """`Kernel.interrupt`: code that a waiting thread has to run."""

    def waiter(self, sim: Simulation, timeout: float | None = None) -> Thread:
        def wait() -> None:
            try:
                sim.log.append(sim.wait(timeout=timeout))
            except ZeroDivisionError:
                sim.log.append("error")

        thread = sim.kernel.spawn(wait)
        sim.kernel.yield_()
        assert thread.parked
        return thread

    def test_the_wait_goes_on(self, sim: Simulation) -> None:
        thread = self.waiter(sim)
        sim.kernel.interrupt(thread, lambda: sim.log.append(sim.kernel.current.ident))
        sim.kernel.yield_()
        assert sim.log == [thread.ident]
        assert thread.parked
        sim.kernel.resume(thread)
        sim.kernel.yield_()
        assert sim.log == [thread.ident, True]

    def test_what_is_raised_ends_the_wait(self, sim: Simulation) -> None:
        thread = self.waiter(sim)
        sim.kernel.interrupt(thread, lambda: 1 / 0)
        sim.kernel.yield_()
        assert sim.log == ["error"]
        assert thread.ident not in sim.kernel.threads

    def test_a_resume_meanwhile_is_not_lost(self, sim: Simulation) -> None:
        thread = self.waiter(sim)
        sim.kernel.interrupt(thread, lambda: sim.log.append("action"))
        sim.kernel.resume(thread)
        sim.kernel.yield_()
        assert sim.log == ["action", True]

    def test_a_resume_by_the_action_itself(self, sim: Simulation) -> None:
        thread = self.waiter(sim)
        sim.kernel.interrupt(thread, lambda: sim.kernel.resume(thread))
        sim.kernel.yield_()
        sim.kernel.yield_()
        assert sim.log == [True]

    def test_an_action_may_wait(self, sim: Simulation) -> None:
        thread = self.waiter(sim)

        def action() -> None:
            sim.kernel.sleep_until(sim.clock() + 1.0)
            sim.log.append("slept")

        sim.kernel.interrupt(thread, action)
        sim.kernel.sleep_until(sim.clock() + 2.0)
        assert sim.log == ["slept"]
        sim.kernel.resume(thread)
        sim.kernel.yield_()
        assert sim.log == ["slept", True]

    def test_the_deadline_of_an_interrupted_wait_stands(self, sim: Simulation) -> None:
        thread = self.waiter(sim, timeout=5.0)
        sim.kernel.interrupt(thread, lambda: sim.log.append("action"))
        sim.kernel.sleep_until(sim.clock() + 6.0)
        assert sim.log == ["action", False]

    def test_two_before_the_thread_runs(self, sim: Simulation) -> None:
        thread = self.waiter(sim)
        sim.kernel.interrupt(thread, lambda: sim.log.append(1))
        sim.kernel.interrupt(thread, lambda: sim.log.append(2))
        sim.kernel.yield_()
        assert sim.log == [1, 2]
        sim.kernel.resume(thread)
        sim.kernel.yield_()


class TestThrow:
    """`Kernel.throw`: an exception for a thread, when its wait is over."""

    def test_the_wait_comes_first(self, sim: Simulation) -> None:
        kernel = sim.kernel

        def wait() -> None:
            try:
                sim.wait()
            except KeyError:
                sim.log.append("thrown")

        thread = kernel.spawn(wait)
        kernel.yield_()
        kernel.throw(thread, KeyError)
        kernel.yield_()
        assert sim.log == []
        kernel.resume(thread)
        kernel.yield_()
        assert sim.log == ["thrown"]

    def test_before_the_thread_has_begun(self, sim: Simulation) -> None:
        sim.kernel.report = lambda thread: sim.log.append(sys.exc_info()[0])
        thread = sim.kernel.spawn(lambda: sim.log.append("ran"))
        sim.kernel.throw(thread, KeyError())
        sim.kernel.yield_()
        assert sim.log == [KeyError]

    def test_taken_back(self, sim: Simulation) -> None:
        thread = sim.kernel.spawn(lambda: sim.log.append("ran"))
        sim.kernel.throw(thread, KeyError())
        sim.kernel.throw(thread, None)
        sim.kernel.yield_()
        assert sim.log == ["ran"]

    def test_an_interrupt_of_the_wait_does_not_bring_it_forward(self, sim: Simulation) -> None:
        kernel = sim.kernel
        kernel.report = lambda thread: sim.log.append(sys.exc_info()[0])
        thread = kernel.spawn(sim.wait)
        kernel.yield_()
        kernel.throw(thread, KeyError)
        kernel.interrupt(thread, lambda: sim.log.append("action"))
        kernel.yield_()
        assert sim.log == ["action"]
        kernel.resume(thread)
        kernel.yield_()
        assert sim.log == ["action", KeyError]


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


class TestStateOfC:
    """What C keeps by OS thread is each thread's own."""

    def test_thread_locals(self, sim: Simulation) -> None:
        local = _thread._local()

        def work(name: str) -> Callable[[], None]:
            def run() -> None:
                assert not hasattr(local, "name")
                local.name = name
                sim.kernel.yield_()
                sim.log.append(local.name == name)

            return run

        local.name = "main"
        sim.run([work(name) for name in "abc"])
        assert sim.log == [True] * 3
        assert local.name == "main"

    def test_values_die_with_their_thread(self, sim: Simulation) -> None:
        local = _thread._local()

        class Value:
            def __del__(self) -> None:
                sim.log.append(sim.kernel.current.ident)

        def work() -> None:
            local.value = Value()
            sim.kernel.yield_()

        thread = sim.kernel.spawn(work)
        sim.kernel.yield_()
        assert sim.log == []
        sim.kernel.yield_()
        assert sim.log == [thread.ident]

    def test_a_destructor_that_makes_new_values(self, sim: Simulation) -> None:
        local = _thread._local()

        class Value:
            def __init__(self, left: int) -> None:
                self.left = left

            def __del__(self) -> None:
                sim.log.append(self.left)
                if self.left:
                    local.value = Value(self.left - 1)

        sim.run([lambda: setattr(local, "value", Value(2))])
        assert sim.log == [2, 1, 0]

    @pytest.mark.parametrize("kind", ["trace", "profile"])
    def test_trace_and_profile_functions(self, sim: Simulation, kind: str) -> None:
        put: Callable[[Any], None] = getattr(sys, f"set{kind}")
        get: Callable[[], Any] = getattr(sys, f"get{kind}")

        def work(name: str) -> Callable[[], None]:
            def note(frame: Any, event: str, _: Any) -> Any:
                if event == "call" and frame.f_code is step.__code__:
                    sim.log.append(name)
                return note

            def step() -> None:
                sim.kernel.yield_()

            def run() -> None:
                assert get() is None
                put(note)
                for _ in range(3):
                    step()
                    sim.log.append(get() is note)

            return run

        before = get()
        sim.run([work("a"), work("b")])
        assert sorted(map(str, sim.log)) == ["True"] * 6 + ["a"] * 3 + ["b"] * 3
        assert get() is before

    def test_a_repr_leaves_nothing_to_exchange(self, sim: Simulation) -> None:
        def work() -> None:
            repr([[]])
            sim.kernel.yield_()
            sim.log.append(sim.kernel.current.c_state)

        thread = sim.kernel.spawn(work)
        sim.kernel.yield_()
        assert thread.c_state is None
        sim.kernel.yield_()


def test_any_scheduler_will_do() -> None:
    sim = Simulation(LifoScheduler())
    sim.run([lambda: sim.kernel.yield_() or sim.log.append(1) for _ in range(5)])  # type: ignore[func-returns-value]
    assert sim.log == [1] * 5


def _answering(sim: Simulation) -> tuple[Callable[[], None], list[Any]]:
    """What parks until it is resumed and notes that, and a list with its thread from then on."""
    parked: list[Any] = []

    def answer() -> None:
        parked.append(sim.kernel.begin())
        sim.kernel.park(parked[0])
        sim.log.append("answer")

    return answer, parked


def test_who_goes_from_call_to_call_lets_those_that_answer_run_first(sim: Simulation) -> None:
    kernel = sim.kernel
    answer, parked = _answering(sim)

    def work(name: str) -> None:
        for number in range(3):
            sim.log.append(f"{name}{number}")
            sim.clock.now += 3 * POLL_INTERVAL
            kernel.yield_if_due()

    def ask() -> None:
        sim.log.append("asked")
        kernel.resume(parked[0])

    sim.during_polls(_nothing, _nothing, _nothing, _nothing, ask)
    sim.run([answer, lambda: work("a"), lambda: work("b"), lambda: work("c")])
    at = sim.log.index("asked")
    assert sim.log[at + 1] == "answer"
    assert {"a0", "b0", "c0"} <= set(sim.log[:at])  # they take turns
    assert sorted(sim.log) == sorted(
        ["asked", "answer", *(f"{name}{number}" for name in "abc" for number in range(3))]
    )


@pytest.mark.parametrize("parks", [False, True], ids=["goes on", "parks"])
def test_a_descriptor_wakes_before_all_that_wait_for_their_first_call(
    sim: Simulation, parks: bool
) -> None:
    """A hundred threads are runnable at once, each of which is about to take its time."""
    kernel = sim.kernel
    answer, parked = _answering(sim)
    waiting: list[Any] = []

    def work() -> None:
        sim.log.append("work")
        sim.clock.now += 2 * POLL_INTERVAL
        if parks:
            waiting.append(kernel.begin())
            kernel.poll_if_due()
            kernel.park(waiting[-1])
        else:
            kernel.yield_if_due()

    def ask() -> list[tuple[int, int]]:
        sim.log.append("asked")
        kernel.resume(parked[0])
        return [(-1, 0)]

    def finish() -> None:
        while len(waiting) < 100 * parks:
            kernel.yield_()
        for thread in waiting:
            kernel.resume(thread)

    sim.during_polls(_nothing, _nothing, _nothing, ask)
    sim.run([answer, *[work] * 100, finish])
    at = sim.log.index("asked")
    assert sim.log[at + 1] == "answer"
    assert sim.log[:at].count("work") < 5
    assert sim.log.count("work") == 100


def test_deadlines_of_one_moment_do_not_go_before_everybody_else(sim: Simulation) -> None:
    kernel = sim.kernel
    answer, parked = _answering(sim)

    def sleep(until: float) -> None:
        kernel.sleep_until(until)
        sim.log.append("woken")

    def pass_time() -> None:
        sim.clock.now += 2.0

    deadline = sim.clock.now + 1.0
    sleepers = [lambda: sleep(deadline) for _ in range(5 * TURN)]
    polls = [_nothing] * (5 + 1)  # the turns in which they begin to sleep
    sim.during_polls(*polls, pass_time, _nothing, lambda: kernel.resume(parked[0]))
    sim.run([answer, *sleepers])
    assert sim.log.count("woken") == 5 * TURN
    assert sim.log.index("answer") <= 4 * TURN


def test_who_steps_aside_gets_as_much_time_as_the_others(sim: Simulation) -> None:
    kernel = sim.kernel

    def work() -> None:
        for _ in range(10):
            sim.log.append("work")
            sim.clock.now += 3 * POLL_INTERVAL
            kernel.yield_if_due()

    def answer() -> None:
        while "work" not in sim.log or sim.log.count("work") < 10:
            sim.log.append("answer")
            sim.clock.now += POLL_INTERVAL / 2
            kernel.yield_()

    sim.run([work, answer])
    assert sim.log.count("answer") < 10 * TURN  # not for ever behind those that are never idle


def test_a_breath_is_taken_only_when_it_is_time(sim: Simulation) -> None:
    kernel = sim.kernel

    def work(name: str) -> None:
        for number in range(3):
            sim.log.append(f"{name}{number}")
            sim.clock.now += POLL_INTERVAL / 8
            kernel.yield_if_due()

    sim.run([lambda: work("a"), lambda: work("b")])
    assert sim.log == ["a0", "a1", "a2", "b0", "b1", "b2"]


def test_who_is_resumed_behind_runs_when_the_others_have(sim: Simulation) -> None:
    kernel = sim.kernel
    parked: dict[str, Any] = {}

    def wait(name: str) -> None:
        parked[name] = me = kernel.begin()
        kernel.park(me)
        sim.log.append(name)

    def resume_all() -> None:
        kernel.resume_deferred(parked["file"])
        kernel.resume_deferred(parked["other"])
        kernel.resume(parked["socket"])

    sim.during_polls(resume_all)
    sim.run([lambda: wait("file"), lambda: wait("other"), lambda: wait("socket")])
    assert sim.log[-1] == "other"
    assert sim.log.index("socket") < 2


def test_a_deadline_that_crosses_a_resume_deferred(sim: Simulation) -> None:
    kernel = sim.kernel

    def run() -> None:
        me = kernel.begin()
        deadline = sim.clock() + 1
        sim.during_polls(lambda: (setattr(sim.clock, "now", deadline), kernel.resume_deferred(me)))
        sim.log.append(kernel.park(me, deadline))

    sim.run([run])
    assert sim.log == [True]


def _nothing() -> None:
    """A poll in which nothing happens."""
