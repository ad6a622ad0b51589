"""The contract of a scheduler: the policy that picks the next runnable thread.

The paper's three functions, as methods: ``__init__``, ``push`` (add_thread) and ``pop``
(next_thread); ``__len__`` tells how many are runnable.  A thread is pushed once for each time it
becomes runnable and popped once.  Neither method may wait, or raise for a thread it was given; both
are called on the scheduler's OS thread, many times a second.

What a thread waited for is still written on it when it is pushed: ``thread.kind`` ("read", "write",
"lock", "event", "sleep", ...) and ``thread.object``; a thread that has not waited has None there.

What a scheduler may have besides (`Abilities` is the one place that asks for it):

``push_first(thread)``
    The thread is urgent (a signal handler has to run in it) and is to be popped next.  It is called
    at any moment, also between two bytecodes of the other methods.
``advance(count)``
    The last `count` threads that were pushed are to be popped before the others, in their order.
``attach(kernel)``
    Called once, before the first thread is pushed.
``set_priority(thread, value)``
    What `capriccio_patch.set_priority` calls, with an int; a higher one is more urgent.
``seed``
    An int, for one that draws lots; set before the first thread is pushed if the user gives one.
``least_slice``
    Seconds that a thread may compute at least before the watchdog makes it step aside.
``checkpoint()``, ``checkpoints``
    ``checkpoint`` is called before each call that is taken over, on the scheduler's OS thread,
    where a thread may be made to step aside; it does so when that returns true.  ``checkpoints``
    are the only calls that are concerned (``"_socket.socket._accept"``), or None: all.
``recorder``
    What records the blocking graph, once the scheduler is attached.
"""

from __future__ import annotations

from collections.abc import Callable

from .thread import Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol, TypeVar

    T = TypeVar("T")
else:
    Protocol = object

__all__ = ["Abilities", "Scheduler"]


class Scheduler(Protocol):
    """Which thread runs next."""

    def push(self, thread: Thread) -> None:
        """`thread` has become runnable."""

    def pop(self) -> Thread:
        """The thread that runs next; there is one."""

    def __len__(self) -> int:
        """How many threads are runnable."""


class Abilities:
    """What a scheduler has besides; the module's text says what each is for."""

    __slots__ = ("_scheduler",)

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    @property
    def push_first(self) -> Callable[[Thread], None]:
        """The scheduler's, or its ``push``."""
        return self._get("push_first", self._scheduler.push)

    @property
    def has_push_first(self) -> bool:
        """Whether an urgent thread overtakes the others."""
        return hasattr(self._scheduler, "push_first")

    @property
    def advance(self) -> Callable[[int], None] | None:
        """The scheduler's, or None: what wakes up goes behind."""
        return self._get("advance", None)

    def attach(self, kernel: Any) -> None:
        """Tell the scheduler whose threads it schedules, if it wants to know."""
        attach: Callable[[Any], None] | None = self._get("attach", None)
        if attach is not None:
            attach(kernel)

    @property
    def set_priority(self) -> Callable[[Thread, int], None] | None:
        """The scheduler's, or None: all threads are equal."""
        return self._get("set_priority", None)

    @property
    def draws_lots(self) -> bool:
        """Whether there is a seed."""
        return hasattr(self._scheduler, "seed")

    @property
    def seed(self) -> int | None:
        """The scheduler's; None if it has none."""
        return self._get("seed", None)

    @seed.setter
    def seed(self, value: int) -> None:
        self._scheduler.seed = value  # type: ignore[attr-defined]

    @property
    def least_slice(self) -> float:
        """The scheduler's, in seconds; 0.0: it does not care."""
        return self._get("least_slice", 0.0)

    @property
    def checkpoint(self) -> Callable[[], bool] | None:
        """The scheduler's, or None: it is not asked."""
        return self._get("checkpoint", None)

    @property
    def checkpoints(self) -> frozenset[str] | None:
        """The calls before which it is asked; None: all."""
        return self._get("checkpoints", None)

    @property
    def recorder(self) -> Any:
        """The scheduler's, or None: no graph is recorded."""
        return self._get("recorder", None)

    def _get(self, name: str, default: T) -> T:
        found: T = getattr(self._scheduler, name, default)
        return found
