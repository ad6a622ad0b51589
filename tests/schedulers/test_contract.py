"""What every scheduler promises, over each that there is."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator

import pytest

from capriccio_patch import schedulers
from capriccio_patch.contracts.thread import Thread
from capriccio_patch.errors import ConfigError
from capriccio_patch.schedulers import (
    Scheduler,
    create_scheduler,
    known_schedulers,
    register_scheduler,
)
from tests.simulation import Simulation


@pytest.fixture(params=known_schedulers())
def scheduler(request: pytest.FixtureRequest) -> Scheduler:
    scheduler: Scheduler = create_scheduler(request.param)
    if hasattr(scheduler, "attach"):
        scheduler.attach(Simulation(scheduler).kernel)
    return scheduler


def threads(count: int) -> list[Thread]:
    return [Thread() for _ in range(count)]


def drain(scheduler: Scheduler) -> Iterator[Thread]:
    while scheduler:
        yield scheduler.pop()


def test_empty_at_first(scheduler: Scheduler) -> None:
    assert len(scheduler) == 0
    assert not scheduler


@pytest.mark.parametrize("count", [1, 2, 100])
def test_each_is_popped_once(scheduler: Scheduler, count: int) -> None:
    pushed = threads(count)
    for thread in pushed:
        scheduler.push(thread)
    assert len(scheduler) == count
    popped = list(drain(scheduler))
    assert len(popped) == count
    assert set(popped) == set(pushed)
    assert len(scheduler) == 0


def test_a_finalizer_in_the_middle_of_a_pop(scheduler: Scheduler) -> None:
    """It may wait, and have another thread chosen: wherever the collector may come."""
    popped: list[Thread] = []

    class Finalized:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            if scheduler:
                popped.append(scheduler.pop())

    pushed = threads(100)
    for thread in pushed:
        scheduler.push(thread)
    threshold = gc.get_threshold()
    gc.collect()
    try:
        while scheduler:
            gc.set_threshold(0)
            Finalized()
            gc.set_threshold(1)
            popped.append(scheduler.pop())
            gc.set_threshold(0)
            for _ in range(len(popped) % 3):
                pushed.append(Thread())
                scheduler.push(pushed[-1])
            if len(pushed) > 1_000:
                break
    finally:
        gc.set_threshold(*threshold)
    popped.extend(drain(scheduler))
    assert len(popped) == len(pushed)
    assert set(popped) == set(pushed)


def test_the_length_is_right_at_each_step(scheduler: Scheduler) -> None:
    chance = random.Random(1)
    inside: list[Thread] = []
    for _ in range(2_000):
        if inside and chance.random() < 0.5:
            inside.remove(scheduler.pop())
        else:
            inside.append(Thread())
            scheduler.push(inside[-1])
        assert len(scheduler) == len(inside)
        assert bool(scheduler) == bool(inside)


def test_a_thread_may_come_back(scheduler: Scheduler) -> None:
    (thread,) = threads(1)
    for _ in range(3):
        scheduler.push(thread)
        assert scheduler.pop() is thread


def test_who_yields_lets_all_others_run(scheduler: Scheduler) -> None:
    """A thread that is pushed again whenever it is popped does not starve those that were there."""
    others = threads(10)
    greedy = Thread()
    for thread in (*others, greedy):
        scheduler.push(thread)
    seen = set()
    for _ in range(100):
        thread = scheduler.pop()
        seen.add(thread)
        if thread is greedy:
            scheduler.push(thread)
    assert seen == {*others, greedy}


def test_who_comes_late_has_its_turn_too(scheduler: Scheduler) -> None:
    busy = threads(3)
    for thread in busy:
        scheduler.push(thread)
    late = Thread()
    seen = []
    for turn in range(50):
        if turn == 10:
            scheduler.push(late)
        thread = scheduler.pop()
        seen.append(thread)
        if thread is not late:
            scheduler.push(thread)
    assert late in seen


def test_the_urgent_one_is_next(scheduler: Scheduler) -> None:
    push_first: Callable[[Thread], None] | None = getattr(scheduler, "push_first", None)
    if push_first is None:
        pytest.skip("optional")
    for thread in threads(5):
        scheduler.push(thread)
    scheduler.pop()
    urgent = Thread()
    push_first(urgent)
    assert len(scheduler) == 5
    assert scheduler.pop() is urgent
    assert len(list(drain(scheduler))) == 4


def test_fifo_is_first_in_first_out() -> None:
    scheduler = create_scheduler("fifo")
    pushed = threads(5)
    for thread in pushed:
        scheduler.push(thread)
    assert list(drain(scheduler)) == pushed


def test_lifo_is_last_in_first_out_within_a_batch() -> None:
    scheduler = create_scheduler("lifo")
    pushed = threads(3)
    for thread in pushed:
        scheduler.push(thread)
    assert scheduler.pop() is pushed[2]
    late = Thread()
    scheduler.push(late)
    assert list(drain(scheduler)) == [pushed[1], pushed[0], late]


def test_an_unknown_name_is_an_error_that_tells_the_known() -> None:
    with pytest.raises(ConfigError, match=r"unknown scheduler 'best'.*fifo, lifo"):
        create_scheduler("best")


def test_a_registered_one_is_created(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedulers, "_schedulers", dict(schedulers._schedulers))
    made = create_scheduler("fifo")
    register_scheduler("mine", lambda: made)
    assert create_scheduler("mine")._scheduler is made
    assert "mine" in known_schedulers()


def test_each_kernel_gets_its_own(scheduler: Scheduler) -> None:
    names = [name for name in known_schedulers() if type(create_scheduler(name)) is type(scheduler)]
    assert create_scheduler(names[0]) is not scheduler
