"""The contract of a scheduler: the policy that picks the next runnable thread.

The paper's three functions, as methods: ``__init__``, ``push`` (add_thread) and ``pop``
(next_thread); ``__len__`` tells how many are runnable.  A thread is pushed once for each time it
becomes runnable and popped once.  Neither method may wait, or raise for a thread it was given; both
are called on the scheduler's OS thread, many times a second.

``push_first(thread)`` is optional: the thread is urgent (a signal handler has to run in it) and
is to be popped next.  It is called at any moment, also between two bytecodes of the other methods.
"""

from __future__ import annotations

from typing import Protocol

from ..runtime.thread import Thread

__all__ = ["Scheduler"]


class Scheduler(Protocol):
    """Which thread runs next."""

    def push(self, thread: Thread) -> None:
        """`thread` has become runnable."""

    def pop(self) -> Thread:
        """The thread that runs next; there is one."""

    def __len__(self) -> int:
        """How many threads are runnable."""
