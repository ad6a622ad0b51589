"""The contract of a scheduler: the policy that picks the next runnable thread.

The paper's three functions, as methods: ``__init__``, ``push`` (add_thread) and ``pop``
(next_thread); ``__len__`` tells how many are runnable.  A thread is pushed once for each time it
becomes runnable and popped once.  Neither method may wait, or raise for a thread it was given; both
are called on the scheduler's OS thread, many times a second.

What a thread waited for is still written on it when it is pushed: ``thread.kind`` ("read", "write",
"lock", "event", "sleep", ...) and ``thread.object``; a thread that has not waited has None there.

What a scheduler may have besides:

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
"""

from __future__ import annotations

from typing import Protocol

from .thread import Thread

__all__ = ["Scheduler"]


class Scheduler(Protocol):
    """Which thread runs next."""

    def push(self, thread: Thread) -> None:
        """`thread` has become runnable."""

    def pop(self) -> Thread:
        """The thread that runs next; there is one."""

    def __len__(self) -> int:
        """How many threads are runnable."""
