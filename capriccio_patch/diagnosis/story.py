"""A deadlock in words: who waits for what, who holds it, since when, and where in the program.

1. Threads that wait for the same at the same place are told of once, with their number.
2. Guesses are told as guesses: a holder that only calls of ``acquire`` tell of.
3. The first line and the place that go with a warning are those of a line that can be mended: where
   a lock was asked for in the circle, or where the longest wait began that is not for a thread.
4. Who waits for another thread's end, or for what another holds, is told of last: what that one
   waits for is the reason.

Any OS thread that has the GIL.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..contracts.thread import Thread
from ..cpython import originals
from ..cpython.expressions import attribute
from ..cpython.frames import is_stdlib
from ..cpython.modules import imported, whole
from ..kernel.core import Kernel
from .holders import Holder, holders_of
from .naming import variable_of
from .outsiders import handler_in
from .stacks import Call, Place, frame_of, line_of, name_of, place_of, stack_of, waits_in
from .things import described, is_future
from .waiting import FROM_INSIDE, awaited_ends, ended_by, find_circle, is_alive

__all__ = [
    "Bringer",
    "Wait",
    "call_of",
    "circle_story",
    "crossed_story",
    "formatted",
    "pool_story",
    "waits_of",
    "whole_story",
]

_MOST = 20
"""Different waits that are told of."""
_FRAMES = 8
_NAMES = 4

_NOBODY = {
    "event": "nobody is left to set it",
    "condition": "nobody is left to notify it (notify wakes only who waits already)",
    "queue": "nobody is left to put something there",
    "import lock": "nobody is left to release it",
    "Queue.get": "nobody is left to put something there",
    "Queue.put": "nobody is left to take something from there",
    "Queue.join": "nobody is left to call task_done",
    "Semaphore.acquire": "nobody is left to release it (it was acquired more often than released)",
    "Barrier.wait": "nobody is left to come",
    "Future.result": "nobody is left to give it a result",
    "Future.exception": "nobody is left to give it a result",
    "futures.wait": "nobody is left to give them results",
    "futures.as_completed": "nobody is left to give them results",
}
"""By call or kind: what a wait is in vain for."""


class Wait(NamedTuple):
    """What a thread waits for."""

    thread: Thread
    name: str
    call: str
    thing: Any
    variable: str
    """What the code that waits calls the thing; empty if that is not found."""
    holders: Sequence[Holder]
    ending: int | None
    """The identifier of the thread for whose end it waits."""
    stack: tuple[Place, ...]


class Bringer(NamedTuple):
    """Who could end a wait, and by which method, where its code has that; no method if it is by
    what that one holds, or by its end."""

    thread: Thread
    method: str = ""
    place: Place | None = None


def waits_of(kernel: Kernel, threads: Iterable[Thread], most: int = _FRAMES) -> list[Wait]:
    """What `threads`, which are parked, wait for; their stacks to a depth of `most`."""
    threads = list(threads)
    ends = awaited_ends(kernel.threads.values())
    calls = [call_of(kernel, thread) for thread in threads]
    held = [call.thing for call in calls if _can_be_held(call.thing)]
    holders = holders_of(kernel, held, threads) if held else {}
    waits = []
    for thread, call in zip(threads, calls, strict=True):
        ending = ended_by(thread, ends)
        is_named = thread.kind in FROM_INSIDE and ending is None
        waits.append(
            Wait(
                thread,
                name_of(thread.ident),
                call.name,
                call.thing,
                variable_of(frame_of(kernel, thread), call.thing) if is_named else "",
                holders.get(id(call.thing), ()),
                None if ending is None else ending.ident,
                stack_of(kernel, thread, most),
            )
        )
    return waits


def call_of(kernel: Kernel, thread: Thread) -> Call:
    """The call that a thread waits in, and the thing that the program knows."""
    call = waits_in(frame_of(kernel, thread))
    is_lock = thread.kind in ("lock", "rlock") and type(call.thing).__name__ != "_ModuleLock"
    if call.name.startswith("futures."):
        return call  # the event is nobody's but the module's
    if call.thing is None or is_lock:
        # Of a lock inside something else the holder is that of the lock.
        return Call(call.name or _in_c(thread), thread.object)
    return call


_VERBS = {
    "condition": "wait",
    "event": "wait",
    "lock": "acquire",
    "queue": "get",
    "rlock": "acquire",
}
"""By kind of a wait: which method of the thing it is, where C has made it and there is no frame."""


def _in_c(thread: Thread) -> str:
    thing, verb = thread.object, _VERBS.get(thread.kind)
    if verb is None or thing is None:
        return thread.kind
    if thread.kind == "condition" and hasattr(thing, "maxsize"):
        verb = "put" if len(thing.queue) else "get"
    return f"{type(thing).__name__}.{verb}"


def _can_be_held(thing: Any) -> bool:
    if is_future(thing):
        return True
    threading = imported("threading")
    if threading is not None and isinstance(thing, threading.Semaphore):
        return True
    return type(thing).__name__ == "_ModuleLock" or isinstance(
        thing, (originals.LockType, originals.RLockType)
    )


def whole_story(kernel: Kernel, threads: list[Thread]) -> tuple[str, tuple[str, int]]:
    """The text of a deadlock of all threads, and the place it is to be reported for."""
    waits = waits_of(kernel, threads)
    number = len(threads)
    who = f"none of the {number} threads" if number > 1 else "the only thread"
    what = "can run again" if number > 1 else "can't run again"
    circle = _circle(waits)
    parts = [f"deadlock: {who} {what}, and nothing from outside can wake one"]
    parts += [_drawn(circle)] if circle else []
    told: dict[tuple[Any, ...], list[Wait]] = {}
    for wait in [*circle, *sorted((each for each in waits if each not in circle), key=_order)]:
        key = wait.call, id(wait.thing), wait.ending, wait.stack
        told.setdefault(key, []).append(wait)
    parts += [paragraph(kernel, group) for group in list(told.values())[:_MOST]]
    if len(told) > _MOST:
        parts.append(f"... and {len(told) - _MOST} more waits")
    return "\n".join(parts), _reported_for(circle[0] if circle else min(waits, key=_order))


def _order(wait: Wait) -> tuple[bool, bool, float]:
    """Code of the program comes first, then what no other thread is to bring, and then who has
    waited longest."""
    place = place_of(wait.stack)
    is_elsewhere = place is None or is_stdlib(place.file)
    is_for_others = bool(wait.ending or wait.holders) or wait.call.startswith("futures.")
    return is_elsewhere, is_for_others, wait.thread.since


def circle_story(kernel: Kernel, circle: list[Thread]) -> tuple[str, tuple[str, int]]:
    """The text of a deadlock of some threads, and the place it is to be reported for."""
    waits = waits_of(kernel, circle)
    if len(waits) == 1:
        head = f"deadlock: {_who(kernel, waits)} waits for what it holds itself"
    else:
        head = f"deadlock: {len(waits)} threads wait for each other, while others go on"
    parts = [head, _drawn(waits), *(paragraph(kernel, [wait]) for wait in waits)]
    return "\n".join(parts), _reported_for(waits[0])


def crossed_story(
    kernel: Kernel, circle: list[Thread], bringers: list[Bringer]
) -> tuple[str, tuple[str, int]]:
    """The text of a deadlock of threads each of which could end the wait of the one before it, and
    the place it is to be reported for."""
    waits = waits_of(kernel, circle)
    head = f"deadlock: {len(waits)} threads wait for each other, while others go on"
    parts = [f"{head} that can't reach what these wait for", _drawn(waits)]
    for wait, bringer in zip(waits, bringers, strict=True):
        for_what = _for_what(kernel, wait)
        if bringer.place is not None and wait.ending is None and not wait.holders:
            what = for_what.partition(": nobody is left ")[0].partition(", taken by a thread ")[0]
            verb = _BROUGHT.get(bringer.method, f"call {bringer.method}")
            for_what = f"{what}: only {name_of(bringer.thread.ident)} could {verb}, at "
            for_what += _shown(bringer.place)
        parts.append(paragraph(kernel, [wait], for_what))
    return "\n".join(parts), _reported_for(waits[0])


_BROUGHT = {
    "": "pass it on",
    "cancel": "cancel it",
    "get": "take something from there",
    "get_nowait": "take something from there",
    "notify": "notify it",
    "notify_all": "notify it",
    "put": "put something there",
    "put_nowait": "put something there",
    "release": "release it",
    "set": "set it",
    "set_exception": "give it a result",
    "set_result": "give it a result",
    "wait": "come",
}
"""What a method of a thing does."""


def pool_story(kernel: Kernel, threads: list[Thread]) -> tuple[str, tuple[str, int]]:
    """The text of a pool that has come to a stop, and the place it is to be reported for."""
    waits = waits_of(kernel, threads)
    who = f"all {len(waits)} threads of a pool wait" if len(waits) > 1 else "a pool's thread waits"
    parts = [f"deadlock: {who} for calls that the pool has yet to make, while others go on"]
    told: dict[tuple[Place, ...], list[Wait]] = {}
    for wait in waits:
        told.setdefault(wait.stack, []).append(wait)
    parts += [
        paragraph(kernel, group, f"in {group[0].call}: no thread is left to make the call")
        for group in list(told.values())[:_MOST]
    ]
    return "\n".join(parts), _reported_for(waits[0])


def _circle(waits: list[Wait]) -> list[Wait]:
    """A circle among the waits, if there is one: guesses count, as nothing can run."""
    by_ident = {wait.thread.ident: wait for wait in waits}

    def waited_for(wait: Wait) -> Wait | None:
        if wait.ending is not None:
            return by_ident.get(wait.ending)
        return by_ident.get(wait.holders[0].ident) if len(wait.holders) == 1 else None

    return find_circle(waits, waited_for, lambda _: True)


def _drawn(circle: list[Wait]) -> str:
    steps = []
    for wait in circle:
        what = _described(wait) if wait.ending is None else f"end of {name_of(wait.ending)}"
        steps += [wait.name, f"[{what}]"]
    return f"the circle: {' -> '.join([*steps, circle[0].name])}"


def paragraph(kernel: Kernel, group: list[Wait], for_what: str = "") -> str:
    """What is to be told of threads that wait for the same, or `for_what`, at the same place."""
    wait = group[0]
    for_what = for_what or _for_what(kernel, wait)
    seconds = kernel.clock() - min(each.thread.since for each in group)
    verb = "has" if len(group) == 1 else "have"
    return "\n".join(
        [
            "",
            f"{_who(kernel, group)} {verb} waited {seconds:.1f} s {for_what}",
            *formatted(_outer(wait.stack)),
        ]
    )


def _who(kernel: Kernel, group: list[Wait]) -> str:
    """Names, and what those threads are about if that is no code of the program's own course."""
    names = ", ".join(each.name for each in group[:_NAMES])
    if len(group) > _NAMES:
        names = f"{len(group)} threads ({names}, ...)"
    wait = group[0]
    handler = handler_in(frame_of(kernel, wait.thread))
    if handler:
        return f"{names}, in {handler},"
    if wait.thread in kernel.on_top:
        return f"{names}, in a signal handler or finalizer,"
    return f"{names}, at the end of the program," if _is_shutdown(wait.stack) else names


