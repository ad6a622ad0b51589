"""A scheduler of somebody else's, watched: a thread that it loses or returns twice is named.

A lost thread would only show as a program that hangs, one returned twice as a crash somewhere else.
So each thread is counted in and out, and each operation is followed by a look at the scheduler's
own length.

With the first mistake the scheduler is out: its threads go on first in first out, so that the
program can end in order, and the main thread raises an AssertionError that says what happened.
(Raised where it is found it would end some thread in the middle of a wait.)
"""

from __future__ import annotations

from collections import deque

from ..contracts.scheduler import Abilities, Scheduler
from ..contracts.thread import Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..kernel.core import Kernel

__all__ = ["CheckedScheduler"]


class CheckedScheduler:
    """Passes everything on to `scheduler`, until that breaks the contract."""

    def __init__(self, name: str, scheduler: Scheduler) -> None:
        self._name = name
        self._scheduler: Any = scheduler
        self._abilities = Abilities(scheduler)
        self._kernel: Kernel | None = None
        self._inside: dict[Thread, None] = {}
        self._instead: deque[Thread] | None = None
        """What has taken the scheduler's place."""
        if self._abilities.has_push_first:
            self.push_first = self._push_first

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)  # the optional ones

    @property
    def seed(self) -> int | None:
        """The scheduler's own, if it has one."""
        if not self._abilities.draws_lots:
            raise AttributeError("seed")
        return self._abilities.seed

    @seed.setter
    def seed(self, value: int) -> None:
        self._scheduler.seed = value

    def attach(self, kernel: Kernel) -> None:
        """`kernel` is whose threads these are; its main thread is told of mistakes."""
        self._kernel = kernel
        self._abilities.attach(kernel)

    def push(self, thread: Thread) -> None:
        """As the scheduler's."""
        if self._instead is not None:
            self._instead.append(thread)
            return
        self._inside[thread] = None
        self._scheduler.push(thread)
        if not self._is_complete():
            if len(self._scheduler) < len(self._inside):
                self._fail(f"lost {thread!r}, which was pushed")
            else:
                self._fail(self._lengths(f"push of {thread!r}"))

    def _push_first(self, thread: Thread) -> None:
        # A signal handler may do this in the middle of `push` and `pop`, which count later.
        if self._instead is not None:
            self._instead.appendleft(thread)
            return
        self._inside[thread] = None
        self._scheduler.push_first(thread)

    def pop(self) -> Thread:
        """As the scheduler's."""
        if self._instead is not None:
            return self._instead.popleft()
        thread: Any = None
        try:
            thread = self._scheduler.pop()
        except Exception as error:
            instead = self._fail(f"returned none of {len(self._inside)} threads: {error!r}")
            return instead.popleft()
        if not isinstance(thread, Thread):
            return self._fail(f"returned {thread!r}, which is no thread").popleft()
        if thread not in self._inside:
            return self._fail(f"returned {thread!r} twice: it is not runnable").popleft()
        del self._inside[thread]
        if not self._is_complete():
            self._fail(self._lengths(f"pop of {thread!r}"))
        return thread

    def _is_complete(self) -> bool:
        scheduler, inside = self._scheduler, self._inside
        # Twice: a signal handler's `push_first` may fall between the two lengths.
        return len(scheduler) == len(inside) or len(scheduler) == len(inside)

    def _lengths(self, operation: str) -> str:
        some = ", ".join(map(repr, list(self._inside)[:5]))
        return (
            f"has {len(self._scheduler)} threads after the {operation}; it should have "
            f"{len(self._inside)}: {some}"
        )

    def _fail(self, what: str) -> deque[Thread]:
        error = AssertionError(f"scheduler {self._name!r} {what}")
        if self._kernel is None:
            raise error
        self._instead = instead = deque(self._inside)
        main = self._kernel.main

        def raise_it() -> None:
            raise error

        self._kernel.interrupt(main, raise_it)
        return instead

    def __len__(self) -> int:
        return len(self._scheduler if self._instead is None else self._instead)

    def __bool__(self) -> bool:
        return len(self) > 0
