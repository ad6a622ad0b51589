"""The watchdog's OS thread asleep: what wakes it, and what it need not look at."""

from __future__ import annotations

import time
from typing import Any

import pytest

from capriccio_patch.preemption import sleeper
from capriccio_patch.preemption.sleeper import Sleeper

TIMES = (0.01, 0.02, 0.03, 4.0)


class FakePulse:
    """Tells what it is given, and keeps what it is told."""

    def __init__(self, found: tuple[int, float, float, float, bool] | None) -> None:
        self.found = found
        self.watched: list[tuple[Any, ...]] = []
        self.woken: list[bytearray] = []

    def watch(
        self, word: bytearray, schedstat: int, *times: float
    ) -> tuple[int, float, float, float, bool] | None:
        """What the test has set."""
        self.watched.append((word, schedstat, *times))
        return self.found

    def wake(self, word: bytearray) -> None:
        """Remembered."""
        self.woken.append(word)


class FakeLateness:
    """Keeps where it was told to go on from."""

    def __init__(self) -> None:
        self.went_on: list[tuple[float, int, float]] = []

    def go_on_from(self, *told: Any) -> None:
        """Remembered."""
        self.went_on.append(told)


@pytest.fixture
def schedstat(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is kept for the OS thread 7."""
    monkeypatch.setattr(sleeper, "kept", lambda native_id: 5 if native_id == 7 else -1)


def test_the_pulse_tells_for_how_long_nothing_has_switched(schedstat: None) -> None:
    pulse, lateness = FakePulse((3, 1.5, 0.25, 0.008, True)), FakeLateness()
    assert Sleeper(pulse).pause(7, TIMES, lateness) == (0.008, True)  # type: ignore[arg-type]
    assert pulse.watched[0][1:] == (5, *TIMES)
    assert lateness.went_on == [(1.5, 3, 0.25)]


def test_without_a_switch_lateness_counts_from_before(schedstat: None) -> None:
    pulse, lateness = FakePulse((0, 0.0, 0.0, 0.01, True)), FakeLateness()
    assert Sleeper(pulse).pause(7, TIMES, lateness) == (0.01, True)  # type: ignore[arg-type]
    assert not lateness.went_on


@pytest.mark.parametrize(
    ("pulse", "native_id"),
    [(None, 7), (FakePulse(None), 7), (FakePulse((0, 0.0, 0.0, 0.0, True)), 8)],
    ids=["no core", "a turn that is not C's", "no file"],
)
def test_where_nothing_is_known_it_sleeps(
    schedstat: None, pulse: FakePulse | None, native_id: int
) -> None:
    before = time.monotonic()
    found = Sleeper(pulse).pause(native_id, TIMES, FakeLateness())  # type: ignore[arg-type]
    assert found == (TIMES[0], False)
    assert time.monotonic() - before >= TIMES[0]


def test_it_is_woken_once_also_beforehand() -> None:
    one = Sleeper(None)
    one.wake()
    one.wake()
    assert one.sleep(10.0)
    assert not one.sleep(0.001)


def test_stopping_ends_either_sleep() -> None:
    pulse = FakePulse(None)
    one = Sleeper(pulse)
    one.stop()
    assert one.stopping
    assert one.sleep(10.0)
    assert len(pulse.woken) == 1


def test_it_looks_ever_less_often_until_it_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    me = Sleeper(None)

    def sleep(_: Sleeper, seconds: float) -> bool:
        slept.append(seconds)
        return me.stopping

    monkeypatch.setattr(Sleeper, "sleep", sleep)
    pauses = iter([1.0, 100.0, 1.0, 1.0, 1.0, 1.0])
    assert not me.sleep_and_look(1.5, lambda: next(pauses))
    assert slept == [1.5, 3.0, 100.0, 200.0, 400.0, 800.0]
    me.stopping = True
    assert me.sleep_and_look(1.5, lambda: next(pauses))