def _is_shutdown(stack: tuple[Place, ...]) -> bool:
    """Whether `threading` waits for the program's threads, after all of its code."""
    return bool(stack) and stack[-1].function == "_shutdown" and is_stdlib(stack[-1].file)


def _outer(stack: tuple[Place, ...]) -> tuple[Place, ...]:
    """A stack without what the standard library does in the call that is told of anyway."""
    own = next((at for at, place in enumerate(stack) if not is_stdlib(place.file)), 0)
    return () if _is_shutdown(stack) else stack[own:]


def _described(wait: Wait) -> str:
    return described(wait.thing, wait.variable)


def _for_what(kernel: Kernel, wait: Wait) -> str:
    if wait.ending is not None:
        return f"for the end of {name_of(wait.ending)}"
    text = f"for {_described(wait)}" if wait.thing is not None else f"in {wait.call}"
    if wait.call and wait.thing is not None and "." in wait.call:
        text = f"in {wait.call} {text}"
    if wait.holders:
        if is_future(wait.thing):
            return f"{text}, which {name_of(wait.holders[0].ident)} computes"
        return f"{text}, {' and '.join(_holder(kernel, each) for each in wait.holders[:_NAMES])}"
    reason = _NOBODY.get(_plain(wait.call))
    if reason is None and _can_be_held(wait.thing):
        return f"{text}, taken by a thread that does not show where: it may have ended"
    reason = reason or _NOBODY.get(wait.thread.kind)
    if reason and wait.call.endswith("Queue.join"):
        reason += f" ({attribute(wait.thing, 'unfinished_tasks')} times)"
    return f"{text}: {reason}" if reason else text


