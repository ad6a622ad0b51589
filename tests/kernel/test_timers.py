"""Deadlines: one live entry for each thread, and stale ones are dropped."""

from __future__ import annotations

import random
from typing import Any

from capriccio_patch.contracts.thread import Thread
from capriccio_patch.kernel.timers import Timers


def expire(timers: Timers, now: float) -> list[Thread]:
    return list(timers.expired(now))


def entries(timers: Timers) -> list[list[Any]]:
    return [*timers._line, *timers._heap]


def test_nothing_to_wait_for() -> None:
    timers = Timers()
    assert not timers
    assert timers.next_deadline() is None
    assert expire(timers, 1e9) == []


def test_earliest_first_and_only_what_has_passed() -> None:
    timers = Timers()
    threads = [Thread() for _ in range(3)]
    for thread, deadline in zip(threads, (3.0, 1.0, 2.0), strict=True):
        timers.add(thread, deadline)
    assert timers.next_deadline() == 1.0
    assert expire(timers, 2.0) == [threads[1], threads[2]]
    assert timers.next_deadline() == 3.0
    assert len(timers) == 1


def test_equal_deadlines_in_the_order_of_adding() -> None:
    timers = Timers()
    threads = [Thread() for _ in range(20)]
    for thread in threads:
        timers.add(thread, 1.0)
    assert expire(timers, 1.0) == threads


def test_an_expired_thread_has_no_deadline() -> None:
    timers = Timers()
    thread = Thread()
    timers.add(thread, 1.0)
    expire(timers, 1.0)
    assert thread.deadline is None
    assert thread.timer is None


def test_a_later_deadline_keeps_the_entry() -> None:
    timers = Timers()
    thread = Thread()
    for deadline in range(1000):
        timers.add(thread, float(deadline))
    assert len(entries(timers)) == 1
    assert expire(timers, 998.5) == []
    assert expire(timers, 999.0) == [thread]


def test_an_earlier_deadline_replaces_the_entry() -> None:
    timers = Timers()
    thread = Thread()
    timers.add(thread, 10.0)
    timers.add(thread, 5.0)
    assert len(timers) == 1
    assert timers.next_deadline() == 5.0
    assert expire(timers, 20.0) == [thread]
    assert expire(timers, 20.0) == []


def test_a_wait_that_ended_is_not_reported() -> None:
    timers = Timers()
    thread = Thread()
    timers.add(thread, 1.0)
    thread.deadline = None  # what the kernel does when the thread is resumed
    assert timers.next_deadline() is None
    assert expire(timers, 2.0) == []


def test_a_thread_that_ended_is_not_kept_alive() -> None:
    timers = Timers()
    thread = Thread()
    timers.add(thread, 1.0)
    timers.forget(thread)
    timers.forget(thread)
    assert all(entry[2] is None for entry in entries(timers))
    assert not timers


def test_stale_entries_do_not_pile_up() -> None:
    timers = Timers()
    threads = [Thread() for _ in range(10_000)]
    for thread in threads:
        timers.add(thread, 1e6)
    for thread in threads:
        timers.forget(thread)
    assert len(entries(timers)) <= 128
    assert len(timers) == 0


def test_what_comes_in_order_is_a_line() -> None:
    timers = Timers()
    threads = [Thread() for _ in range(100)]
    for at, thread in enumerate(threads):
        timers.add(thread, 10.0 + at / 100)
    assert len(timers._line) == 100
    assert expire(timers, 10.495) == threads[:50]
    assert timers.next_deadline() == 10.5


def test_a_few_long_waits_keep_no_short_one_out_of_the_line() -> None:
    timers = Timers()
    long = [Thread() for _ in range(4)]
    short = [Thread() for _ in range(3)]
    for thread in long:
        timers.add(thread, 3600.0)
    long[3].deadline = None
    timers.forget(long[3])
    for at, thread in enumerate(short):
        timers.add(thread, 1.0 + at / 10)
    assert [entry[2] for entry in timers._line] == short
    late = Thread()
    timers.add(late, 3600.0)
    assert late not in [entry[2] for entry in timers._line]
    assert len(timers) == 7
    assert expire(timers, 2.0) == short
    assert expire(timers, 3600.0) == [*long[:3], late]
    assert not timers


def test_who_is_between_two_in_the_line_is_not_lost() -> None:
    timers = Timers()
    first, last, between = Thread(), Thread(), Thread()
    for thread, deadline in ((first, 1.0), (last, 1.5), (between, 1.2)):
        timers.add(thread, deadline)
    assert timers.peek() == 1.0
    assert expire(timers, 1.0) == [first]
    assert timers.peek() is not None
    assert timers.next_deadline() == 1.2
    assert timers.peek() == 1.2
    assert expire(timers, 2.0) == [between, last]
    assert timers.next_deadline() is timers.peek() is None


def test_against_a_plain_model() -> None:
    chance = random.Random(4)
    timers = Timers()
    threads = [Thread() for _ in range(50)]
    model: dict[Thread, float] = {}
    now = 0.0
    for _ in range(20_000):
        thread = chance.choice(threads)
        match chance.randrange(4):
            case 0 | 1:
                model[thread] = now + chance.randrange(100)
                timers.add(thread, model[thread])
            case 2:
                thread.deadline = None
                model.pop(thread, None)
            case 3:
                now += chance.randrange(20)
                due = {each for each, deadline in model.items() if deadline <= now}
                found = expire(timers, now)
                assert len(found) == len(set(found))
                assert set(found) == due
                for each in due:
                    del model[each]
        assert timers.next_deadline() == min(model.values(), default=None)


def test_a_finalizer_lets_the_others_run_in_the_midst_of_a_look() -> None:
    class Last:
        def __del__(self) -> None:
            others.extend(timers.expired(1.0))

    timers = Timers()
    others: list[Thread] = []
    first, second, third = Thread(), Thread(), Thread()
    first.object = Last()
    for thread, deadline in ((first, 0.5), (second, 1.0), (third, 2.0)):
        timers.add(thread, deadline)
    first.deadline = None
    del first, thread
    assert timers.next_deadline() == 2.0
    assert others == [second]
    assert len(timers) == 1
    assert expire(timers, 2.0) == [third]
