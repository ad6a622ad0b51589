"""Who waits for one thing: first come, first served."""

from __future__ import annotations

import random

import pytest

from capriccio_patch.contracts.thread import Slot, Thread
from capriccio_patch.kernel.waitqueue import added, contains, first, first_and_rest, removed


def drain(slot: Slot) -> list[Thread]:
    found = []
    while slot is not None:
        assert first(slot) is not None
        expected = first(slot)
        thread, slot = first_and_rest(slot)
        assert thread is expected
        found.append(thread)
    return found


def test_one_waiter_costs_no_queue() -> None:
    thread = Thread()
    assert added(None, thread) is thread
    assert removed(thread, thread) is None
    assert first_and_rest(thread) == (thread, None)


@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_in_order(count: int) -> None:
    threads = [Thread() for _ in range(count)]
    slot: Slot = None
    for thread in threads:
        slot = added(slot, thread)
    assert drain(slot) == threads


def test_back_to_the_head() -> None:
    a, b, c = (Thread() for _ in range(3))
    slot = added(added(None, a), b)
    assert drain(added(slot, c, first=True)) == [c, a, b]


def test_removal_from_anywhere_leaves_the_order() -> None:
    threads = [Thread() for _ in range(5)]
    slot: Slot = None
    for thread in threads:
        slot = added(slot, thread)
    for gone in (2, 0, 4):
        slot = removed(slot, threads[gone])
    assert drain(slot) == [threads[1], threads[3]]


def test_removal_of_who_has_left() -> None:
    a, b, c = (Thread() for _ in range(3))
    assert removed(None, a) is None
    assert removed(a, b) is a
    slot = removed(added(added(None, a), b), c)
    assert drain(slot) == [a, b]


def test_the_last_to_leave_empties_the_slot() -> None:
    a, b = Thread(), Thread()
    slot = added(added(None, a), b)
    assert removed(removed(slot, a), b) is None


def test_contains() -> None:
    a, b, c = (Thread() for _ in range(3))
    assert not contains(None, a)
    assert contains(a, a)
    assert not contains(a, b)
    slot = added(added(None, a), b)
    assert contains(slot, a)
    assert not contains(slot, c)


def test_against_a_plain_model() -> None:
    chance = random.Random(3)
    threads = [Thread() for _ in range(8)]
    slot: Slot = None
    model: list[Thread] = []
    for _ in range(5_000):
        thread = chance.choice(threads)
        match chance.randrange(4):
            case 0 if thread not in model:
                slot = added(slot, thread)
                model.append(thread)
            case 1 if thread not in model:
                slot = added(slot, thread, first=True)
                model.insert(0, thread)
            case 2:
                slot = removed(slot, thread)
                if thread in model:
                    model.remove(thread)
            case 3 if slot is not None:
                taken, slot = first_and_rest(slot)
                assert taken is model.pop(0)
        assert (slot is None) == (not model)
        assert all(contains(slot, each) == (each in model) for each in threads)