def _plain(call: str) -> str:
    """A call as `_NOBODY` has it: subclasses of a queue and of a semaphore are such."""
    cls, _, method = call.rpartition(".")
    for base in ("Queue", "Semaphore", "Future"):
        if cls.endswith(base):
            return f"{base}.{method}"
    return call


def _holder(kernel: Kernel, holder: Holder) -> str:
    name = name_of(holder.ident)
    if not is_alive(kernel, holder.ident):
        name = f"{name}, which has ended,"
    seems = "" if holder.is_sure else "seems to have " if holder.place else ""
    word = "taken" if seems else "holds"
    text = f"which {name} {seems}{word}"
    if holder.place is None:
        return text
    file = holder.place.file.rpartition("/")[2]
    if not holder.place.line:
        return f"{text} by an ExitStack of {holder.place.function}, in {file}"
    return f"{text} since {_shown(holder.place)}"


def _shown(place: Place) -> str:
    """A place and the text of its line: ``bank.py:18, in spend: with savings:``."""
    where = f"{place.file.rpartition('/')[2]}:{place.line}, in {place.function}"
    source = line_of(place)
    return f"{where}: {source}" if source else where


def formatted(stack: tuple[Place, ...]) -> list[str]:
    """A stack as tracebacks have it, the innermost frame last."""
    frames = [(place.file, place.line, place.function, None) for place in reversed(stack)]
    summary = whole("traceback").StackSummary.from_list(frames)
    return [line.rstrip("\n") for line in summary.format()]


def _reported_for(wait: Wait) -> tuple[str, int]:
    place = place_of(wait.stack)
    return (place.file, place.line) if place else ("<unknown>", 0)
