"""Threads that wait for each other through queues, events, conditions or semaphores.

Whoever has a queue may put something there.  So it takes three things to say that threads wait for
each other for good, although others go on:

*A circle.*  Each waits for a thing with which the next, as its code says, would do what ends that
wait (`mentions`), or that the next holds, or for the end of the next; and not all for one thing.
Idle workers and the stages of a pipeline are no circle, and this is all that is done for them.

*That it is closed.*  Nothing that may act can reach those things (`reach`): no thread but the
circle's own and others that wait for the same reason, no function that such a thread may call, no
object that it has.

1. What could be reached is not looked for again at once: after `_AGAIN` seconds, and after twice as
   many each time, and no more than a thousandth of the time.
2. That search is made while no green thread runs: it holds objects whose finalizers would be late
   otherwise, and a thread may wait for those.

`Crossed.look` is for the runtime's own OS threads that have the GIL, `Crossed.is_closed` for the
scheduler's.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator
from types import CodeType, FrameType
from typing import NamedTuple

from greenlet import greenlet

from ..contracts.thread import Thread
from ..cpython import frames, originals
from ..cpython.ahead import BY_TEXT, ahead_of
from ..cpython.collector import of_kinds
from ..cpython.expressions import entered, has_entered_more, is_inside_block
from ..cpython.modules import imported
from ..io import os_threads
from ..kernel.core import Kernel
from .allowance import SHARE
from .holders import claims_of, holder_in
from .mentions import brings, mentions_of
from .reach import Closure, Reached
from .stacks import frame_of, is_library, stack_of_frames, variables_of
from .story import Bringer, call_of
from .things import is_future
from .waiting import (
    IN_CIRCLES,
    MOST,
    WaitId,
    awaited_ends,
    ended_by,
    is_stuck_inside,
    top_records,
    wait_id,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Crossed"]

_AGAIN = 5.0
_LONGEST = 600.0
_MOST_IN_ONE = 50
_PROMPTS = ("/code.py", "/pdb.py", "/bdb.py", "/cmd.py", "/multiprocessing/")
"""Of the standard library: what calls what a person or another process names."""


class _Reading:
    """What one wait is for, and what the thread would do after it.  Nothing of the program's is
    kept: it might end later for that."""

    __slots__ = ("call", "held", "mentions", "thing", "thread")

    def __init__(self, kernel: Kernel, thread: Thread) -> None:
        call = call_of(kernel, thread)
        self.thread = thread
        self.call = call.name
        self.thing = id(thread.object if call.thing is None else call.thing)
        self.held = claims_of(kernel, thread)
        self.mentions = mentions_of(kernel, thread, _is_waitable)


class Crossed:
    """The search for such circles among a kernel's threads."""

    __slots__ = ("_judged", "_kernel", "_read")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._read: dict[WaitId, _Reading] = {}
        """Never changed: another OS thread may be at it."""
        self._judged: dict[frozenset[WaitId], tuple[float, float]] = {}
        """By circle: when it may be looked at again, and the time between."""

    def look(self, latest: float, is_told: Callable[[set[WaitId]], bool]) -> list[Thread]:
        """A circle of threads that have waited since `latest` or before, and that may be closed;
        empty if there is none that it is time to ask that of."""
        stuck = [each for each in top_records(self._kernel) if is_stuck_inside(each)]
        stuck = [each for each in stuck if each.since < latest]
        self._read_stacks(stuck)
        if len(self._read) < 2:
            return []
        graph = self._graph()
        for circle in _circles(graph):
            keys = frozenset(map(wait_id, circle))
            due, pause = self._judged.get(keys, (0.0, _AGAIN))
            now = self._kernel.clock()
            if now >= due and not is_told({*keys}):
                self._judged[keys] = now + pause, min(2 * pause, _LONGEST)
                return circle
        return []

    def bringers(self, circle: list[Thread]) -> list[Bringer]:
        """For each of a circle that was found: who could end its wait, which is the next."""
        graph = self._graph()
        found = []
        for each, following in zip(circle, [*circle[1:], circle[0]], strict=True):
            edges = graph.get(id(each), [])
            found.append(next(edge for edge in edges if edge.thread is following))
        return found

    def _read_stacks(self, stuck: list[Thread]) -> None:
        waits = {wait_id(thread): thread for thread in stuck}
        judged = list(self._judged.items())
        self._judged = {keys: when for keys, when in judged if keys <= waits.keys()}
        read = {key: reading for key, reading in self._read.items() if key in waits}
        for thread in [thread for key, thread in waits.items() if key not in read][:MOST]:
            read[wait_id(thread)] = _Reading(self._kernel, thread)
        self._read = read

    def _graph(self) -> dict[int, list[Bringer]]:
        """By the id of a record: who could end its wait, but for who waits for the same."""
        ends = awaited_ends(self._kernel.threads.values())
        mentioned: dict[int, list[_Reading]] = {}
        held: dict[int, list[_Reading]] = {}
        by_ident = {each.thread.ident: each for each in self._read.values()}
        for reading in self._read.values():
            for key in reading.mentions:
                mentioned.setdefault(key, []).append(reading)
            for claim in reading.held:
                held.setdefault(claim.key, []).append(reading)
        graph: dict[int, list[Bringer]] = {}
        for each in self._read.values():
            other = ended_by(each.thread, ends)
            edges: list[Bringer] = []
            if other is not None:
                if other.ident in by_ident:
                    edges.append(Bringer(by_ident[other.ident].thread))
            else:
                edges += [Bringer(one.thread) for one in held.get(each.thing, [])]
                for one in mentioned.get(each.thing, []):
                    for mention in one.mentions[each.thing]:
                        if brings(each.call, mention[0]) and one.thing != each.thing:
                            edges.append(Bringer(one.thread, *mention))
                            break
            graph[id(each.thread)] = edges
        return graph

    # -- is it closed ------------------------------------------------------------------------

    @frames.search
    def is_closed(self, circle: list[Thread]) -> bool:
        """Whether nothing but threads that wait like these can end the waits of `circle`."""
        began_at: float = originals.thread_time()
        kernel = self._kernel
        records = {id(each): each for each in top_records(kernel)}
        stuck = [each for each in records.values() if is_stuck_inside(each)]
        stacks = {id(each.greenlet): frame_of(kernel, each) for each in records.values()}
        closure = Closure([(each, stacks[id(each.greenlet)]) for each in stuck], stacks)
        try:
            self._close(circle, closure, records)
        except Reached:
            return False
        finally:
            closure.forget()
            used: float = originals.thread_time() - began_at
            keys = frozenset(map(wait_id, circle))
            due, pause = self._judged.get(keys, (0.0, _AGAIN))
            self._judged[keys] = max(due, kernel.clock() + SHARE * used), pause
        return True

    def _close(self, circle: list[Thread], closure: Closure, records: dict[int, Thread]) -> None:
        readings = {id(each.thread): each for each in self._read.values()}
        lost: dict[int, Thread] = {}
        todo = list(circle)
        codes: dict[int, CodeType] = {}
        closure.cut(codes)
        while todo:
            grown = False
            while todo:
                each = todo.pop()
                if id(each) in lost:
                    continue
                if not is_stuck_inside(each) or len(lost) > _MOST_IN_ONE:
                    raise Reached
                lost[id(each)] = each
                found = readings.get(id(each))
                if found is None or wait_id(each) not in self._read:
                    raise Reached
                others = self._only_by(found)
                if others is None:
                    closure.grow(self._things(each))
                    grown = True
                else:
                    todo += others
            if grown:
                places: dict[Any, _Place] = {}
                todo += [
                    each
                    for each in records.values()
                    if id(each) not in lost and self._touches(each, closure, codes, places)
                ]
        places = {}
        for innermost in self._others(records.values()):
            for frame in stack_of_frames(innermost):
                if not frames.is_ours(frame) and _may_use(frame, closure, False, places):
                    raise Reached
        closure.check(codes.values())
        # Last: an OS thread that has ended meanwhile may have left something there.
        kernel = self._kernel
        if kernel._inbox or kernel.unfinished or kernel.proxies:
            raise Reached

    def _things(self, thread: Thread) -> list[Any]:
        """The thing that a thread waits for, as the program knows it, and what it waits for in
        that."""
        thing = call_of(self._kernel, thread).thing
        return [thread.object] if thing is None else [thing, thread.object]

    def _only_by(self, reading: _Reading) -> list[Thread] | None:
        """Who alone can end a wait: the thread whose end it is for, or who holds the lock; None if
        whoever reaches a thing can."""
        kernel = self._kernel
        other = ended_by(reading.thread, awaited_ends(kernel.threads.values()))
        if other is not None:
            return [other]
        thing = self._things(reading.thread)[0]
        claims = [
            (each.thread, claim)
            for each in self._read.values()
            for claim in each.held
            if claim.key == id(thing) and claim.is_block
        ]
        if reading.thread.kind in ("lock", "rlock"):
            holders = holder_in(thing, claims)
            if len(holders) == 1 and holders[0].is_sure:
                ident = holders[0].ident
                return [each for each in top_records(kernel) if each.ident == ident] or None
        threading = imported("threading")
        is_bounded = threading is not None and isinstance(thing, threading.BoundedSemaphore)
        if is_bounded and claims and len(claims) == thing._initial_value:
            return [thread for thread, _ in claims]
        return None

    def _touches(
        self,
        thread: Thread,
        closure: Closure,
        codes: dict[int, CodeType],
        places: dict[Any, _Place],
    ) -> bool:
        """Whether what a thread has yet to do may use what leads to the things; `Reached` if it is
        one that may go on."""
        found = False
        for frame in stack_of_frames(frame_of(self._kernel, thread)):
            codes[id(frame.f_code)] = frame.f_code
            found = found or _may_use(frame, closure, True, places)
        if found and not is_stuck_inside(thread):
            raise Reached
        return found

    def _others(self, records: Collection[Thread]) -> Iterator[FrameType]:
        """The innermost frames of OS threads and of greenlets that are not the runtime's."""
        ours = {*os_threads.idents(), originals.get_ident(), self._kernel.os_ident}
        for ident, frame in list(originals.current_frames().items()):
            if ident not in ours:
                yield frame
        known = {id(each.greenlet) for each in records}
        for each in of_kinds(gc.get_objects, (greenlet,)):
            if id(each) not in known and each.gr_frame is not None:
                yield each.gr_frame


