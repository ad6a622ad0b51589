"""By priority: what the program has set, then writes before reads before accepts.

Section 8.2 of the paper: an open connection is served before a new one is let in, and one whose
answer is under way before one that has just asked.  Whatever waited for something else, or has just
been started, ranks with the readers.

Nobody starves.  Each push gets a number, one higher than the last; a thread's rank is its number
plus a handicap, `CLASS_STEP` for each class below a write and `LEVEL_STEP` for each level of
priority below the default (less, for each above), and the lowest rank is popped.  So a thread is
overtaken by at most as many later pushes as its handicap is larger than theirs, and goes next when
these have been: ageing by count, which costs nothing to keep and does not depend on the clock.

1. Among equals it is first in, first out.
2. A priority concerns the pushes that follow it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from weakref import WeakKeyDictionary

from ..contracts.thread import Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..kernel.core import Kernel

__all__ = ["CLASS_STEP", "LEVEL_STEP", "PriorityScheduler"]

CLASS_STEP = 10_000
LEVEL_STEP = 100_000


class PriorityScheduler:
    """A heap of runnable threads, lowest rank first."""

    __slots__ = ("_listens", "_heap", "_levels", "_numbers", "_urgent")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Thread]] = []
        self._urgent: deque[Thread] = deque()
        self._numbers = count()
        self._levels: WeakKeyDictionary[Thread, int] = WeakKeyDictionary()
        self._listens: Callable[[int], bool] = lambda fd: False

    def attach(self, kernel: Kernel) -> None:
        """`kernel` is whose threads these are: it knows which descriptors listen."""
        self._listens = kernel.listens

    def set_priority(self, thread: Thread, value: int) -> None:
        """From its next turn on `thread` has this priority; 0 is what a thread begins with."""
        if value:
            self._levels[thread] = value
        else:
            self._levels.pop(thread, None)

    def push(self, thread: Thread) -> None:
        """Behind all of its rank."""
        number = next(self._numbers)
        awaited = thread.object
        if awaited is None:
            rank = number + CLASS_STEP
        else:
            rank = number + CLASS_STEP * self._class(thread.kind, awaited)
        if self._levels:
            rank -= LEVEL_STEP * self._levels.get(thread, 0)
        heappush(self._heap, (rank, number, thread))

    def _class(self, kind: str, awaited: object) -> int:
        """0 for a write, 2 for an accept, else 1."""
        if kind == "write":
            return 0
        if kind == "read":
            return 2 if getattr(awaited, "listens", False) else 1
        if kind != "select" or not isinstance(awaited, dict) or not awaited:
            return 1
        # A server that waits for its listening sockets so does nothing else with them.
        return 2 if all(self._listens(fd) for fd in awaited) else 1

    def push_first(self, thread: Thread) -> None:
        """`thread` is urgent: ahead of every rank."""
        self._urgent.appendleft(thread)

    def pop(self) -> Thread:
        """The urgent ones, then the lowest rank."""
        if self._urgent:
            return self._urgent.popleft()
        return heappop(self._heap)[2]

    def __len__(self) -> int:
        return len(self._heap) + len(self._urgent)

    def __bool__(self) -> bool:
        return bool(self._heap) or bool(self._urgent)
