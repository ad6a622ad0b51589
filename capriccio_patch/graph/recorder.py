"""The blocking graph: where threads wait, and what they use between one such place and the next.

After section 3 of the Capriccio paper of 2003.  A *node* is a place where threads block: the calls
that lead there, and what is waited for.  An *edge* is a move from one node to the next: how often
threads make it, and exponentially weighted averages of the CPU time, the memory and the descriptors
that a move takes (or, below 0, gives back).  A thread starts at a node of its own kind and ends at
another.

It is sampled: of a move that is looked at, both ends are, and the counters before and after.  One
such look costs some 10 us, so they are spaced: `SHARE` of the CPU time at most, after the first
`EAGER` moves.  A sampled move stands for all since the one before.  The spacing varies, or it would
fall in step with a program that repeats itself.

1. A place is told apart by the code objects and positions on the stack (`Recorder._place`), at 0.1
   us a frame; what these mean is looked up once.  Frames of this package count for that, but are
   not part of what is told.
2. Mean numbers of parked threads are Little's law: the time that sampled moves had waited, summed,
   over the time that has passed.
3. What there is of it does not grow with the program: at most `MOST` nodes, then one for the rest.

Scheduler's OS thread only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from types import CodeType, FrameType

from ..contracts.thread import Thread
from ..cpython import frames, originals
from .model import WEIGHT, Averages, BlockingGraph, Edge, Node, Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..kernel.core import Kernel

__all__ = ["Recorder", "count_descriptors"]

SHARE = 0.02
EAGER = 500
LONGEST = 5_000  # moves from one sample to the next
MOST = 1_000  # nodes
FRAMES = 24  # of a call chain, from the inside
MEMORY_EVERY = 4  # samples: reading it costs as much as the rest of a sample


class Recorder:
    """Records the graph of a kernel's threads."""

    __slots__ = (
        "_begun",
        "_cost",
        "_counters",
        "_end",
        "_kept",
        "_kernel",
        "_lot",
        "_overhead",
        "_places",
        "_raw_places",
        "_rest",
        "_since_last",
        "_starts",
        "cpu",
        "moves",
        "places",
        "sampled",
        "since",
    )

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.since = kernel.clock()
        self.places: list[Place] = []
        self._raw_places: dict[tuple[Any, ...], Place] = {}
        self._places: dict[tuple[Any, ...], Place] = {}
        self._starts: dict[int, Place] = {}
        self._kept: dict[int, Any] = {}
        """By id: code objects whose ids are in use as keys."""
        self._end = self._new("end", ())
        self._rest: Place | None = None
        self._begun: tuple[Thread, Place] | None = None
        self._counters = (0, 0, 0)
        self._since_last = 1
        self._overhead = 0
        self._cost = 0.0
        self._lot = 1
        self.cpu = 0.0
        """Nanoseconds of CPU time that a move takes, on average."""
        self.sampled = self.moves = 0

    # -- samples -----------------------------------------------------------------------------

    def begin(self, thread: Thread) -> None:
        """`thread` is about to run: its move is the next sample."""
        started = originals.thread_time_ns()
        place = self.place(thread)
        if thread.started and thread.since > 0.0:
            place.waited += self._since_last * max(0.0, self._kernel.now - thread.since)
        self._begun = thread, place
        memory = _memory() if self.sampled % MEMORY_EVERY == 0 else 0
        descriptors = count_descriptors()
        now = originals.thread_time_ns()
        self._overhead = now - started
        self._counters = now, memory, descriptors

    def end(self) -> None:
        """The thread of the sample has come to wait, or to its end."""
        begun, self._begun = self._begun, None
        if begun is None:
            return
        now = originals.thread_time_ns()
        thread, source = begun
        if getattr(self._kernel.finalizer, "host", None) is not thread:
            return  # a finalizer or a signal handler came in between
        before, memory, descriptors = self._counters
        descriptors = count_descriptors() - descriptors
        now_used = _memory() if memory else 0
        grown = now_used - memory if now_used else None
        target = self._end if thread.greenlet is None else self._place(thread, sys._getframe(1))
        weight = self._since_last
        cpu = now - before
        source.add(weight, cpu, grown, descriptors)
        move = source.moves.get(target)
        if move is None:
            move = source.moves[target] = Averages()
        move.add(weight, cpu, grown, descriptors)
        self.sampled += 1
        share = max(WEIGHT, 1.0 / self.sampled)
        self.cpu += (cpu - self.cpu) * share
        self._overhead += originals.thread_time_ns() - now
        self._cost += (self._overhead - self._cost) * share

    def spacing(self) -> int:
        """How many moves the next sample stands for: that one, and those which precede it."""
        if self.sampled < EAGER:
            spacing = 1
        else:
            self._lot = lot = (self._lot * 1103515245 + 12345) & 0x7FFFFFFF
            mean = min(LONGEST, int(self._cost / (SHARE * self.cpu + 1.0)))
            spacing = 1 + mean // 2 + (lot >> 8) % (mean + 1)
        self._since_last = spacing
        self.moves += spacing
        return spacing

    # -- places ------------------------------------------------------------------------------

    def place(self, thread: Thread) -> Place:
        """Where a thread waits or has waited, or, if it is about to go on at once, where it is."""
        if not thread.started:
            return self._start(thread.run)
        if thread.greenlet is None:
            return self._end
        # Of the greenlet that runs there is no such frame.
        return self._place(thread, thread.greenlet.gr_frame or sys._getframe(1))

    def _place(self, thread: Thread, innermost: FrameType | None) -> Place:
        key: list[Any] = [thread.kind]
        frame = innermost
        while frame is not None:
            key.append(id(frame.f_code))
            key.append(frame.f_lasti)
            frame = frame.f_back
        raw = tuple(key)
        place = self._raw_places.get(raw)
        if place is None:
            place = self._described(thread, innermost)
            if len(self._raw_places) < 8 * MOST:
                self._raw_places[raw] = place
                frame = innermost
                while frame is not None:
                    self._kept[id(frame.f_code)] = frame.f_code
                    frame = frame.f_back
        return place

    def _described(self, thread: Thread, frame: FrameType | None) -> Place:
        kind = thread.kind
        awaited = thread.object
        if kind == "read" and getattr(awaited, "listens", False):
            kind = "accept"
        chain: list[tuple[str, int, str]] = []
        outside = False
        while frame is not None and len(chain) < FRAMES:
            code = frame.f_code
            if not frames.is_ours(frame):
                outside = True
                chain.append((code.co_filename, frame.f_lineno or 0, code.co_qualname))
            elif not outside:
                kind = frames.wait_kind(frame) or kind
            frame = frame.f_back
        chain.reverse()
        return self._known(kind or "yield", tuple(chain))

    def _start(self, run: Any) -> Place:
        function = _function(run)
        code = getattr(function, "__code__", None) or function
        place = self._starts.get(id(code))
        if place is None:
            if isinstance(code, CodeType):
                chain = ((code.co_filename, code.co_firstlineno, code.co_qualname),)
            else:
                chain = (("", 0, getattr(code, "__qualname__", type(code).__name__)),)
            place = self._known("start", chain)
            if len(self._starts) < MOST:
                self._starts[id(code)] = place
                self._kept[id(code)] = code
        return place

    def _known(self, kind: str, chain: tuple[tuple[str, int, str], ...]) -> Place:
        place = self._places.get((kind, chain))
        if place is None:
            if len(self.places) > MOST:
                if self._rest is None:
                    self._rest = self._new("other", ())
                return self._rest
            place = self._places[kind, chain] = self._new(kind, chain)
        return place

    def _new(self, kind: str, chain: tuple[tuple[str, int, str], ...]) -> Place:
        place = Place(len(self.places), kind, chain)
        self.places.append(place)
        return place

    # -- what there is -----------------------------------------------------------------------

    def snapshot(self) -> BlockingGraph:
        """The graph as it is now."""
        kernel = self._kernel
        now = kernel.clock()
        seconds = max(now - self.since, 1e-9)
        parked: dict[Place, int] = {}
        waiting: dict[Place, float] = {}
        for thread in list(kernel.threads.values()):
            if thread.parked and thread.greenlet is not None:
                place = self.place(thread)
                parked[place] = parked.get(place, 0) + 1
                since = max(self.since, thread.since)
                waiting[place] = waiting.get(place, 0.0) + max(0.0, now - since)
        nodes = tuple(
            Node(
                place.number,
                place.kind,
                place.chain,
                parked.get(place, 0),
                (place.waited + waiting.get(place, 0.0)) / seconds,
                place.count,
                place.cpu / 1e9,
                place.memory,
                place.descriptors,
            )
            for place in self.places
        )
        edges = tuple(
            Edge(
                place.number,
                target.number,
                move.count,
                move.cpu / 1e9,
                move.memory,
                move.descriptors,
            )
            for place in self.places
            for target, move in place.moves.items()
        )
        return BlockingGraph(nodes, edges, self.sampled, self.moves, seconds)


