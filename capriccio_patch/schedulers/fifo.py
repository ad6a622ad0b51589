"""First in, first out: round robin among the runnable threads.  The default."""

from __future__ import annotations

from collections import deque

from ..contracts.thread import Thread

__all__ = ["FifoScheduler"]


class FifoScheduler(deque[Thread]):
    """A deque whose own methods are the interface, so that a switch enters no Python function."""

    __slots__ = ()

    push = deque.append
    push_first = deque.appendleft
    advance = deque.rotate
    pop = deque.popleft
