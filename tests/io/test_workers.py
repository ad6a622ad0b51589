"""Blocking calls made on OS threads while the caller parks."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from capriccio_patch.backends.sockets import create_backend
from capriccio_patch.cpython import originals
from capriccio_patch.io import os_threads, workers
from capriccio_patch.io.workers import Workers
from capriccio_patch.kernel.core import Kernel
from capriccio_patch.schedulers.fifo import FifoScheduler


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """A kernel over a real scheme: workers notify it."""
    backend = create_backend("select")
    yield Kernel(backend, FifoScheduler())
    backend.close()


class Gate:
    """Calls that block an OS thread until they are let through."""

    def __init__(self) -> None:
        self._lock = originals.allocate_lock()
        originals.lock_acquire(self._lock)
        self.entered: list[int] = []

    def pass_through(self, value: Any) -> Any:
        self.entered.append(originals.get_ident())
        originals.lock_acquire(self._lock)
        originals.lock_release(self._lock)
        return value

    def open(self) -> None:
        originals.lock_release(self._lock)


CALLS = [Workers.call, Workers.call_alone]
Call = Callable[..., Any]


def gather(kernel: Kernel, calls: list[Callable[[], Any]]) -> list[Any]:
    """Start threads that make the calls; what they will have returned or raised."""
    results: list[Any] = []

    def run(call: Callable[[], Any]) -> None:
        try:
            results.append(call())
        except Exception as error:
            results.append(error)

    for call in calls:
        kernel.spawn(lambda call=call: run(call))  # type: ignore[misc]
    return results


def until(kernel: Kernel, condition: Callable[[], Any]) -> None:
    """Let others run until `condition` holds."""
    while not condition():
        kernel.sleep_until(kernel.clock() + 0.001)


@pytest.mark.parametrize("call", CALLS)
def test_result_and_arguments(kernel: Kernel, call: Call) -> None:
    assert call(Workers(kernel), divmod, 7, 2) == (3, 1)


@pytest.mark.parametrize("call", CALLS)
def test_exceptions_come_back(kernel: Kernel, call: Call) -> None:
    class Failure(Exception):
        pass

    def fail(text: str) -> None:
        raise Failure(text)

    held = None
    try:
        call(Workers(kernel), fail, "so")
    except Failure as failure:
        told = failure.args
        held = weakref.ref(failure)
    assert held is not None
    assert told == ("so",)
    assert held() is None  # no cycle keeps it, nor what its frames hold


@pytest.mark.parametrize("call", CALLS)
def test_system_exit_does_too(kernel: Kernel, call: Call) -> None:
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        call(Workers(kernel), leave)


@pytest.mark.parametrize("call", CALLS)
def test_the_call_is_made_elsewhere_and_others_run(kernel: Kernel, call: Call) -> None:
    gate = Gate()
    pool = Workers(kernel)
    results = gather(kernel, [lambda: call(pool, gate.pass_through, 1)])
    until(kernel, lambda: gate.entered)  # this thread runs while the call blocks
    assert gate.entered != [kernel.os_ident]
    assert results == []
    gate.open()
    until(kernel, lambda: results)
    assert results == [1]


@pytest.mark.parametrize("call", CALLS)
def test_on_another_os_thread_the_call_is_direct(kernel: Kernel, call: Call) -> None:
    pool = Workers(kernel)
    idents: list[int] = []

    def foreign() -> None:
        idents.append(originals.get_ident())
        idents.append(call(pool, originals.get_ident))

    originals.start_new_thread(foreign, ())
    until(kernel, lambda: len(idents) == 2)
    assert idents[0] == idents[1]


def test_calls_beyond_the_bound_wait_in_order(kernel: Kernel) -> None:
    gate = Gate()
    pool = Workers(kernel, limit=2)
    calls = [lambda n=n: pool.call(gate.pass_through, n) for n in range(5)]  # type: ignore[misc]
    results = gather(kernel, calls)
    until(kernel, lambda: len(gate.entered) == 2)
    assert pool.running() == 2
    gate.open()
    until(kernel, lambda: len(results) == 5)
    assert sorted(results) == list(range(5))
    assert len(set(gate.entered)) <= 2


def test_an_idle_worker_is_used_again(kernel: Kernel) -> None:
    pool = Workers(kernel)
    idents = set()
    for _ in range(20):
        idents.add(pool.call(originals.get_ident))
        until(kernel, lambda: pool._idle)
    assert len(idents) == 1


def test_a_bound_costs_nothing(kernel: Kernel) -> None:
    """The waits for locks of other processes have a pool that is as good as unbounded."""
    assert Workers(kernel, limit=1 << 60).call(abs, -1) == 1


def test_idle_workers_end(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "IDLE", 0.01)
    pool = Workers(kernel)
    pool.call(abs, -1)
    until(kernel, lambda: pool.running() == 0)
    assert not pool._idle
    assert pool.call(abs, -1) == 1


def test_alone_does_not_use_up_the_pool(kernel: Kernel) -> None:
    gate = Gate()
    pool = Workers(kernel, limit=1)
    results = gather(kernel, [lambda: pool.call_alone(gate.pass_through, 1)] * 3)
    until(kernel, lambda: len(gate.entered) == 3)
    assert pool.call(abs, -1) == 1
    gate.open()
    until(kernel, lambda: len(results) == 3)


class Batch:
    """Brief jobs, by number, that note when they begin and end and wait at a gate in between."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.begun: list[int] = []
        self.ended: list[int] = []

    def submit(self, pool: Workers, *numbers: int) -> None:
        for number in numbers:
            pool.submit(_Numbered(self, number), brief=True)


