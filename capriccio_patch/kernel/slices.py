"""Deferred threads: those that can run, but let the others run first.

A thread is deferred when it was preempted at the end of its slice, when it has made calls for
`POLL_INTERVAL` none of which had to wait, or when its disk request is done (there may be many such
at once, for which those that answer a client would have to wait).

1. A deferred thread is not in the scheduler's hands.  One at a time is handed over: when no other
   thread can run, or when the others have had the time that the last one gave them.
2. As long as none uses up the slice that it is given, and all together are soon over, twice as many
   are handed over each time: on a machine that is short of CPU many are preempted that need next to
   none, and one by one they would wait ever longer.
3. A thread that makes calls has had as long as a client may wait; of those, one at a time.  What
   becomes runnable in the poll after it goes before what was runnable already, each of which may be
   about to take as long; not before those that a poll just now has woken, which came first, and
   after `_LONGEST_PASSED` all run in order for a while: none is overtaken for ever.
4. A thread that parks, having done something for others, has them run so too; it is not deferred,
   so those that are wait no longer for it.

Scheduler's OS thread, but for `Slices.is_given_to`.
"""

from __future__ import annotations

from ..contracts.scheduler import Abilities
from ..contracts.thread import GRANTED, Thread
from ..cpython.collector import uncollected
from .state import KernelState

__all__ = ["POLL_INTERVAL", "SLICE_LIMIT", "Slices"]

SLICE_LIMIT = 0.01
"""Seconds that threads which park in time may keep preempted ones from running."""
POLL_INTERVAL = 0.00005
"""Seconds that a thread may go on from one call to the next before descriptors are polled."""
_AT_ONCE = 64
"""How many deferred threads are handed over together at most."""
_LONGEST_PASSED = 0.05
"""Seconds for which threads that can run are overtaken, at most, by what a poll brings."""
_FORGOTTEN = 0.1
"""Seconds after which it does not count that they have been."""
_QUICK = 0.0002
"""Seconds after which those that were handed over together have not used up their slices."""


class Slices:
    """When the deferred threads of a kernel run."""

    __slots__ = (
        "_advance",
        "_at_once",
        "_ended",
        "_granted",
        "_granted_at",
        "_hand_over",
        "_is_for_others",
        "_limit",
        "_passed_at",
        "_passed_since",
        "_state",
        "is_over",
    )

    def __init__(self, state: KernelState) -> None:
        self._state = state
        self._advance = Abilities(state.scheduler).advance
        self.is_over = False
        """The thread that ran has just ended its turn for the others."""
        self._is_for_others = False
        """It parks, and is not deferred: what it has done is for others to go on with."""
        self._ended = 0.0
        """When one has been deferred last, by the kernel's clock."""
        self._limit = SLICE_LIMIT
        """For how long others may run, before the next deferred thread, from that time on."""
        self._granted: Thread | None = None
        """The thread that was handed over last."""
        self._granted_at = 0.0
        self._at_once = 1
        self._passed_since = 0.0
        """When those began to be overtaken that can run."""
        self._passed_at = 0.0
        """When that was to be decided last."""
        self._hand_over = uncollected(self._hand_over_first)

    def defer(self, thread: Thread) -> None:
        """`thread`, which runs, lets the others run first; it is about to park."""
        if thread.is_granted:
            self._at_once = 1
        self._state.deferred.append(thread)

    def end(self, limit: float) -> None:
        """The thread that runs is about to park: poll before the next one runs, and let others run
        for `limit` seconds before the next deferred thread."""
        self._limit = limit
        self._is_for_others = False
        self.is_over = True
        self._state.budget = 0

    def end_for_others(self) -> None:
        """As `end`, for a thread that has something for others: deferred ones wait no longer."""
        self._is_for_others = self.is_over = True
        self._state.budget = 0

    def overtaken(self) -> int:
        """A turn is over, and a poll comes: how many runnable threads are overtaken by those that
        it wakes; -1 if these go behind them, as usual."""
        state = self._state
        after_calls = self._is_for_others or self._limit == POLL_INTERVAL
        if not after_calls or self._advance is None or not state.ready:
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
        deferred = state.deferred
        just_now = self.is_over and not self._is_for_others
        self.is_over = False
        if state.ready:
            if just_now:
                self._ended = state.now
                return  # deferred just now, for the others
            if not idle and state.now < self._ended + self._limit:
                return
            granted = self._granted
            if granted is not None and granted.is_granted and granted.greenlet is not None:
                return  # it waits for its slice among the others
        if state.now - self._granted_at > _QUICK:
            self._at_once = max(1, self._at_once // 2)
        else:
            self._at_once = min(2 * self._at_once, _AT_ONCE)
        self._granted_at = state.now
        count = 1 if self._limit == POLL_INTERVAL else min(self._at_once, len(deferred))
        for _ in range(count):
            self._hand_over()

    def _hand_over_first(self) -> None:
        """Make the first deferred thread runnable, unless a finalizer has let others do so."""
        deferred = self._state.deferred
        if deferred:
            self._granted = thread = deferred.popleft()
            thread.since = GRANTED
            self._state.push(thread)

    def is_given_to(self, thread: Thread) -> bool:
        """Whether `thread` is the one that was handed over last.  Any OS thread."""
        return thread is self._granted

    def clear(self) -> None:
        """In a forked child: no thread is deferred."""
        self._state.deferred.clear()
        self._granted = None