def _function(run: Any) -> Any:
    """The program's function behind what a thread calls first."""
    run = getattr(run, "func", run)  # a raw thread's, with its arguments
    thread = getattr(run, "__self__", None)
    target = getattr(thread, "_target", None)
    if target is not None:
        return getattr(target, "__func__", target)
    method = getattr(type(thread), "run", None) if thread is not None else None
    return method or getattr(run, "__func__", run)


def _count_descriptors_by_size() -> int:
    return int(originals.stat("/proc/self/fd").st_size)


def _count_descriptors_by_psutil() -> int:
    return int(_process().num_fds())


def _memory_of_statm() -> int:
    try:
        fd = originals.os_open("/proc/self/statm", _O_RDONLY)
    except OSError:  # no descriptor is left
        return 0
    try:
        return int(originals.read(fd, 64).split()[1]) * _PAGE
    finally:
        originals.close(fd)


def _memory_by_psutil() -> int:
    return int(_process().memory_info().rss)


@cache
def _process() -> Any:
    import psutil

    return psutil.Process()


def _works(function: Callable[[], int]) -> bool:
    try:
        return function() > 0
    except (IndexError, OSError, ValueError):
        return False


# Both are asked in the kernel's critical section, where nothing that is patched may be called: what
# psutil does is a system call of C code where there is no /proc.  Since Linux 6.2 the size of the
# directory is the number of its entries; before, they have to be listed.
_PAGE: int = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_O_RDONLY = os.O_RDONLY
if _works(_count_descriptors_by_size):
    count_descriptors: Callable[[], int] = _count_descriptors_by_size
else:
    count_descriptors = _count_descriptors_by_psutil
"""How many descriptors this process has open."""
_memory = _memory_of_statm if _works(_memory_of_statm) else _memory_by_psutil
if _memory_by_psutil is _memory or _count_descriptors_by_psutil is count_descriptors:
    _process()  # it imports, which is nothing to do in a critical section
