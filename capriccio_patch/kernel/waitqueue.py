"""Who waits for one thing, first come first served.

Most things are waited for by one thread at a time, and there may be 100,000 such things; so a queue
is a plain slot that holds nothing (None), one thread, or a `WaitQueue` of several.  Every operation
takes constant time, removal from the middle too.
"""

from __future__ import annotations

from ..contracts.thread import Slot, Thread, WaitQueue

__all__ = [
    "added",
    "contains",
    "first",
    "first_and_rest",
    "removed",
    "waiters",
]


def added(slot: Slot, thread: Thread, *, first: bool = False) -> Slot:
    """`slot` with `thread` at its end, or at its head: it has waited already."""
    if slot is None:
        return thread
    if type(slot) is not WaitQueue:
        queue = WaitQueue()
        queue[slot] = None  # type: ignore[index]
    else:
        queue = slot
    queue[thread] = None
    if first:
        queue.move_to_end(thread, last=False)
    return queue


def first(slot: Thread | WaitQueue) -> Thread:
    """The thread whose turn it is."""
    return next(iter(slot)) if type(slot) is WaitQueue else slot  # type: ignore[return-value]


def first_and_rest(slot: Thread | WaitQueue) -> tuple[Thread, Slot]:
    """The thread whose turn it is, and `slot` without it."""
    if type(slot) is not WaitQueue:
        return slot, None  # type: ignore[return-value]
    thread, _ = slot.popitem(last=False)
    return thread, slot or None


def waiters(slot: Slot) -> list[Thread]:
    """All who wait, in order."""
    if slot is None:
        return []
    return list(slot) if type(slot) is WaitQueue else [slot]  # type: ignore[list-item]


def removed(slot: Slot, thread: Thread) -> Slot:
    """`slot` without `thread`, which gives up waiting; it may have been taken out already."""
    if slot is thread:
        return None
    if type(slot) is WaitQueue:
        slot.pop(thread, None)
        return slot or None
    return slot


def contains(slot: Slot, thread: Thread) -> bool:
    """Whether `thread` still waits in `slot`."""
    return slot is thread or (type(slot) is WaitQueue and thread in slot)
