"""Deferred threads: they run when the others have run, or have had their time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from capriccio_patch.contracts.thread import Thread
from capriccio_patch.kernel import slices
from capriccio_patch.kernel.core import TURN
from capriccio_patch.kernel.slices import POLL_INTERVAL, SLICE_LIMIT
from tests.simulation import Simulation


def _answering(sim: Simulation) -> tuple[Callable[[], None], list[Any]]:
    """What parks until it is resumed and notes that, and a list with its thread from then on."""
    parked: list[Any] = []

    def answer() -> None:
        parked.append(sim.kernel.begin())
        sim.kernel.park(parked[0])
        sim.log.append("answer")

    return answer, parked


def _connecting(sim: Simulation) -> tuple[Callable[[], None], Callable[[], list[Any]]]:
    """What takes its time, has others run first and parks, and the poll that wakes all such."""
    kernel = sim.kernel
    waiting: list[Any] = []

    def connect_once() -> None:
        sim.log.append("connect")
        sim.clock.now += 2 * POLL_INTERVAL
        waiting.append(kernel.begin())
        kernel.poll_before_next()
        kernel.park(waiting[-1])

    def wake() -> list[tuple[int, int]]:
        for thread in waiting:
            kernel.resume(thread)
        waiting.clear()
        return [(-1, 0)]

    return connect_once, wake


def _computing(sim: Simulation, seconds: float) -> Callable[[], None]:
    """What is preempted five times, after so many seconds each."""

    def compute() -> None:
        for _ in range(5):
            sim.log.append("compute")
            sim.clock.now += seconds
            sim.kernel.preempt()

    return compute


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


def test_who_computes_has_its_slices_beside_those_that_serve_each_other(sim: Simulation) -> None:
    """Connects, one after the other, each of which has others run first."""
    connect_once, wake = _connecting(sim)

    def connect() -> None:
        while sim.log.count("connect") < 9000 and sim.log.count("compute") < 5:
            connect_once()

    sim.during_polls(*[wake] * 20_000)
    sim.run([_computing(sim, SLICE_LIMIT), connect, connect])
    wait = SLICE_LIMIT + slices._LONGEST_PASSED  # until it is handed over, and until it runs
    most = wait / (2 * POLL_INTERVAL) + 10
    assert sim.log.count("compute") == 5
    assert sim.log.count("connect") <= 5 * most


@pytest.mark.parametrize("slice_", [SLICE_LIMIT / 4, SLICE_LIMIT, 4 * SLICE_LIMIT])
def test_who_computes_has_slices_beside_many_that_go_from_call_to_call(
    sim: Simulation, slice_: float
) -> None:
    """None of which is preempted: it waits as long as a slice is, however many they are."""
    kernel = sim.kernel

    def call() -> None:
        while sim.log.count("compute") < 5:
            sim.log.append("call")
            sim.clock.now += 2 * POLL_INTERVAL
            kernel.yield_if_due()

    kernel.set_slice(slice_)
    sim.run([_computing(sim, slice_), *[call] * 20])
    each = min(slice_, SLICE_LIMIT) / (2 * POLL_INTERVAL)
    assert 4 * each <= sim.log.count("call") <= 5 * (each + 25)


def test_none_that_can_run_is_overtaken_for_long(sim: Simulation) -> None:
    """By those that a poll wakes, which have others woken each time."""
    connect_once, wake = _connecting(sim)

    def connect() -> None:
        for _ in range(2000):
            connect_once()

    sim.during_polls(*[wake] * 5000)
    sim.run([connect, connect, lambda: sim.log.append("other"), lambda: sim.log.append("last")])
    most = slices._LONGEST_PASSED / (2 * POLL_INTERVAL)
    assert 10 < sim.log.index("other") <= most + 10
    assert sim.log.index("last") <= most + 20


def test_a_thread_steps_aside_only_when_others_are_due(sim: Simulation) -> None:
    kernel = sim.kernel

    def work(name: str) -> None:
        for number in range(3):
            sim.log.append(f"{name}{number}")
            sim.clock.now += POLL_INTERVAL / 8
            kernel.yield_if_due()

    sim.run([lambda: work("a"), lambda: work("b")])
    assert sim.log == ["a0", "a1", "a2", "b0", "b1", "b2"]


def test_who_is_resumed_deferred_runs_when_the_others_have(sim: Simulation) -> None:
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


def test_the_rest_may_have_been_handed_over_meanwhile(sim: Simulation) -> None:
    kernel = sim.kernel
    threads = [Thread(), Thread()]
    pushed: list[Thread] = []

    def push(thread: Thread) -> None:
        pushed.append(thread)
        kernel.preempted.clear()  # as those do that run while a finalizer waits here

    kernel._slices._granted_at = kernel.now  # two at once
    kernel.preempted.extend(threads)
    kernel.push = push
    kernel._slices.grant(True)
    assert pushed == threads[:1]


def _nothing() -> None:
    """A poll in which nothing happens."""
