"""Threads that nobody can wake any more: who could has lost what they wait for.

As Go's leak profile does by its collector.  A worker that waits for a queue whose producers are
gone, or a thread that waits for an event that nobody else holds, waits for good, though other
threads go on.

Facts.  Whatever could end such a wait has to reach the object that is waited for.  The collector
knows which object refers to which; what else holds an object (C code, a stack) shows in its count
of references.  The stacks of waiting threads hold what these wait for, in ways that the collector
sees in part.

Decision.  Everything counts as alive that is held by something that the collector does not know,
but for what the stacks of the threads in question hold; and whatever is reached from there.  A
thread whose object is reached may go on: then what its stack holds is alive, too, and so on, until
nothing more is found.  The others are leaked.

1. A thread that runs, or waits for something from outside (a descriptor, a deadline, a child), is
   not in question: its stack is alive.
2. A thread that waits for another's end is leaked if that one is.
3. An object that C code alone holds, beside the stacks in question, is not seen to be held: a
   library that keeps an event in C and sets it later is the one mistake that is possible.

Cost.  Some 8 us for each object that the collector knows, in which no other thread runs: a second
for 100,000 objects.  Green threads.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from types import (
    BuiltinMethodType,
    CellType,
    FrameType,
    FunctionType,
    MethodType,
    MethodWrapperType,
)
from typing import Any, NamedTuple

from ..contracts.thread import Thread
from ..cpython import frames
from ..cpython.collector import referents
from ..cpython.expressions import content_of
from ..cpython.modules import imported
from ..kernel.core import Kernel
from .snapshot import first_call
from .stacks import frame_of, name_of, stack_of, variables_of, waits_in
from .things import described
from .waiting import awaited_ends, ended_by, is_stuck_inside, top_records

__all__ = ["Leak", "leaks_of"]

_METHODS = frozenset({BuiltinMethodType, MethodType, MethodWrapperType})
_STARTED_WITH = frozenset({"_target", "_args", "_kwargs"})


class Leak(NamedTuple):
    """A thread that nobody can wake any more."""

    ident: int
    name: str
    waits_for: str
    """In words: ``queue.Queue at 0x... (0 items)``."""
    seconds: float
    """How long it has waited."""
    begun: tuple[str, int, str]
    """The function that it runs: file, line, name."""
    stack: tuple[tuple[str, int, str], ...]
    """File, line and function, the innermost first."""


def leaks_of(kernel: Kernel) -> list[Leak]:
    """The threads that wait for good, although others may go on."""
    suspects = [each for each in top_records(kernel) if is_stuck_inside(each)]
    if not suspects:
        return []
    left = _left_over(kernel, suspects)
    now = kernel.clock()
    return [
        Leak(
            thread.ident,
            name_of(thread.ident),
            described(_things(kernel, thread)[-1]),
            now - thread.since,
            tuple(first_call(thread)[0]) if first_call(thread) else ("", 0, ""),
            stack_of(kernel, thread),
        )
        for thread in left
    ]


def _things(kernel: Kernel, thread: Thread) -> list[Any]:
    """What a thread waits for: the object, and the one that the program knows it by."""
    thing = waits_in(frame_of(kernel, thread)).thing
    return [thread.object] if thing is None else [thread.object, thing]


@frames.search
def _left_over(kernel: Kernel, suspects: list[Thread]) -> list[Thread]:
    """Those of `suspects` whose objects nothing that lives can reach."""
    ends = awaited_ends(kernel.threads.values())
    joined = {id(each): ended_by(each, ends) for each in suspects}
    things = {id(each): [id(thing) for thing in _things(kernel, each)] for each in suspects}
    stacks = {id(each): _Stack(kernel, each) for each in suspects}
    live = [_Stack(kernel, each).held for each in top_records(kernel) if id(each) not in stacks]
    objects = gc.get_objects()
    cut, shown = _cut(suspects)
    cut |= {id(each) for each in (objects, stacks, suspects, things, shown, live, *live)}
    cut |= {id(held) for held in shown.values()}
    for stack in stacks.values():
        cut |= {id(stack), id(stack.held), id(stack.frames), *map(id, stack.frames)}
    doubtful = _Doubtful(kernel, suspects, stacks.values())
    alive = _Alive(cut, shown)
    alive.reach(_held_from_outside(objects, cut, doubtful))
    del objects
    for held in live:
        alive.reach(held)
    left = list(suspects)
    while True:
        waiting = {id(each) for each in left}
        wakeable = [
            each
            for each in left
            if (
                not alive.seen.isdisjoint(things[id(each)])
                if joined[id(each)] is None
                else id(joined[id(each)]) not in waiting
            )
        ]
        if not wakeable:
            return left
        left = [each for each in left if each not in wakeable]
        for each in wakeable:
            alive.reach(stacks[id(each)].held)


class _Alive:
    """What has been reached."""

    __slots__ = ("_cut", "_shown", "seen")

    def __init__(self, cut: set[int], shown: dict[int, list[Any]]) -> None:
        self._cut = cut
        self._shown = shown
        self.seen: set[int] = set()

    def reach(self, objects: Iterable[Any]) -> None:
        """`objects` live, and what they refer to."""
        seen, cut = self.seen, self._cut
        todo = [each for each in objects if id(each) not in cut]
        seen.update(map(id, todo))
        while todo:
            last = todo.pop()
            found = self._shown.get(id(last))
            for each in referents(last) if found is None else found:
                key = id(each)
                if key not in seen and key not in cut:
                    seen.add(key)
                    todo.append(each)


def _held_from_outside(objects: list[Any], cut: set[int], doubtful: _Doubtful) -> list[Any]:
    """Those of `objects` to which something refers that the collector does not know."""
    counts: dict[int, int] = dict.fromkeys(map(id, objects), 0)
    for each in objects:
        for other in referents(each):
            key = id(other)
            if key in counts:
                counts[key] += 1
    each = other = None  # a reference less
    probe: list[Any] = [[]]
    (own,) = [sys.getrefcount(each) for each in probe]  # of the list, the loop and the call
    return [
        each
        for each in objects
        if sys.getrefcount(each) - own > counts[id(each)]
        and id(each) not in cut
        and not doubtful.is_one(each)
    ]


class _Stack:
    """The frames of a thread, and what their variables hold."""

    __slots__ = ("frames", "held")

    def __init__(self, kernel: Kernel, thread: Thread) -> None:
        self.frames: list[FrameType] = []
        self.held: list[Any] = []
        frame = frame_of(kernel, thread)
        while frame is not None:
            self.frames.append(frame)
            variables = variables_of(frame)
            if variables is not None:
                self.held += variables.values()
            frame = frame.f_back


class _Doubtful:
    """What seems to be held from outside because the stacks of waiting threads hold it."""

    __slots__ = ("_codes", "_ids")

    def __init__(self, kernel: Kernel, suspects: list[Thread], stacks: Iterable[_Stack]) -> None:
        self._codes: set[int] = set()
        self._ids: set[int] = set()
        for stack in stacks:
            self._ids.update(map(id, stack.held))
            for frame in stack.frames:
                self._codes.add(id(frame.f_code))
                variables = variables_of(frame)
                if variables is not None:
                    self._ids.add(id(variables))  # until CPython 3.12 the frame keeps it
        for thread in suspects:
            # The call that waits may be one of C, which holds the thing and its parts on no stack.
            for thing in _things(kernel, thread):
                parts = gc.get_referents(thing)
                self._ids |= {id(thing), *map(id, parts), *map(id, gc.get_referents(*parts))}

    def is_one(self, found: Any) -> bool:
        """A thing itself, or what a frame holds of its own: its function, its cells, the methods
        that it calls and what it passes to them."""
        if id(found) in self._ids:
            return True
        kind = type(found)
        if kind is tuple:
            return not self._ids.isdisjoint(map(id, found))
        if kind is FunctionType:
            return id(found.__code__) in self._codes
        if kind is CellType:
            return id(content_of(found)) in self._ids
        return kind in _METHODS and id(found.__self__) in self._ids


def _cut(suspects: list[Thread]) -> tuple[set[int], dict[int, list[Any]]]:
    """What refers to the objects of waiting threads and yet can't wake them.

    Their records, and the list of all threads; and, by id of their `threading.Thread`, what that
    refers to beside what it was started with.
    """
    cut: set[int] = set()
    shown: dict[int, list[Any]] = {}
    threading = imported("threading")
    active = {} if threading is None else threading._active
    cut.add(id(active))
    for thread in suspects:
        cut |= {id(thread), id(thread.greenlet)}
        known = active.get(thread.ident)
        if known is not None:
            fields = vars(known)
            cut.add(id(fields))
            shown[id(known)] = [fields[name] for name in fields if name not in _STARTED_WITH]
    return cut, shown
