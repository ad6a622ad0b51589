"""Last in, first out: who became runnable last has the warmest caches."""

from __future__ import annotations

from collections import deque

from ..contracts.thread import Thread

__all__ = ["LifoScheduler"]


class LifoScheduler(deque[Thread]):
    """A stack.  A thread that yields must let others run, so a turn is taken from a fixed batch.

    The batch is at the left end, newest first, and what comes meanwhile behind it.  Nothing is
    allocated: a finalizer may run where something is, and would find threads in two places.
    """

    __slots__ = ("_batch",)

    def __init__(self) -> None:
        super().__init__()
        self._batch = 0
        """How many threads are left of it."""

    push = deque.append

    def push_first(self, thread: Thread) -> None:
        """`thread` is urgent: ahead of the rest of the batch."""
        self._batch += 1
        self.appendleft(thread)

    def pop(self) -> Thread:  # type: ignore[override]
        """The newest thread of this batch; the next batch is what came meanwhile."""
        if not self._batch:
            self.reverse()
            self._batch = len(self)
        thread = self.popleft()
        self._batch -= 1
        return thread
