"""Schedulers under which the blocking graph is recorded.

`ObservedFifo` is ``fifo`` with one Python call more for each switch; `Observed` stands before any
other scheduler.  Neither is there unless the graph is asked for.

To look at a move allocates, with a thread in hand that is not in the queue: the collector does not
run then (`uncollected`), because a finalizer that waited there might wait for that thread.
"""

from __future__ import annotations

from collections import deque

from ..contracts.scheduler import Abilities, Scheduler
from ..contracts.thread import Thread
from ..cpython.collector import uncollected
from ..graph.recorder import Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..kernel.core import Kernel

__all__ = ["Observed", "ObservedFifo"]


class ObservedFifo(deque[Thread]):
    """First in, first out; some of the moves are looked at."""

    __slots__ = ("_due", "_kernel", "_left", "_longest", "_sampling", "_step", "recorder")

    _kernel: Kernel
    recorder: Recorder

    def __init__(self) -> None:
        super().__init__()
        self._left = self._step = self._due = 1
        self._longest = 1 << 30
        self._sampling = False

    push = deque.append
    push_first = deque.appendleft
    advance = deque.rotate

    def attach(self, kernel: Kernel) -> None:
        """`kernel` is whose threads these are."""
        self._kernel = kernel
        self._start()
        kernel.on_fork(self._start)

    def _start(self) -> None:
        self.recorder = Recorder(self._kernel)
        self._sampling = False

    def pop(self) -> Thread:  # type: ignore[override]
        """The one that has waited longest for its turn."""
        self._left = left = self._left - 1
        if left > 0:
            return self.popleft()
        return self._pause()

    @uncollected
    def _pause(self) -> Thread:
        """`pop`, when there is something to look at."""
        self._end_sample()
        self._due -= self._step
        thread = self.popleft()
        if self._due <= 0:
            self._begin_sample(thread)
            self._left = self._step = 1
        else:
            self._left = self._step = min(self._due, self._longest)
        return thread

    def _begin_sample(self, thread: Thread) -> None:
        self.recorder.begin(thread)
        self._sampling = True

    def _end_sample(self) -> None:
        if self._sampling:
            self._sampling = False
            self.recorder.end()
            self._due = self.recorder.spacing()


class Observed:
    """Any `scheduler`; some of the moves are looked at."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._abilities = Abilities(scheduler)
        self._left = 1
        self._sampling = False
        self.push = scheduler.push
        if self._abilities.has_push_first:
            self.push_first = self._abilities.push_first

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)  # the optional ones

    def attach(self, kernel: Kernel) -> None:
        """`kernel` is whose threads these are."""
        self._abilities.attach(kernel)

        def start() -> None:
            self.recorder = Recorder(kernel)
            self._sampling = False

        start()
        kernel.on_fork(start)

    def pop(self) -> Thread:
        """The scheduler's."""
        self._left -= 1
        if self._left > 0:
            return self._scheduler.pop()
        return self._pause()

    @uncollected
    def _pause(self) -> Thread:
        """`pop`, when there is something to look at."""
        if self._sampling:
            self._sampling = False
            self.recorder.end()
            self._left = self.recorder.spacing() - 1
        thread: Thread = self._scheduler.pop()
        if self._left <= 0:
            self.recorder.begin(thread)
            self._sampling = True
        return thread

    def __len__(self) -> int:
        return len(self._scheduler)

    def __bool__(self) -> bool:
        return bool(self._scheduler)
