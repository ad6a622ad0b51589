"""Which threads there are, what each waits for, and who could end that wait.

1. Where a signal handler or a finalizer waits on top of a thread, that wait counts: what lies below
   can't go on before it.
2. A wait for a thread's end is a wait for that thread, whatever `threading` makes of it: until
   CPython 3.12 a lock, from 3.13 on a handle.

Any OS thread that has the GIL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..contracts.thread import Thread
from ..cpython.modules import imported
from ..kernel.core import Kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    _Wait = TypeVar("_Wait")

__all__ = [
    "FROM_INSIDE",
    "IN_CIRCLES",
    "MOST",
    "WaitId",
    "awaited_ends",
    "ended_by",
    "find_circle",
    "is_alive",
    "is_stuck_inside",
    "top_records",
]


FROM_INSIDE = frozenset(
    {"lock", "rlock", "condition", "event", "queue", "join", "import lock", "file"}
)
"""Kinds of waits that only another thread of the process can end."""
IN_CIRCLES = frozenset({"lock", "rlock", "join"})
"""Kinds of waits of which it is known who alone ends them."""
MOST = 200
"""Threads whose stacks are read in one look."""

WaitId = tuple[int, float]
"""A wait: the id of its thread's record, and when it began."""


def top_records(kernel: Kernel) -> list[Thread]:
    """A record for each thread: its own, or that of what waits on top of it."""
    above: dict[int, Thread] = {}
    for each in list(kernel.on_top):
        if each.parked and each.greenlet is not None:
            key = id(each.greenlet)
            if key not in above or above[key].since <= each.since:
                above[key] = each
    records = list(kernel.threads.values())
    if not above:
        return records
    return [above.pop(id(each.greenlet), each) for each in records] + list(above.values())


def is_alive(kernel: Kernel, ident: int) -> bool:
    """Whether there is a thread, green or the program's own of the system, with an identifier."""
    threading = imported("threading")
    return ident in kernel.threads or (threading is not None and ident in threading._active)


def is_stuck_inside(thread: Thread) -> bool:
    """Whether only another thread of the process can end what `thread` does: it waits so."""
    return (
        thread.parked
        and thread.kind in FROM_INSIDE
        and thread.deadline is None
        and thread.object is not None
        and thread.interrupt is None
    )


def wait_id(thread: Thread) -> WaitId:
    """The wait that a parked thread is in."""
    return id(thread), thread.since


def awaited_ends(threads: Iterable[Thread]) -> dict[int, Thread]:
    """By the id of what is waited for until a thread ends: that thread.  Any OS thread."""
    ends = {}
    for thread in list(threads):  # which come and go
        handle = getattr(thread.on_exit, "__self__", None)
        if handle is not None:
            ends[id(handle)] = thread
    return ends


def ended_by(thread: Thread, ends: dict[int, Thread]) -> Thread | None:
    """The thread for whose end `thread` waits; None if it waits for something else."""
    awaited: Any = thread.object
    return ends.get(id(awaited)) if thread.kind in ("join", "lock") else None


def find_circle(
    waits: Iterable[_Wait],
    waited_for: Callable[[_Wait], _Wait | None],
    is_wanted: Callable[[list[_Wait]], bool],
) -> list[_Wait]:
    """The first circle that is wanted: each waits for the next in it, the last for the first."""
    passed: set[int] = set()
    for wait in waits:
        way: list[_Wait] = []
        each: _Wait | None = wait
        while each is not None and id(each) not in passed:
            passed.add(id(each))
            way.append(each)
            each = waited_for(each)
        begins = [place for place, other in enumerate(way) if other is each]
        if begins and is_wanted(way[begins[0] :]):
            return way[begins[0] :]
    return []
