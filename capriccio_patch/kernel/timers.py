"""Deadlines: a heap with lazy removal, at most one live entry for each thread.

1. A thread that waits again with a later deadline keeps its entry: the entry fires early, sees the
   later deadline and moves there.  A socket with a timeout so costs one entry, not one a request.
2. A thread that waits with an earlier deadline leaves its entry behind, marked stale.
3. Stale entries are dropped when they come up, or all at once when they outnumber the live ones.
4. Letting go of an entry, of a thread, and any call may bring a finalizer, which may let all others
   run: what was seen of the heap before is looked at again after.  Nothing comes between a look and
   the statement that follows it.

Deadlines are seconds of the kernel's clock.  Scheduler's OS thread only.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace

from ..contracts.thread import Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
        timer = self._first()
        return None if timer is None else float(timer[0])

    def _first(self) -> list[Any] | None:
        """The entry of the earliest deadline; stale ones before it are dropped."""
        while True:
            heap = self._heap
            if not heap:
                return None
            timer = heap[0]
            thread: Any = timer[_THREAD]
            if thread is None:
                self._pop_stale(timer)
            elif thread.deadline is None:
                thread.timer = timer[_THREAD] = None
                self._stale += 1
            elif thread.deadline > timer[0]:
                self._move(timer, thread)
            else:
                return timer
            thread = None  # what goes with it goes before the next look

    def _pop_stale(self, timer: list[Any]) -> None:
        heap = self._heap
        if heap and heap[0] is timer:
            self._stale -= 1
            self._serial += 1
            heappop(heap)

    def _move(self, timer: list[Any], thread: Thread) -> None:
        """Put the entry of `thread`, the first, where its deadline is now."""
        self._serial += 1
        deadline = thread.deadline
        moved = [deadline, self._serial, thread]
        heap = self._heap
        if deadline is not None and heap and heap[0] is timer and thread.deadline is deadline:
            thread.timer = moved
            heapreplace(heap, moved)

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
            timer = self._first()
            if timer is None or timer[0] > now:
                return
            thread = timer[_THREAD]
            thread.timer = thread.deadline = timer[_THREAD] = None
            self._stale += 1
            yield thread
            del thread, timer  # what goes with them goes before the next look

    def _drop(self, timer: list[Any]) -> None:
        timer[_THREAD] = None
        self._stale += 1
        if self._stale > 64 and self._stale * 2 > len(self._heap):
            stale, serial = self._stale, self._serial
            live = [entry for entry in self._heap if entry[_THREAD] is not None]
            heapify(live)
            if self._stale == stale and self._serial == serial:
                self._heap = live
                self._stale = 0
