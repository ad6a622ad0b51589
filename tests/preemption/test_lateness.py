"""For how long a thread is at fault that has kept the watchdog waiting."""

from __future__ import annotations

import os
from typing import Any

import pytest

from capriccio_patch.cpython import originals
from capriccio_patch.io import os_threads
from capriccio_patch.preemption import lateness
from capriccio_patch.preemption.lateness import Lateness

PAUSE, INTERVAL = 0.01, 0.001


class System:
    """What the system tells: seconds, and numbers of switches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.cpu = 0.0
        self.delay: float | None = 0.0
        self.waits = self.forced = 0
        monkeypatch.setattr(originals, "monotonic", lambda: self.now)
        monkeypatch.setattr(lateness, "cpu_delay", lambda number, pread: self.delay)
        monkeypatch.setattr(Lateness, "_cpu_time", lambda _: self.cpu)
        monkeypatch.setattr(Lateness, "_switches", lambda _: (self.waits, self.forced))
        if lateness._usage is None:
            pytest.skip("the system tells nothing of threads")


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    return System(monkeypatch)


def measured(system: System, **changes: Any) -> tuple[float, float]:
    """What is said, and excused, of what has changed since the look before."""
    measure = Lateness(originals.get_ident(), 0)
    for name, change in changes.items():
        setattr(system, name, getattr(system, name) + change)
    return measure.since_last(PAUSE, INTERVAL), measure.excused


def test_in_time(system: System) -> None:
    assert measured(system, now=PAUSE) == (PAUSE, 0.0)


def test_a_call_that_keeps_the_gil(system: System) -> None:
    assert measured(system, now=0.41, waits=400) == pytest.approx((0.41, 0.0))


def test_a_gil_that_is_free_too_often_for_who_waits_for_it(system: System) -> None:
    """It is taken again before the watchdog, which each time is woken, has come to run."""
    assert measured(system, now=0.3, waits=900) == pytest.approx((PAUSE, 0.0))


def test_whatever_else_the_process_loses_its_cpu_for(system: System) -> None:
    assert measured(system, now=0.41, waits=400, forced=9) == pytest.approx((0.41, 0.0))


def test_a_thread_that_waited_for_a_cpu(system: System) -> None:
    said, _ = measured(system, now=0.41, waits=400, forced=1, delay=0.4)
    assert said == pytest.approx(PAUSE)


def test_a_thread_without_a_cpu_that_has_let_go_of_the_gil(system: System) -> None:
    assert measured(system, now=PAUSE, delay=PAUSE) == pytest.approx((PAUSE, PAUSE))


def test_a_process_that_was_stopped(system: System) -> None:
    assert measured(system, now=5.0, waits=1) == pytest.approx((PAUSE + INTERVAL, 0.0))


def test_where_the_system_does_not_tell_of_delays(system: System) -> None:
    system.delay = None
    measure = Lateness(originals.get_ident(), 0)
    assert not measure.is_sure
    system.now, system.waits, system.forced, system.cpu = 0.41, 400, 2, 0.05
    assert measure.since_last(PAUSE, INTERVAL) == pytest.approx(PAUSE + 0.05)


def test_each_watchdog_closes_its_own_file() -> None:
    if not os.path.exists("/proc/self/task"):
        pytest.skip("the system tells nothing of threads")
    ended = originals.allocate_lock()
    other: list[int] = []

    def run() -> None:
        other.append(originals.get_native_id())
        lateness.keep(other[0])
        started.release()
        ended.acquire()

    started = originals.allocate_lock()
    ended.acquire()
    started.acquire()
    os_threads.start(run, ())
    started.acquire()
    mine = originals.get_native_id()
    lateness.keep(mine)
    try:
        lateness.forget(mine)
        assert lateness.kept(mine) == -1
        assert lateness.kept(other[0]) >= 0
        lateness.forget(mine)
    finally:
        lateness.forget_all()
        ended.release()
    assert lateness.kept(other[0]) == -1