class _Numbered:
    def __init__(self, batch: Batch, number: int) -> None:
        self.batch, self.number = batch, number

    def run(self) -> None:
        self.batch.begun.append(self.number)
        self.batch.gate.pass_through(None)
        self.batch.ended.append(self.number)


def test_of_brief_jobs_only_some_are_under_way(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others follow in their order; what is not brief does not wait for them."""
    monkeypatch.setattr(workers, "STALL", 30.0)
    pool = Workers(kernel)
    batch = Batch()
    batch.submit(pool, *range(3 * workers.BRIEF))
    until(kernel, lambda: len(batch.begun) == workers.BRIEF)
    assert pool.call(abs, -1) == 1
    assert sorted(batch.begun) == list(range(workers.BRIEF))
    batch.gate.open()
    until(kernel, lambda: len(batch.ended) == 3 * workers.BRIEF)
    assert sorted(batch.ended) == list(range(3 * workers.BRIEF))
    batch.submit(pool, -1)
    until(kernel, lambda: -1 in batch.ended)


def test_brief_jobs_that_take_long_do_not_keep_others_waiting(kernel: Kernel) -> None:
    """All of them wait for the gate: so all are let in, soon."""
    pool = Workers(kernel)
    batch = Batch()
    batch.submit(pool, *range(5 * workers.BRIEF))
    until(kernel, lambda: len(batch.begun) == 5 * workers.BRIEF)
    batch.gate.open()
    until(kernel, lambda: len(batch.ended) == 5 * workers.BRIEF)


def test_an_interrupted_caller_leaves_and_the_result_is_dropped(kernel: Kernel) -> None:
    gate = Gate()
    pool = Workers(kernel)
    results = gather(kernel, [lambda: pool.call(gate.pass_through, 1)])
    until(kernel, lambda: gate.entered)
    (caller,) = (thread for thread in kernel.threads.values() if thread is not kernel.main)
    kernel.interrupt(caller, lambda: 1 / 0)
    until(kernel, lambda: results)
    assert isinstance(results[0], ZeroDivisionError)
    gate.open()
    assert pool.call(abs, -2) == 2  # and the kernel is none the worse for it
    until(kernel, lambda: len(pool._idle) == pool.running())


def test_no_os_thread_to_be_had(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    pool = Workers(kernel)
    with monkeypatch.context() as patch:
        patch.setattr(os_threads, "start", refuse)
        patch.setattr(os_threads, "start_hearing", refuse)
        for call in (pool.call, pool.call_alone, pool.call_hearing):
            assert call(originals.get_ident) == kernel.os_ident  # better than an error
        assert kernel.current is kernel.main
        assert not kernel.main.parked
    assert pool.call(abs, -1) == 1


def test_no_further_os_thread_but_one_that_works(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    pool = Workers(kernel)
    results = gather(kernel, [lambda: pool.call(gate.pass_through, 1)])
    until(kernel, lambda: gate.entered)
    start = os_threads.start

    def refuse(*_: Any) -> None:
        gate.open()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(os_threads, "start", refuse)
    assert pool.call(abs, -3) == 3
    monkeypatch.setattr(os_threads, "start", start)
    until(kernel, lambda: results)
