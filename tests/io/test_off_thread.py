"""A call on an OS thread and its waiters: what an interrupt does, and what none can be had."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from capriccio_patch.contracts.request import Call
from capriccio_patch.io import off_thread, os_threads
from tests.simulation import Simulation


class Interrupted(Exception):
    """What an interrupt of a wait raises."""


def interrupt(sim: Simulation, thread: Any) -> None:
    def act() -> None:
        raise Interrupted

    sim.kernel.interrupt(thread, act)


def settle(sim: Simulation) -> None:
    for _ in range(5):
        sim.kernel.yield_()


class Waiter:
    """A thread that waits for a call, and notes how that ended."""

    def __init__(self, sim: Simulation, call: Call, **how: Any) -> None:
        self.ended: list[Any] = []
        self._wait: Callable[[], Any] = lambda: off_thread.wait(sim.kernel, call, **how)
        self.thread = sim.kernel.spawn(self._run)
        settle(sim)

    def _run(self) -> None:
        try:
            self.ended.append(self._wait())
        except Exception as error:
            self.ended.append(type(error))


@pytest.fixture
def call(sim: Simulation) -> Call:
    """One that somebody is about to make."""
    return Call(sim.kernel, divmod, 7, 2)


def end(sim: Simulation, call: Call) -> None:
    """It is made, and completed on the scheduler's OS thread."""
    call.perform()
    call.complete()
    settle(sim)


def test_the_outcome_ends_the_wait(sim: Simulation, call: Call) -> None:
    waiter = Waiter(sim, call)
    assert waiter.ended == []
    end(sim, call)
    assert waiter.ended == [(3, 1)]


def test_one_that_is_over_is_not_waited_for(sim: Simulation, call: Call) -> None:
    call.perform()
    call.complete()
    assert Waiter(sim, call).ended == [(3, 1)]


def test_many_may_wait_for_one(sim: Simulation, call: Call) -> None:
    waiters = [Waiter(sim, call) for _ in range(3)]
    end(sim, call)
    assert [waiter.ended for waiter in waiters] == [[(3, 1)]] * 3


def test_abandoned(sim: Simulation, call: Call) -> None:
    waiter = Waiter(sim, call)
    interrupt(sim, waiter.thread)
    settle(sim)
    assert waiter.ended == [Interrupted]
    end(sim, call)  # which wakes nobody
    assert waiter.ended == [Interrupted]


def test_kept_for_the_next_who_waits(sim: Simulation, call: Call) -> None:
    first = Waiter(sim, call)
    interrupt(sim, first.thread)
    settle(sim)
    second = Waiter(sim, call)
    assert second.ended == []
    end(sim, call)
    assert (first.ended, second.ended) == ([Interrupted], [(3, 1)])


def test_to_the_end(sim: Simulation, call: Call) -> None:
    waiter = Waiter(sim, call, to_the_end=True)
    interrupt(sim, waiter.thread)
    settle(sim)
    assert waiter.ended == []
    end(sim, call)
    assert waiter.ended == [Interrupted]


def test_an_error_is_the_waiters(sim: Simulation) -> None:
    call = Call(sim.kernel, divmod, 7, 0)
    waiter = Waiter(sim, call)
    end(sim, call)
    assert waiter.ended == [ZeroDivisionError]


def test_arguments_are_let_go_of_when_the_call_is_made(sim: Simulation) -> None:
    call = Call(sim.kernel, len, [1, 2])
    call.perform()
    assert call.args == ()
    assert call.result == 2


@pytest.mark.parametrize("hearing", [False, True])
def test_where_no_os_thread_can_be_had_the_call_is_made_here(
    sim: Simulation, call: Call, monkeypatch: pytest.MonkeyPatch, hearing: bool
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(os_threads, "start_hearing" if hearing else "start", refuse)
    off_thread.begin(call, hearing=hearing)
    assert call.done
    assert off_thread.wait(sim.kernel, call) == (3, 1)


def test_asking_at_growing_intervals(sim: Simulation) -> None:
    times: list[float] = []

    def attempt() -> str | None:
        times.append(sim.clock.now)
        return "there" if len(times) == 12 else None

    assert off_thread.ask_until(sim.kernel, attempt) == "there"
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses == sorted(pauses)
    assert pauses[0] == pytest.approx(off_thread._SHORTEST)
    assert pauses[-1] == pytest.approx(off_thread._LONGEST)
