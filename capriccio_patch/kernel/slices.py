"""Deferred threads: those that can run, but let the others run first.

They are of two kinds.  Preempted ones have used up their slice.  The others have made calls for
`POLL_INTERVAL` none of which had to wait, or their disk request is done (there may be many such at
once, for which those that answer a client would have to wait).

1. A deferred thread is not in the scheduler's hands.  Of each kind one at a time is handed over:
   when no other thread can run, or when the others have had their time since the last one was
   deferred: before a preempted one, for which those of the other kind are others, too, as long as
   a slice, `SLICE_LIMIT` at most; before one of these `POLL_INTERVAL`.
2. As long as no preempted one uses up the slice that it is given, and all together are soon over,
   twice as many are handed over each time: on a machine that is short of CPU many are preempted
   that need next to none, and one by one they would wait ever longer.
3. A thread that makes calls has had as long as a client may wait.  What becomes runnable in the
   poll after it goes before what was runnable already, each of which may be about to take as long;
   not before those that a poll just now has woken, which came first, and after `_LONGEST_PASSED`
   all run in order for a while: none is overtaken for ever.
4. A thread that parks, having run for so long or done something for others, has them run so too;
   it is not deferred, so those that are wait no longer for it.

Scheduler's OS thread, but for `Slices.set_slice` and `is_given_to`.
"""

from __future__ import annotations

from collections import deque

from ..contracts.scheduler import Abilities
from ..contracts.thread import GRANTED, Thread
from ..cpython.collector import uncollected
from .state import KernelState

__all__ = ["POLL_INTERVAL", "SLICE_LIMIT", "Slices"]

SLICE_LIMIT = 0.01
"""Seconds that others may keep preempted threads from running, at most."""
POLL_INTERVAL = 0.00005
"""Seconds that a thread may go on from one call to the next before descriptors are polled."""
_AT_ONCE = 64
"""How many preempted threads are handed over together at most."""
_LONGEST_PASSED = 0.05
"""Seconds for which threads that can run are overtaken, at most, by what a poll brings."""
_FORGOTTEN = 0.1
"""Seconds after which it does not count that they have been."""
_QUICK = 0.0002
"""Seconds after which those that were handed over together have not used up their slices."""


class _Kind:
    """The deferred threads of one kind."""

    __slots__ = ("ended", "granted", "limit", "threads")

    def __init__(self, threads: deque[Thread], limit: float) -> None:
        self.threads = threads
        self.limit = limit
        """For how many seconds the others may run before the next one."""
        self.ended = 0.0
        """When one has been deferred last, by the kernel's clock."""
        self.granted: Thread | None = None
        """The thread that was handed over last."""

    def is_due(self, now: float, idle: bool) -> bool:
        """Whether the next one is handed over, though others can run; `idle`: none could."""
        if not idle and now < self.ended + self.limit:
            return False
        granted = self.granted  # which may wait for its slice among the others
        return granted is None or not granted.is_granted or granted.greenlet is None


class Slices:
    """When the deferred threads of a kernel run."""

    __slots__ = (
        "_advance",
        "_at_once",
        "_calling",
        "_ended",
        "_granted_at",
        "_hand_over",
        "_passed_at",
        "_passed_since",
        "_preempted",
        "_state",
        "is_over",
    )

    def __init__(self, state: KernelState) -> None:
        self._state = state
        self._advance = Abilities(state.scheduler).advance
        self.is_over = False
        """The thread that ran has just ended its turn for the others."""
        self._preempted = _Kind(state.preempted, SLICE_LIMIT)
        self._calling = _Kind(state.deferred, POLL_INTERVAL)
        self._ended: _Kind | None = None
        """What it is deferred as; None: it is not, but parks."""
        self._granted_at = 0.0
        """When preempted threads were handed over last."""
        self._at_once = 1
        self._passed_since = 0.0
        """When those began to be overtaken that can run."""
        self._passed_at = 0.0
        """When that was to be decided last."""
        self._hand_over = uncollected(self._hand_over_first)

    def defer_preempted(self, thread: Thread) -> None:
        """`thread`, which has used its slice, lets the others run first; it is about to park."""
        if thread.is_granted:
            self._at_once = 1
        self._preempted.threads.append(thread)
        self._end(self._preempted)

    def defer_calling(self, thread: Thread) -> None:
        """`thread`, which makes calls, lets the others run first; it is about to park."""
        self._calling.threads.append(thread)
        self._end(self._calling)

    def end_for_others(self) -> None:
        """The thread that runs is about to park: poll before the next one runs."""
        self._end(None)

    def _end(self, kind: _Kind | None) -> None:
        self._ended = kind
        self.is_over = True
        self._state.budget = 0

    def overtaken(self) -> int:
        """A turn is over, and a poll comes: how many runnable threads are overtaken by those that
        it wakes; -1 if these go behind them, as usual."""
        state = self._state
        if self._ended is self._preempted or self._advance is None or not state.ready:
            return -1
        now = state.clock()
        if now - state.now <= POLL_INTERVAL or self._is_others_turn(now):
            return -1
        return len(state.ready)

    def _is_others_turn(self, now: float) -> bool:
        """Whether those that can run have been overtaken for long enough: then they have as long as
        preempted ones wait."""
        turn = self._passed_since + _LONGEST_PASSED
        if now > self._passed_at + _FORGOTTEN or now > turn + SLICE_LIMIT:
            self._passed_since = now
        self._passed_at = now
        return now > self._passed_since + _LONGEST_PASSED

    def overtake(self, overtaken: int) -> None:
        """After the poll: have them overtaken."""
        assert self._advance is not None
        self._advance(len(self._state.ready) - overtaken)

    def grant(self, idle: bool) -> None:
        """Hand deferred threads to the scheduler, if it is time.  There are some.

        `idle`: when the turn began no other was runnable.
        """
        state = self._state
        ready = state.ready
        if self.is_over:
            self.is_over = False
            if self._ended is not None:
                self._ended.ended = state.now
                idle = False
        calling = self._calling
        if calling.threads:
            if not ready or calling.is_due(state.now, idle):
                self._hand_over(calling)
            idle = False
        preempted = self._preempted
        if preempted.threads and (not ready or preempted.is_due(state.now, idle)):
            if state.now - self._granted_at > _QUICK:
                self._at_once = max(1, self._at_once // 2)
            else:
                self._at_once = min(2 * self._at_once, _AT_ONCE)
            self._granted_at = state.now
            for _ in range(min(self._at_once, len(preempted.threads))):
                self._hand_over(preempted)

    def _hand_over_first(self, kind: _Kind) -> None:
        """Make the first thread of `kind` runnable, unless a finalizer has let others do so."""
        if kind.threads:
            kind.granted = thread = kind.threads.popleft()
            thread.since = GRANTED
            self._state.push(thread)

    def set_slice(self, seconds: float) -> None:
        """How long a slice is, in `seconds`.  Any OS thread."""
        self._preempted.limit = min(seconds, SLICE_LIMIT)

    def is_given_to(self, thread: Thread) -> bool:
        """Whether `thread` is one that was handed over last.  Any OS thread."""
        return thread is self._preempted.granted or thread is self._calling.granted

    def clear(self) -> None:
        """In a forked child: no thread is deferred."""
        for kind in (self._preempted, self._calling):
            kind.threads.clear()
            kind.granted = None
