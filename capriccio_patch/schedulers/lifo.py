"""Last in, first out: who became runnable last has the warmest caches."""

from __future__ import annotations

from collections import deque

from ..contracts.thread import Thread

__all__ = ["LifoScheduler"]


class LifoScheduler(deque[Thread]):
    """A stack.  A thread that yields must let others run, so a turn is taken from a fixed batch."""

    __slots__ = ("_batch",)

    def __init__(self) -> None:
        super().__init__()
        self._batch: list[Thread] = []

    push = deque.append

    def push_first(self, thread: Thread) -> None:
        """`thread` is urgent: ahead of the rest of the batch."""
        self._batch.append(thread)

    def pop(self) -> Thread:  # type: ignore[override]
        """The newest thread of this batch; the next batch is what came meanwhile."""
        if not self._batch:
            self._batch.extend(self)
            self.clear()
        return self._batch.pop()

    def __len__(self) -> int:
        return super().__len__() + len(self._batch)

    def __bool__(self) -> bool:
        return bool(self._batch) or super().__len__() > 0
