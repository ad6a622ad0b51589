"""python crowd.py parked N | growth N SECONDS: many threads that wait, as JSON.

``parked``: what N waiting threads take: bytes of memory each, how many are made and woken in a
second of CPU time.  ``growth``: the CPU seconds of operations beside N waiting threads.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from parent import say  # type: ignore[import-not-found]
from threads import measure, start_join, together, yields  # type: ignore[import-not-found]


def resident() -> int:
    """The memory of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("no VmRSS in /proc/self/status")


class Crowd:
    """Threads that wait until they are let go."""

    def __init__(self, n: int, seconds: float = -1) -> None:
        """`n` threads, each of which waits for a lock of its own, `seconds` at most."""
        self._timeout = seconds
        self._inside = 0
        self._gates = [threading.Lock() for _ in range(n)]
        self.threads = [
            threading.Thread(target=self._wait, args=(gate,), daemon=True) for gate in self._gates
        ]

    def _wait(self, gate: threading.Lock) -> None:
        gate.acquire()
        self._inside += 1
        gate.acquire(timeout=self._timeout)

    def enter(self) -> None:
        """Start them, until all wait."""
        for thread in self.threads:
            thread.start()
        while self._inside < len(self.threads):
            time.sleep(0.001)

    def leave(self) -> None:
        """Wake them all, until all have ended."""
        for gate in self._gates:
            gate.release()
        for thread in self.threads:
            thread.join()


def timers(n: int) -> float:
    """Waits with a timeout that are over before it."""
    lock = threading.Lock()
    other = threading.Lock()
    other.acquire()

    def one() -> None:
        for _ in range(n):
            lock.acquire(timeout=3600)
            other.release()

    def two() -> None:
        for _ in range(n):
            other.acquire(timeout=3600)
            lock.release()

    lock.acquire()
    return float(together(one, two, lock.release)) / 2


def parked(n: int) -> dict[str, float]:
    """Memory and rates of `n` threads."""
    before = resident()
    made = time.process_time()
    crowd = Crowd(n)
    crowd.enter()
    parked = time.process_time()
    size = resident() - before
    woken = time.process_time()
    crowd.leave()
    left = time.process_time()
    return {"bytes": size / n, "create": n / (parked - made), "wake": n / (left - woken)}


def growth(n: int, seconds: float) -> dict[str, float]:
    """The cost of operations beside `n` threads that wait, each with a deadline."""
    crowd = Crowd(n, 100_000.0)
    crowd.enter()
    costs = {
        "yield": measure(lambda n: yields(n, 10), seconds),
        "timeout": measure(timers, seconds),
        "start": measure(start_join, seconds),
    }
    crowd.leave()
    return costs


if __name__ == "__main__":
    if sys.argv[1] == "parked":
        say(**parked(int(sys.argv[2])))
    else:
        say(**growth(int(sys.argv[2]), float(sys.argv[3])))
