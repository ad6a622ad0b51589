"""One interval for several watchdogs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from capriccio_patch.cpython import originals
from capriccio_patch.preemption import gil_interval

first, second = object(), object()


@pytest.fixture(autouse=True)
def programs() -> Iterator[float]:
    before = originals.getswitchinterval()
    originals.setswitchinterval(0.004)
    yield 0.004
    gil_interval.take_back(first)
    gil_interval.take_back(second)
    originals.setswitchinterval(before)


def now() -> float:
    assert gil_interval.current() == pytest.approx(originals.getswitchinterval())
    return round(originals.getswitchinterval(), 6)


def test_the_shortest_counts_until_it_is_taken_back(programs: float) -> None:
    gil_interval.ask(first, 0.002)
    assert now() == 0.002
    gil_interval.ask(second, 0.001)
    assert now() == 0.001
    assert gil_interval.programs() == programs
    gil_interval.take_back(second)
    assert now() == 0.002
    gil_interval.take_back(first)
    assert now() == programs


def test_it_is_no_longer_than_the_programs(programs: float) -> None:
    gil_interval.ask(first, 1.0)
    assert now() == programs


def test_what_the_program_sets_meanwhile_is_in_force_afterwards() -> None:
    gil_interval.ask(first, 0.002)
    gil_interval.program_sets(0.003)
    gil_interval.ask(first, 0.001)
    assert now() == 0.001
    assert gil_interval.programs() == 0.003
    gil_interval.take_back(first)
    assert now() == 0.003


def test_who_asks_for_nothing_takes_nothing_back(programs: float) -> None:
    gil_interval.ask(first, 0.002)
    gil_interval.take_back(second)
    assert now() == 0.002
    gil_interval.take_back(first)
    originals.setswitchinterval(0.006)
    gil_interval.take_back(first)
    assert round(gil_interval.programs(), 6) == 0.006


def test_a_forked_child_has_one_watchdog() -> None:
    gil_interval.ask(first, 0.002)
    gil_interval.ask(second, 0.001)
    gil_interval.keep_only(first)
    assert now() == 0.002
