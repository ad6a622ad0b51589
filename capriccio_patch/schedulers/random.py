"""At random, by a seed: the same seed gives the same interleaving, so that a race can be found.

Each runnable thread is as likely as any other to be the next.  A call that is taken over (a lock's
acquire and release, a queue's put and get, a read, a sleep, ...) is preceded by a drawing of lots,
too: with a chance of `CHANCE` its thread steps aside first.  So a race shows between any two such
calls, not only where a thread has to wait.

1. Whatever draws lots draws from one generator, in the order in which the program makes its calls,
   and only where there is a choice.  What depends on locks, queues, events and the starts and ends
   of threads is the same each time.
2. When a socket becomes ready or a sleep is over is up to the kernel and the clock; so is the order
   of a set of strings (``PYTHONHASHSEED``).  A program that depends on these repeats itself as far
   as they do.
3. A thread that makes call after call where nobody else is known to be runnable steps aside at
   every `ALONE`th, so that the kernel comes to look at descriptors and timers.
4. The watchdog goes by the clock, so it is the last resort here: it preempts a thread only after
   `LEAST_SLICE`, which one that waits in a loop without calls needs.
5. Nobody starves but by chance: among n threads one is passed over k times in a row with a
   probability of (1 - 1/n)^k.
"""

from __future__ import annotations

from collections import deque

from ..contracts.thread import Thread

__all__ = ["ALONE", "CHANCE", "LEAST_SLICE", "RandomScheduler"]

CHANCE = 0.25
LEAST_SLICE = 1.0
ALONE = 16


class RandomScheduler:
    """A bag of runnable threads."""

    __slots__ = ("_alone", "_bag", "_draw", "_seed", "_urgent")

    checkpoints = None
    least_slice = LEAST_SLICE

    def __init__(self) -> None:
        self._alone = 0
        self._bag: list[Thread] = []
        self._urgent: deque[Thread] = deque()
        self.seed = None

    @property
    def seed(self) -> int:
        """What the lots depend on; set to None it is chosen at random."""
        return self._seed

    @seed.setter
    def seed(self, value: int | None) -> None:
        from random import Random

        if value is None:
            value = Random().getrandbits(32)
        self._seed = value
        self._draw = Random(value).random

    def checkpoint(self) -> bool:
        """Whether the thread that is about to make a call steps aside first."""
        if self._bag:
            return self._draw() < CHANCE
        self._alone = (self._alone + 1) % ALONE
        return self._alone == 0

    def push(self, thread: Thread) -> None:
        """Into the bag."""
        self._bag.append(thread)

    def push_first(self, thread: Thread) -> None:
        """`thread` is urgent: no lots are drawn for it."""
        self._urgent.appendleft(thread)

    def pop(self) -> Thread:
        """Any, by lot."""
        if self._urgent:
            return self._urgent.popleft()
        bag = self._bag
        if len(bag) == 1:
            return bag.pop()
        chosen = int(self._draw() * len(bag))
        thread = bag[chosen]
        bag[chosen] = bag[-1]
        bag.pop()
        return thread

    def __len__(self) -> int:
        return len(self._bag) + len(self._urgent)

    def __bool__(self) -> bool:
        return bool(self._bag) or bool(self._urgent)
