"""Deadlines, with lazy removal: at most one live entry for each thread.

Facts: the threads of a server mostly wait for equally long, so their deadlines come in order.  Each
step through a heap of a thousand of them is several lines of memory that nothing else has touched.

Decision: what comes in order is a *line*, whose ends alone are looked at; the rest is a heap.  The
line is for what is near: who comes after all in the line by more than `_NEAR` seconds does not join
it, and where somebody comes before its end by more than that, the end goes to the heap.  So a few
long waits do not keep the short ones, which are more, out of it.

Cost: an entry may be put in twice, in the line and then in the heap.

1. A thread that waits again with a later deadline keeps its entry: the entry fires early, sees the
   later deadline and moves there.  A socket with a timeout so costs one entry, not one a request.
2. A thread that waits with an earlier deadline leaves its entry behind, marked stale.
3. Stale entries are dropped when they come up, or all at once when they outnumber the live ones.
4. Letting go of an entry, of a thread, and any call may bring a finalizer, which may let all others
   run: what was seen of the entries before is looked at again after.  Nothing comes between a look
   and the statement that follows it.
5. Serials are even.  An entry that goes from the line to the heap leaves a stale one behind, and
   has the next, odd one: it stays before those that were added later.

Deadlines are seconds of the kernel's clock.  Scheduler's OS thread only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from ..contracts.thread import Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Timers"]

_THREAD = 2
_NEAR = 1.0


class Timers:
    """The deadlines of parked threads."""

    __slots__ = ("_heap", "_line", "_serial", "_stale")

    def __init__(self) -> None:
        self._heap: list[list[Any]] = []
        self._line: deque[list[Any]] = deque()
        self._serial = 0
        self._stale = 0

    def __len__(self) -> int:
        return len(self._heap) + len(self._line) - self._stale

    def add(self, thread: Thread, deadline: float) -> None:
        """Have `thread` reported by `expired` once the clock has passed `deadline`.  O(log n)."""
        thread.deadline = deadline
        timer = thread.timer
        if timer is not None:
            if timer[0] <= deadline:
                return
            self._drop(timer)
        self.make_room(deadline)
        self._serial += 2
        timer = [deadline, self._serial, thread]
        line = self._line
        thread.timer = timer
        if not line or 0.0 <= deadline - line[-1][0] <= _NEAR:
            line.append(timer)
        else:
            heappush(self._heap, timer)

    def make_room(self, deadline: float) -> None:
        """Have nothing at the end of the line that is much later than `deadline`."""
        while True:
            line = self._line
            if not line or line[-1][0] - deadline <= _NEAR:
                return
            timer = line[-1]
            thread: Any = timer[_THREAD]
            if thread is None:
                self._stale -= 1
                line.pop()
                continue
            moved = [timer[0], timer[1] + 1, thread]
            if thread.timer is timer:
                thread.timer = moved
                timer[_THREAD] = None
                self._stale += 1
                heappush(self._heap, moved)

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
            heap, line = self._heap, self._line
            if line and not (heap and heap[0] < line[0]):
                timer = line[0]
            elif heap:
                timer = heap[0]
            else:
                return None
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
        heap, line = self._heap, self._line
        if line and line[0] is timer:
            self._stale -= 1
            self._serial += 2
            line.popleft()
        elif heap and heap[0] is timer:
            self._stale -= 1
            self._serial += 2
            heappop(heap)

    def _move(self, timer: list[Any], thread: Thread) -> None:
        """Put the entry of `thread` where its deadline is now."""
        self._serial += 2
        deadline = thread.deadline
        moved = [deadline, self._serial, thread]
        line = self._line
        if deadline is not None and thread.deadline is deadline and thread.timer is timer:
            thread.timer = moved
            timer[_THREAD] = None
            self._stale += 1
            if line and 0.0 <= deadline - line[-1][0] <= _NEAR:
                line.append(moved)
            else:
                heappush(self._heap, moved)

    def peek(self) -> float | None:
        """A time before which `expired` has nothing to report; it may have none then either.

        Any OS thread.
        """
        first = None
        for entries in (self._heap, self._line):
            try:
                deadline = float(entries[0][0])
            except IndexError:  # not looked at before: the scheduler may take the last meanwhile
                continue
            if first is None or deadline < first:
                first = deadline
        return first

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
        heap, line = self._heap, self._line
        if self._stale > 64 and self._stale * 2 > len(heap) + len(line):
            stale, serial = self._stale, self._serial
            heap = [entry for entry in heap if entry[_THREAD] is not None]
            heapify(heap)
            line = deque([entry for entry in line if entry[_THREAD] is not None])
            if self._stale == stale and self._serial == serial:
                self._heap, self._line = heap, line
                self._stale = 0
