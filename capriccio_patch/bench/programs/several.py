"""python several.py CASE SECONDS: how many operations a second, as JSON; ``gil``: is there one.

What several processors may share: threads that compute, wait, take one lock, hand things to each
other or are started.  By the clock, while ``threads.py`` tells the CPU time of an operation.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

from parent import say  # type: ignore[import-not-found]

_THREADS = 8
_LONG = 900
_SHORT = 70
_WITHIN, _WITHOUT = 100, 300
REQUEST = 1700
"""Steps, of some 25 ns each: about 22, 2, 2, 6 and 45 us."""

_is_over = False
_lock = threading.Lock()


def work(steps: int) -> int:
    """Plain Python."""
    total = 0
    for step in range(steps):
        total += step
    return total


def computing() -> None:
    """Nothing but that."""
    work(_LONG)


def long() -> None:
    """Much of it, and a switch."""
    work(_LONG)
    time.sleep(0)


def short() -> None:
    """Little of it, and a switch."""
    work(_SHORT)
    time.sleep(0)


def switch() -> None:
    """A switch alone."""
    time.sleep(0)


def lock() -> None:
    """A part of it under the one lock."""
    with _lock:
        work(_WITHIN)
    work(_WITHOUT)


def together(calls: list[Callable[[], int]], seconds: float) -> float:
    """Each call in a thread until ``_is_over``; what all have done, a second.

    None begins before all threads are there: the start of one beside those that compute takes long.
    """
    global _is_over
    done: list[int] = []
    gate = threading.Event()

    def run(call: Callable[[], int]) -> None:
        gate.wait()
        done.append(call())

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    started = time.perf_counter()
    gate.set()
    time.sleep(seconds)
    _is_over = True
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - started)


def repeated(step: Callable[[], None], seconds: float) -> float:
    """The same by each of the threads."""

    def loop() -> int:
        count = 0
        while not _is_over:
            step()
            count += 1
        return count

    return together([loop] * _THREADS, seconds)


def pairs(seconds: float) -> float:
    """As many pairs, whose threads answer each other: an item put and got."""

    def player(mine: queue.SimpleQueue[None], other: queue.SimpleQueue[None]) -> int:
        count = 0
        while not _is_over:
            mine.get()
            other.put(None)
            count += 1
        other.put(None)
        return count

    calls: list[Callable[[], int]] = []
    for _ in range(_THREADS):
        one, two = queue.SimpleQueue[None](), queue.SimpleQueue[None]()
        one.put(None)
        calls += [partial(player, one, two), partial(player, two, one)]
    return together(calls, seconds)


def start(seconds: float) -> float:
    """One thread after the other, started and joined."""
    count = 0
    started = time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
        count += 1
    return count / passed


def main(case: str, seconds: float) -> None:
    """Do it for so long, and tell."""
    if case == "gil":
        say(gil=getattr(sys, "_is_gil_enabled", lambda: True)())
        return
    step = {each.__name__: each for each in (computing, long, short, switch, lock)}.get(case)
    if step is not None:
        rate = repeated(step, seconds)
    else:
        rate = {"pairs": pairs, "start": start}[case](seconds)
    say(**{case: rate})


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
