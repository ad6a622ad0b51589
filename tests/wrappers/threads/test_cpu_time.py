"""What a thread is charged with is what it has used itself."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable

import pytest

from capriccio_patch.cpython import originals
from tests.conftest import SEVERAL, forks

CLOCKS: dict[str, Callable[[], float]] = {
    "thread_time": time.thread_time,
    "thread_time_ns": lambda: time.thread_time_ns() / 1e9,
    "clock_gettime": lambda: time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID),
    "clock_gettime_ns": lambda: time.clock_gettime_ns(time.CLOCK_THREAD_CPUTIME_ID) / 1e9,
    "getrusage": lambda: sum(resource.getrusage(resource.RUSAGE_THREAD)[:2]),
}

of_the_os = time.process_time if SEVERAL else originals.thread_time
"""What all green threads have used, as the system counts it; other OS threads use next to none."""


def burn(seconds: float) -> None:
    """Use the CPU for so long, as the system counts it, and let others run meanwhile."""
    end = originals.thread_time() + seconds
    while originals.thread_time() < end:
        time.sleep(0)


@pytest.fixture(params=CLOCKS)
def clock(patched: None, request: pytest.FixtureRequest) -> Callable[[], float]:
    return CLOCKS[request.param]


def test_who_sleeps_is_charged_with_nothing(clock: Callable[[], float]) -> None:
    thread = threading.Thread(target=burn, args=(0.1,))
    thread.start()
    before = clock()
    thread.join()
    assert clock() - before < 0.02


def test_each_is_charged_with_its_own(clock: Callable[[], float]) -> None:
    used: dict[float, float] = {}

    def run(seconds: float) -> None:
        before = clock()
        while clock() < before + seconds:
            pass
        time.sleep(0.001)
        used[seconds] = clock() - before

    system = of_the_os()
    threads = [threading.Thread(target=run, args=(seconds,)) for seconds in (0.02, 0.06)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.02 <= used[0.02] < 0.04
    assert 0.06 <= used[0.06] < 0.08
    assert of_the_os() - system >= 0.08


@pytest.mark.one_processor
def test_the_sum_is_what_the_os_thread_has_used(clock: Callable[[], float]) -> None:
    used: list[float] = []

    def run() -> None:
        before = clock()
        burn(0.02)
        used.append(clock() - before)

    mine = clock()
    system = originals.thread_time()
    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = sum(used) + clock() - mine
    assert total == pytest.approx(originals.thread_time() - system, abs=0.02)


def test_it_never_goes_back(clock: Callable[[], float]) -> None:
    def run() -> None:
        last = clock()
        for _ in range(50):
            time.sleep(0)
            now = clock()
            assert now >= last
            last = now

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    run()
    for thread in threads:
        thread.join()


@forks
def test_in_a_forked_child(clock: Callable[[], float]) -> None:
    clock()
    burn(0.2)
    child = os.fork()  # after which a large child has pages to copy
    if child == 0:
        os._exit(not 0 <= clock() < 0.2)
    assert os.waitpid(child, 0)[1] == 0


def test_other_clocks_and_wrong_calls(patched: None) -> None:
    assert time.clock_gettime(time.CLOCK_MONOTONIC) <= time.monotonic()
    assert sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) > 0
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_maxrss > 0
    with pytest.raises(TypeError):
        time.clock_gettime()  # type: ignore[call-arg]
    with pytest.raises(OSError, match="Invalid argument"):
        time.clock_gettime(12345)


def test_threads_that_have_ended_are_forgotten(patched: None) -> None:
    import weakref

    time.thread_time()
    ended: list[weakref.ref[threading.Thread]] = []
    for _ in range(300):
        thread = threading.Thread(target=time.thread_time)
        thread.start()
        thread.join()
        ended.append(weakref.ref(thread))
        del thread
    assert not [each for each in ended if each() is not None]
