"""Resource-aware: as something becomes scarce, those who give it back go before those who take it.

After the Capriccio paper of 2003.  The blocking graph (`graph.recorder`) tells what
threads that go on from a place use, on average, before they wait again; `graph.scarcity`
tells what there is little of.  While there is enough of everything this is ``fifo``.  Then, of the
runnable threads,

* those at places from where descriptors (memory, CPU time) are given back go first,
* those at places from where they are taken are *held*: until nobody else is runnable, and one at a
  time, the one first whose way on from there takes the least (`_Constrained._look_ahead`).
  So a listening thread, whose ``accept`` is known to open a descriptor as it always has, lets no
  new client in while there are clients to be served to their end.

Nothing is said of ``accept`` here: opening files, connecting, starting processes are learned alike.

1. Nobody is held for ever.  With little left, a thread is held for `HOLD` at most.  With nothing
   left it is held until the others have given some back, or for `QUIET` after the last of them has
   run: they may be waiting for it.  Some are left for this case (`Level.NONE` is not zero).
2. A held thread of that kind is not counted as runnable, or the kernel would not wait for the
   others; a timer sees to it that the kernel looks again.
3. A call like ``accept`` that succeeds at once does not make its thread wait, so a loop of them
   would pass unseen.  Before those (`CHECKPOINTS`) a thread steps aside once something is scarce.
4. The two modes are two classes, and the object changes from one to the other: the kernel asks
   whether somebody is runnable at each switch, and in the first mode a deque answers that, in C.
"""

from __future__ import annotations

from collections import deque

from ..contracts.thread import Thread
from ..cpython.collector import uncollected
from ..graph.model import Place
from ..graph.scarcity import Level, Scarcity
from .recording import ObservedFifo

__all__ = ["CHECKPOINTS", "GraphScheduler"]

CHECKPOINTS = frozenset({"_socket.socket._accept", "_io.FileIO.__init__", "posix.open"})
_HELPED = ("disk", "worker")
"""Waits for OS threads that work for a thread: what it takes has been taken."""
CHECK = 64  # switches between looks at what there is
HOLD = 1.0  # seconds
QUIET = 1.0  # seconds
AHEAD = 0.2  # seconds between looks ahead
LIKELY = 0.02  # of a descriptor: averages nearer to 0 than this are 0
BYTES = 4096.0
UNKNOWN = 4  # samples: what is known from fewer is learned first
EVERY = 8  # switches from one sample to the next while something is scarce
IN_A_ROW = 64  # threads that give back before one that does neither
DISCOUNT = 0.9
ROUNDS = 20


class GraphScheduler(ObservedFifo):
    """While there is enough of everything."""

    __slots__ = (
        "_giving",
        "_held",
        "_in_a_row",
        "_last_run",
        "_looked_ahead",
        "_opened",
        "_ready",
        "scarcity",
    )

    checkpoints = CHECKPOINTS

    def __init__(self) -> None:
        super().__init__()
        self._longest = CHECK
        self._opened = 0
        self._in_a_row = 0
        self._last_run = self._looked_ahead = 0.0
        self._giving: deque[Thread] = deque()
        self._ready: deque[Thread] = deque()
        self._held: dict[Thread, tuple[Place, float]] = {}
        """By thread: where it is, and since when it is held; in order."""
        self.scarcity = Scarcity()

    def _start(self) -> None:
        super()._start()
        self.clear()
        for queue in (self._giving, self._ready, self._held):
            queue.clear()

    def checkpoint(self) -> bool:
        """Whether the thread that is about to open a descriptor lets the others go first."""
        self._opened += 1
        if self._opened >= self.scarcity.room:
            self._look_around()
        return type(self) is _Constrained

    def _look_around(self) -> None:
        self._opened = 0
        if self.scarcity.look(self._kernel.clock(), len(self)):
            self._constrain()

    def _constrain(self) -> None:
        self.__class__ = _Constrained
        self._left = 0  # each pop comes by `_pause`
        self._last_run = self._kernel.clock()

    @uncollected
    def _pause(self) -> Thread:
        self._look_around()
        return super()._pause() if type(self) is GraphScheduler else self._pause()


