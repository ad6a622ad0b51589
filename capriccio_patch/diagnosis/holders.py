"""Who holds a lock that somebody waits for.

Facts.  An RLock knows its owner.  A plain lock knows only that it is taken, and nobody is to pay
for a note at each of its ten million takings a second.

Decision.  A plain lock's holder is looked for when it is asked for: it is the thread whose code is
inside ``with lock:`` (or ``with`` a condition of that lock), or, as a guess, has called
``lock.acquire()`` in a function that it is still in (`cpython.expressions`).  What an ExitStack has
entered is held by the function that has it as a variable, and a Future by the thread of a pool that
computes it.  A parked thread holds what it holds until it runs again, so what was found for it
stays true for as long as it is parked.

1. A claim from a ``with`` block is *sure* if nobody else claims the same lock, and no code further
   in has released it meanwhile; all others are guesses, and are told as such.
2. A condition's lock is not held by who waits for that condition, nor by who has been notified and
   wants it back.

Cost.  Some 2 us for each frame of the threads that are asked about.  Any OS thread that has the
GIL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from ..contracts.thread import Thread
from ..cpython import frames, originals
from ..cpython.expressions import acquired, attribute, called, entered, released
from ..cpython.modules import imported
from ..kernel.core import Kernel
from .stacks import Place, frame_of, place_of, stack_of

__all__ = ["Claim", "Holder", "claims_of", "holder_in", "holders_of", "owner_of"]

_LOCKS: tuple[type, ...] = (originals.LockType, originals.RLockType)


class Claim(NamedTuple):
    """That a thread holds a thing."""

    key: int
    """The id of the lock or semaphore."""
    place: Place
    """Where it was taken; line 0 if it was by an ExitStack."""
    is_block: bool
    """By a ``with`` block, which the thread is inside."""


class Holder(NamedTuple):
    """Who holds a thing, as far as is known."""

    ident: int
    place: Place | None
    """Where it was taken; None: not known."""
    is_sure: bool


def owner_of(lock: Any) -> int | None:
    """The identifier of the thread that owns an RLock; None if nobody does."""
    owner, _, count = repr(lock).partition(" owner=")[2].partition(" count=")
    return int(owner) if owner.isdigit() and not count.startswith("0 ") else None


def claims_of(kernel: Kernel, thread: Thread) -> list[Claim]:
    """What a thread that is parked holds, as its code says."""
    claims = []
    given_back = {id(_taken_back(kernel, thread))}
    doubtful: set[int] = set()
    frame = frame_of(kernel, thread)
    while frame is not None:
        if not frames.is_ours(frame):
            is_stdlib = frames.is_stdlib(frame.f_code.co_filename)
            guessed = () if is_stdlib else acquired(frame)
            stacks = () if is_stdlib else _in_exit_stacks(frame)
            future = _computed(frame) if is_stdlib else None
            if future is not None:
                at = place_of(stack_of(kernel, thread)) or Place("", 0, "")
                claims.append(Claim(id(future), at, True))
            doubtful.update(id(_held(value)) for value in released(frame))
            for is_block, found in ((True, entered(frame)), (True, stacks), (False, guessed)):
                for value, line in found:
                    thing = _held(value)
                    if thing is not None and id(thing) not in given_back:
                        place = Place(frame.f_code.co_filename, line, frame.f_code.co_name)
                        is_sure = is_block and id(thing) not in doubtful
                        claims.append(Claim(id(thing), place, is_sure))
        frame = frame.f_back
    return claims


def _taken_back(kernel: Kernel, thread: Thread) -> Any:
    """The lock that a thread does not hold while it is in ``Condition.wait``; None if it is not."""
    if thread.kind == "condition":
        return attribute(thread.object, "_lock")
    threading = imported("threading")
    frame = frames.innermost(frame_of(kernel, thread))
    if frame is None or threading is None or not isinstance(thread.object, _LOCKS):
        return None
    is_waiting = called(frame) is attribute(threading.Condition, "wait")
    return thread.object if is_waiting else None


def _in_exit_stacks(frame: FrameType) -> Iterator[tuple[Any, int]]:
    """What the ExitStacks that `frame` has as variables have entered; no line is known."""
    contextlib = imported("contextlib")
    if contextlib is None:
        return
    for value in list(frame.f_locals.values()):
        if type(value) is contextlib.ExitStack:
            for _, leaving in list(value._exit_callbacks):
                yield getattr(leaving, "__self__", None), 0


def _computed(frame: FrameType) -> Any:
    """The Future whose result `frame` is about to compute; None if it is about something else."""
    if frame.f_code.co_name != "run" or not frame.f_code.co_filename.endswith("futures/thread.py"):
        return None
    return getattr(frame.f_locals.get("self"), "future", None)


def _held(value: Any) -> Any:
    """What is held by who has entered `value`: a lock or a semaphore; None for anything else."""
    if isinstance(value, _LOCKS):
        return value
    threading = imported("threading")
    if threading is None:
        return None
    if isinstance(value, threading.Semaphore):
        return value
    if isinstance(value, threading.Condition):
        lock = attribute(value, "_lock")
        return lock if isinstance(lock, _LOCKS) else None
    return None


def holders_of(kernel: Kernel, things: Iterable[Any], threads: Iterable[Thread]) -> _Found:
    """Who among `threads` holds which of `things`, by the id of the thing."""
    wanted = {id(thing): thing for thing in things}
    claims: dict[int, list[tuple[Thread, Claim]]] = {}
    for thread in threads:
        for claim in claims_of(kernel, thread):
            if claim.key in wanted:
                claims.setdefault(claim.key, []).append((thread, claim))
    return {key: holder_in(thing, claims.get(key, [])) for key, thing in wanted.items()}


_Found = dict[int, list[Holder]]


def holder_in(thing: Any, claims: list[tuple[Thread, Claim]]) -> list[Holder]:
    """Who holds `thing`, of which there are `claims`; several for a semaphore or a guess."""
    if type(thing) is originals.RLockType:
        owner = owner_of(thing)
        if owner is None:
            return []
        place = next((claim.place for thread, claim in claims if thread.ident == owner), None)
        return [Holder(owner, place, True)]
    if type(thing).__name__ == "_ModuleLock":
        owner = attribute(thing, "owner")
        return [Holder(owner, None, True)] if isinstance(owner, int) else []
    blocks = {thread.ident: claim for thread, claim in claims if claim.is_block}
    if blocks:
        is_sure = len(blocks) == 1 or not isinstance(thing, _LOCKS)
        return [Holder(ident, claim.place, is_sure) for ident, claim in blocks.items()]
    guesses = {thread.ident: claim for thread, claim in claims}
    return [Holder(ident, claim.place, False) for ident, claim in guesses.items()]
