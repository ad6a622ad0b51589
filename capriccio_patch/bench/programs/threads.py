"""python threads.py CASE SECONDS: the CPU time of one operation, in seconds, as JSON.

Each case is a function that does `n` operations and returns the CPU seconds that they took.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from parent import say  # type: ignore[import-not-found]

_EARLY: Any = getattr(sys, "early_locks", (threading.Lock(), threading.RLock()))
_BATCH = 100


def timed(call: Callable[..., Any], *args: Any) -> float:
    """The CPU seconds of a call."""
    started = time.process_time()
    call(*args)
    return time.process_time() - started


def together(*calls: Callable[[], Any]) -> float:
    """The CPU seconds of several threads, one for each call; the start of threads not counted."""
    gate = threading.Event()

    def run(call: Callable[[], Any]) -> None:
        gate.wait()
        call()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()

    def measured() -> None:
        gate.set()
        for thread in threads:
            thread.join()

    return timed(measured)


def yields(n: int, threads: int) -> float:
    """time.sleep(0) by some threads."""

    def loop() -> None:
        for _ in range(n // threads):
            time.sleep(0)

    return together(*[loop] * threads)


def contended(n: int, threads: int = 16) -> float:
    """Threads that take one lock and yield while they hold it."""
    lock = threading.Lock()

    def loop() -> None:
        for _ in range(n // threads):
            with lock:
                time.sleep(0)

    return together(*[loop] * threads)


def _with(lock: Any, n: int) -> float:
    def loop() -> None:
        for _ in range(n):
            with lock:
                pass

    return timed(loop)


def lock(n: int) -> float:
    """An uncontended Lock."""
    return _with(threading.Lock(), n)


def rlock(n: int) -> float:
    """An uncontended RLock."""
    return _with(threading.RLock(), n)


def early_lock(n: int) -> float:
    """A Lock made before the patch."""
    return _with(_EARLY[0], n)


def early_rlock(n: int) -> float:
    """An RLock made before the patch."""
    return _with(_EARLY[1], n)


def handoff(n: int) -> float:
    """Two threads that wake each other with two locks."""
    mine, other = threading.Lock(), threading.Lock()
    mine.acquire()

    def one() -> None:
        for _ in range(n):
            other.acquire()
            mine.release()

    def two() -> None:
        for _ in range(n):
            mine.acquire()
            other.release()

    return together(one, two) / 2


def condition(n: int) -> float:
    """Two threads that take turns by a Condition."""
    changed = threading.Condition()
    turn = 0

    def player(mine: int) -> None:
        nonlocal turn
        for _ in range(n):
            with changed:
                while turn != mine:
                    changed.wait()
                turn = 1 - mine
                changed.notify()

    return together(lambda: player(0), lambda: player(1)) / 2


def event(n: int) -> float:
    """Two threads that take turns by two Events."""
    ping, pong = threading.Event(), threading.Event()

    def player(mine: threading.Event, other: threading.Event) -> None:
        for _ in range(n):
            mine.wait()
            mine.clear()
            other.set()

    ping.set()
    return together(lambda: player(ping, pong), lambda: player(pong, ping)) / 2


def _queue_turns(kind: Callable[[], Any], n: int) -> float:
    ping, pong = kind(), kind()

    def one() -> None:
        for _ in range(n):
            ping.put(None)
            pong.get()

    def two() -> None:
        for _ in range(n):
            ping.get()
            pong.put(None)

    return together(one, two) / 2


def queue_turns(n: int) -> float:
    """Two threads that take turns by two Queues."""
    return _queue_turns(queue.Queue, n)


def simple_queue_turns(n: int) -> float:
    """Two threads that take turns by two SimpleQueues."""
    return _queue_turns(queue.SimpleQueue, n)


def _stream(items: Any, n: int) -> float:
    room = threading.Semaphore(2)

    def producer() -> None:
        for _ in range(n // _BATCH):
            room.acquire()
            for _ in range(_BATCH):
                items.put(None)

    def consumer() -> None:
        for _ in range(n // _BATCH):
            for _ in range(_BATCH):
                items.get()
            room.release()

    return together(producer, consumer)


def queue_stream(n: int) -> float:
    """A Queue from one thread to another, by hundreds."""
    return _stream(queue.Queue(), n)


def simple_queue_stream(n: int) -> float:
    """A SimpleQueue from one thread to another, by hundreds."""
    return _stream(queue.SimpleQueue(), n)


def socketpair(n: int) -> float:
    """Two threads that send each other a byte."""
    one, two = socket.socketpair()

    def player(mine: socket.socket, first: bool) -> None:
        if first:
            mine.send(b"x")
        for _ in range(n):
            mine.recv(1)
            mine.send(b"x")

    with one, two:
        return together(lambda: player(one, True), lambda: player(two, False)) / 2


def pipe(n: int) -> float:
    """Two threads that send each other a byte by two pipes."""
    there, back = os.pipe(), os.pipe()

    def player(mine: int, other: int) -> None:
        for _ in range(n):
            os.read(mine, 1)
            os.write(other, b"x")

    os.write(there[1], b"x")
    took = together(lambda: player(there[0], back[1]), lambda: player(back[0], there[1]))
    for end in (*there, *back):
        os.close(end)
    return took / 2


def start_join(n: int) -> float:
    """One thread after the other, started and joined."""

    def loop() -> None:
        for _ in range(n):
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()

    return timed(loop)


def start_all(n: int) -> float:
    """Ten thousand threads at a time, started, then joined."""

    def loop() -> None:
        for left in range(n, 0, -10_000):
            threads = [threading.Thread(target=int) for _ in range(min(left, 10_000))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    return timed(loop)


def pool(n: int) -> float:
    """Calls of nothing by a ThreadPoolExecutor of 32."""
    with ThreadPoolExecutor(32) as executor:
        return timed(
            lambda: [future.result() for future in [executor.submit(int) for _ in range(n)]]
        )


def compute(n: int) -> float:
    """A loop that computes, beside a thread that waits."""
    done = threading.Event()
    waiting = threading.Thread(target=done.wait)
    waiting.start()

    def loop() -> None:
        total = 0
        for each in range(n):
            total = (total * 31 + each) % 1_000_003

    try:
        return timed(loop)
    finally:
        done.set()
        waiting.join()


_FIXED = {"start_all": 10_000, "pool": 10_000}
"""Operations in one go, where their number is part of the case."""


def measure(call: Callable[[int], float], seconds: float, n: int = 0) -> float:
    """The CPU seconds of one operation, over about `seconds`."""
    if n:
        return call(n) / n
    n = 100
    while True:
        took = call(n)
        if took >= seconds / 2:
            return took / n
        n = max(2 * n, min(10 * n, int(n * seconds / max(took, 1e-6)) // _BATCH * _BATCH))


def case(name: str, functions: dict[str, Any]) -> Callable[[int], float]:
    """The function of that name; ``NAME_N``: for so many threads."""
    function, _, threads = name.rpartition("_")
    if not threads.isdecimal():
        return functions[name]  # type: ignore[no-any-return]
    return lambda n: functions[function](n, int(threads))


if __name__ == "__main__":
    name = sys.argv[1]
    say(**{name: measure(case(name, globals()), float(sys.argv[2]), _FIXED.get(name, 0))})
