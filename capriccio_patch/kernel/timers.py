"""Deadlines: a heap with lazy removal, at most one live entry for each thread.

1. A thread that waits again with a later deadline keeps its entry: the entry fires early, sees the
   later deadline and moves there.  A socket with a timeout so costs one entry, not one a request.
2. A thread that waits with an earlier deadline leaves its entry behind, marked stale.
3. Stale entries are dropped when they come up, or all at once when they outnumber the live ones.

Deadlines are seconds of the kernel's clock.  Scheduler's OS thread only.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Any

from ..contracts.thread import Thread

__all__ = ["Timers"]

_THREAD = 2


class Timers:
    """The deadlines of parked threads."""

    __slots__ = ("_heap", "_serial", "_stale")

    def __init__(self) -> None:
        self._heap: list[list[Any]] = []
        self._serial = 0
        self._stale = 0

    def __len__(self) -> int:
        return len(self._heap) - self._stale

    def add(self, thread: Thread, deadline: float) -> None:
        """Have `thread` reported by `expired` once the clock has passed `deadline`.  O(log n)."""
        thread.deadline = deadline
        timer = thread.timer
        if timer is not None:
            if timer[0] <= deadline:
                return
            self._drop(timer)
        self._serial += 1
        thread.timer = timer = [deadline, self._serial, thread]
        heappush(self._heap, timer)

    def forget(self, thread: Thread) -> None:
        """`thread` has ended: its entry must not keep it alive."""
        if thread.timer is not None:
            self._drop(thread.timer)
            thread.timer = None

    def next_deadline(self) -> float | None:
        """The earliest time at which `expired` may have something to report."""
        heap = self._heap
        while heap:
            deadline, _, thread = heap[0]
            if thread is None:
                heappop(heap)
                self._stale -= 1
            elif thread.deadline is None:
                heappop(heap)
                thread.timer = None
            elif thread.deadline > deadline:
                heappop(heap)
                thread.timer = None
                self.add(thread, thread.deadline)
            else:
                return float(deadline)
        return None

    def peek(self) -> float | None:
        """A time before which `expired` has nothing to report; it may have none then either.

        Any OS thread.
        """
        try:
            return float(self._heap[0][0])
        except IndexError:  # not looked at before: the scheduler may take the last one meanwhile
            return None

    def expired(self, now: float) -> Iterator[Thread]:
        """Take out the threads whose deadline has passed, earliest first."""
        while True:
            deadline = self.next_deadline()
            if deadline is None or deadline > now:
                return
            thread = heappop(self._heap)[_THREAD]
            thread.timer = None
            thread.deadline = None
            yield thread

    def _drop(self, timer: list[Any]) -> None:
        timer[_THREAD] = None
        self._stale += 1
        if self._stale > 64 and self._stale * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[_THREAD] is not None]
            heapify(self._heap)
            self._stale = 0
