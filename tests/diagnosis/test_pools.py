"""Pools all of whose threads wait for calls that they have yet to make."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.diagnosis.pools import stopped_pools, waiting_pools
from tests.conftest import RunScript

Wait = Callable[[ThreadPoolExecutor], object]


@pytest.fixture
def stopped() -> Iterator[Callable[..., int]]:
    """How many threads stopped pools have, with a pool of two whose calls are given."""
    from tests.inside import applied

    capriccio_patch.patch_all(deadlock="off")
    pools = []

    def stopped(*calls: Wait, most: int = 2, cls: type = ThreadPoolExecutor) -> int:
        pools.append(pool := cls(most))
        for call in calls:
            pool.submit(call, pool)
        time.sleep(0.01)
        kernel = applied().runtime.kernel
        return sum(map(len, stopped_pools(kernel, waiting_pools(kernel, kernel.clock()))))

    yield stopped
    for pool in pools:
        pool.shutdown(wait=False, cancel_futures=True)
    for thread in [each for each in threading.enumerate() if "ThreadPool" in each.name]:
        thread.join()
    capriccio_patch.unpatch_all()


def waits(pool: ThreadPoolExecutor) -> object:
    time.sleep(0.001)  # until all have begun
    return pool.submit(int).result()


def waits_for_many(pool: ThreadPoolExecutor) -> object:
    time.sleep(0.001)
    return list(pool.map(int, "12"))


def waits_a_while(pool: ThreadPoolExecutor) -> object:
    time.sleep(0.001)
    return pool.submit(int).result(0.1)


def sleeps(pool: ThreadPoolExecutor) -> object:
    return time.sleep(0.1)


def is_done(pool: ThreadPoolExecutor) -> object:
    return None


def test_all_wait(stopped: Callable[..., int]) -> None:
    assert stopped(waits, waits_for_many) == 2


def waits_for_others(pool: ThreadPoolExecutor) -> object:
    changed = threading.Condition()
    threading.Timer(0.1, lambda: notify(changed)).start()
    with changed:
        return changed.wait()


def notify(changed: threading.Condition) -> None:
    with changed:
        changed.notify()


@pytest.mark.parametrize("other", [waits_a_while, waits_for_others, sleeps, is_done])
def test_one_goes_on(stopped: Callable[..., int], other: Wait) -> None:
    assert stopped(waits, other) == 0


def test_a_pool_that_may_have_more_threads_or_is_of_another_kind(
    stopped: Callable[..., int],
) -> None:
    class Own(ThreadPoolExecutor):
        pass

    assert stopped(waits, waits, most=4) == 0
    assert stopped(waits, waits, cls=Own) == 0


def test_a_future_that_is_in_no_queue(stopped: Callable[..., int]) -> None:
    given: Future[Any] = Future()
    other = ThreadPoolExecutor(1)
    event = threading.Event()
    assert stopped(waits, lambda _: given.result()) == 0
    assert stopped(waits, lambda _: other.submit(event.wait).result()) == 0
    given.set_result(None)
    event.set()
    other.shutdown()


@pytest.mark.one_processor
def test_it_is_told_once_and_goes_on_when_a_call_is_cancelled(run_script: RunScript) -> None:
    done = run_script(
        """
        import time, warnings
        from concurrent.futures import CancelledError, ThreadPoolExecutor
        import capriccio_patch
        capriccio_patch.patch_all()
        shown = []
        warnings.showwarning = lambda message, *rest: shown.append(str(message))
        warnings.simplefilter("always")
        pool = ThreadPoolExecutor(1)
        def outer():
            inner.append(pool.submit(int))
            try:
                inner[0].result()
            except CancelledError:
                return "cancelled"
        inner = []
        result = pool.submit(outer)
        limit = time.monotonic() + 30
        while not shown and time.monotonic() < limit:
            time.sleep(0.01)
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            time.sleep(0.01)
        assert len(shown) == 1, shown
        assert shown[0].startswith("deadlock: a pool's thread waits for calls"), shown
        inner[0].cancel()
        print(result.result())
        """
    )
    assert done.stdout == "cancelled\n"