class _Constrained(GraphScheduler):
    """While something is scarce."""

    __slots__ = ()

    def __bool__(self) -> bool:
        self._sort()
        return bool(self._giving or self._ready) or self._may_pass()

    def __len__(self) -> int:
        self._sort()
        others = len(self._giving) + len(self._ready)
        return others + len(self._held) if others or self._may_pass() else 0

    def _look_around(self) -> None:
        self._opened = 0
        runnable = deque.__len__(self) + len(self._giving) + len(self._ready) + len(self._held)
        if not self.scarcity.look(self._kernel.clock(), runnable):
            self._relax()

    @uncollected
    def _relax(self) -> None:
        self._sort()
        self.extend(self._giving)
        self.extend(self._ready)
        for thread in self._held:
            self._release(thread)
            self.append(thread)
        for queue in (self._giving, self._ready, self._held):
            queue.clear()
        self._due = self._step = self._left = 1
        self.__class__ = GraphScheduler  # type: ignore[assignment]

    @uncollected
    def _pause(self) -> Thread:
        self._end_sample()
        self._look_around()
        if type(self) is not _Constrained:
            self._left = 0
            return ObservedFifo._pause(self)
        self._left = 0
        self._sort()
        thread = self._next()
        self._due -= 1
        if self._due <= 0 or self.recorder.place(thread).samples < UNKNOWN:
            self._begin_sample(thread)
        return thread

    def _end_sample(self) -> None:
        super()._end_sample()
        self._due = min(self._due, EVERY)

    @uncollected
    def _sort(self) -> None:
        """Have what was pushed meanwhile take its place."""
        while deque.__len__(self):
            thread = self.popleft()
            if thread.interrupt is not None:  # urgent, perhaps
                self._giving.appendleft(thread)
                continue
            place = self.recorder.place(thread)
            use = self._use(place)
            if use > 0:
                self._held[thread] = place, self._kernel.now
            elif use < 0:
                self._giving.append(thread)
            else:
                self._ready.append(thread)

    def _use(self, place: Place) -> int:
        """1 if who goes on from `place` takes what is scarce, -1 if it gives some back, else 0."""
        if not place.samples or place.kind in _HELPED:
            return 0
        scarcity = self.scarcity
        uses = []
        if scarcity.descriptors:
            uses.append(_sign(place.descriptors, LIKELY))
        if scarcity.memory:
            uses.append(_sign(place.memory, BYTES))
        if scarcity.cpu:
            uses.append(_sign(place.cpu - self.recorder.cpu, self.recorder.cpu / 2))
        return max(uses) if 1 in uses else min(uses, default=0)

    def _next(self) -> Thread:
        giving, ready = self._giving, self._ready
        now = self._kernel.now
        if self._held and self.scarcity_level() is Level.LITTLE:
            oldest, (_, since) = next(iter(self._held.items()))
            if now - since >= HOLD:
                return self._release_held(oldest)
        if giving and (not ready or self._in_a_row < IN_A_ROW):
            self._in_a_row += 1
            self._last_run = now
            return giving.popleft()
        self._in_a_row = 0
        if ready:
            self._last_run = now
            return ready.popleft()
        self._look_ahead()
        return self._release_held(min(self._held, key=lambda each: self._held[each][0].outlook))

    def scarcity_level(self) -> Level:
        """The scarcest's."""
        return max(self.scarcity.descriptors, self.scarcity.memory, self.scarcity.cpu)

    def _release_held(self, thread: Thread) -> Thread:
        del self._held[thread]
        self._release(thread)
        self._last_run = self._kernel.now
        return thread

    def _release(self, thread: Thread) -> None:
        thread.deadline = None  # the timer of `_may_pass`

    def _may_pass(self) -> bool:
        """Whether one that is held may go on, as nobody else is runnable."""
        if not self._held:
            return False
        if self.scarcity_level() is Level.NONE:
            self._look_around()  # what has just run may have given some back
            if type(self) is not _Constrained:
                return True  # all may
        if self.scarcity_level() is Level.NONE:
            due = self._last_run + QUIET
            if self._kernel.clock() < due:
                self._kernel.timers.add(next(iter(self._held)), due)
                return False
        return True

    def _look_ahead(self) -> None:
        """Estimate what threads will use from each place on, to their end.

        The expected use of a way through the graph, where what comes later counts for less.
        """
        now = self._kernel.clock()
        if now - self._looked_ahead < AHEAD:
            return
        self._looked_ahead = now
        by_memory = self.scarcity.memory > self.scarcity.descriptors
        places = [place for place in self.recorder.places if place.moves]
        for _ in range(ROUNDS):
            for place in places:
                total = sum(move.count for move in place.moves.values())
                place.outlook = (
                    sum(
                        move.count
                        * (
                            (move.memory if by_memory else move.descriptors)
                            + DISCOUNT * target.outlook
                        )
                        for target, move in place.moves.items()
                    )
                    / total
                )


def _sign(value: float, threshold: float) -> int:
    return (value > threshold) - (value < -threshold)