class _Place(NamedTuple):
    """What is the same for all frames that are at one place."""

    is_ours: bool
    may_use: bool
    """Whether the code may use what leads to the things, whatever its variables are."""
    is_in_block: bool
    """Whether it is inside a ``with`` block."""


def _place_of(frame: FrameType, closure: Closure, is_parked: bool) -> _Place:
    if frames.is_ours(frame):
        return _Place(True, False, False)
    return _Place(False, _is_to_use(frame, closure, is_parked), is_inside_block(frame))


def _is_to_use(frame: FrameType, closure: Closure, is_parked: bool) -> bool:
    code = frame.f_code
    file = code.co_filename
    is_stdlib = frames.is_stdlib(file)
    if not is_stdlib and ahead_of(frame).has_results:
        return True
    if not closure.wanted:
        return False
    if is_library(file):
        return True
    if is_stdlib:
        return any(part in file for part in _PROMPTS)
    names = ahead_of(frame).names if is_parked else closure.names(code)
    return not BY_TEXT.isdisjoint(names) or closure.uses(names, frame.f_globals)


def _may_use(
    frame: FrameType, closure: Closure, is_parked: bool, places: dict[Any, _Place]
) -> bool:
    """Whether `frame` may yet use what leads to the things; notes which variables it has.

    `places` are those that were asked of since the things were known that lead there: most threads
    wait at few.
    """
    code = frame.f_code
    key = id(code), frame.f_lasti, id(frame.f_globals)
    place = places.get(key)
    if place is None:
        place = places[key] = _place_of(frame, closure, is_parked)
    variables = variables_of(frame)
    if variables is not None:
        if type(variables) is dict:  # until CPython 3.12, and the frame keeps it
            closure.explain(variables)
        if not closure.found.keys().isdisjoint(map(id, variables.values())):
            for name, value in list(variables.items()):
                if id(value) not in closure.found:
                    continue
                closure.explain(value)
                if place.is_ours:
                    continue
                if not is_parked or name in ahead_of(frame).variables or closure.has_finalizers():
                    return True
                if code.co_name.startswith("__"):
                    return True  # who makes or enters something has it when this returns
    if place.may_use:
        return True
    if not place.is_in_block:
        return False
    if any(id(value) in closure.found for value, _ in entered(frame)):
        return True
    # To leave a condition's block wakes nobody that waits for it.
    condition = getattr(imported("threading"), "Condition", None)
    kinds = {*map(type, closure.found.values())} - {condition}
    return has_entered_more(frame) and any(hasattr(kind, "__exit__") for kind in kinds)


def _circles(graph: dict[int, list[Bringer]]) -> Iterator[list[Thread]]:
    """The shortest circle through each thread that waits for neither a lock nor an end."""
    threads = {id(edge.thread): edge.thread for edges in graph.values() for edge in edges}
    for first, thread in threads.items():
        if thread.kind not in IN_CIRCLES:
            came_from: dict[int, int] = {}
            todo = [first]
            while todo and first not in came_from:
                following = []
                for each in todo:
                    for edge in graph.get(each, ()):
                        key = id(edge.thread)
                        if key not in came_from:
                            came_from[key] = each
                            following.append(key)
                todo = following
            if first in came_from:
                way = [first]
                while came_from[way[-1]] != first:
                    way.append(came_from[way[-1]])
                yield [threads[key] for key in [first, *reversed(way[1:])]]


def _is_waitable(value: Any) -> bool:
    kind = type(value)
    if kind in (originals.LockType, originals.RLockType):
        return True
    threading, queue = imported("threading"), imported("queue")
    if threading is not None and issubclass(
        kind, (threading.Barrier, threading.Condition, threading.Event, threading.Semaphore)
    ):
        return True
    if queue is not None and issubclass(kind, (queue.Queue, queue.SimpleQueue)):
        return True
    return is_future(value)
