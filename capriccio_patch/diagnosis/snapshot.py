"""All threads of a program at one moment, as plain data: what dumps and `ps` show.

1. The data are what JSON can hold, so they go through a socket as they are.
2. Threads that do the same at the same place are one group, whose stack is read once: a million
   threads are as many steps of 3 us, and a few pages.
3. Threads are listed one by one up to `MOST_ROWS`; beyond that the groups say it.

Any OS thread that has the GIL; of a thread that runs meanwhile the stack may be torn.
"""

from __future__ import annotations

import os
import sys
from types import FrameType

from ..contracts.descriptor import Descriptor
from ..contracts.thread import Thread
from ..cpython import frames, originals
from ..cpython.thread_state import is_only_interpreter
from ..io import os_threads
from ..kernel.core import Kernel
from .stacks import Place, frame_of, name_of, place_of, program_stack
from .story import Wait, waits_of
from .things import described
from .waiting import top_records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["MOST_ROWS", "first_call", "snapshot"]

MOST_ROWS = 1000
_NAMES = 5
_OF_NOTHING = frozenset({"pause", "sleep"})
"""Kinds of waits that are for no object."""

Data = dict[str, "Any"]


@frames.search
def snapshot(kernel: Kernel) -> Data:
    """What each thread does."""
    now = kernel.clock()
    records = top_records(kernel)
    groups: dict[Any, list[Thread]] = {}
    ours: dict[int, bool] = {}
    for record in records:
        groups.setdefault(_key(kernel, record, ours), []).append(record)
    listed = records[:MOST_ROWS]
    shown = {id(record): record for record in listed}
    for group in groups.values():
        shown[id(group[0])] = group[0]
    waits = {id(wait.thread): wait for wait in waits_of(kernel, shown.values(), most=40)}
    return {
        "pid": os.getpid(),
        "command": [sys.executable, *sys.orig_argv[1:]],
        "scheduler": type(kernel.scheduler).__name__,
        "sockio": kernel.backend.name,
        "threads": len(records),
        "os_threads": os_threads.count(),
        "polled": round(max(0.0, now - kernel.now), 3),
        "is_idle": kernel.blocking,
        "rows": [_row(kernel, waits[id(record)], now) for record in listed],
        "groups": [
            _group(kernel, group, waits[id(group[0])], now)
            for group in sorted(groups.values(), key=len, reverse=True)
        ],
        "others": _others(kernel),
    }


def _key(kernel: Kernel, record: Thread, ours: dict[int, bool]) -> Any:
    """What threads have in common that wait for the like at the same place; on which way through
    the runtime is no matter.  `ours` keeps whose a code object is, by its id."""
    places: list[Any] = [record.kind, _state(kernel, record)]
    frame = frame_of(kernel, record)
    while frame is not None:
        code = id(frame.f_code)
        is_own = ours.get(code)
        if is_own is None:
            is_own = ours[code] = frames.is_ours(frame)
        if not is_own:
            places.append(code)
            places.append(frame.f_lasti)
        frame = frame.f_back
    return tuple(places)


def _state(kernel: Kernel, record: Thread) -> str:
    current = kernel.current
    runs = not kernel.blocking and current.ident == record.ident
    if record.parked and not (runs and type(current) is Thread):  # else a handler runs on top
        return "in a call" if record.kind == "worker" else "waiting"
    if not record.started:
        return "new"
    return "running" if runs else "runnable"


def _row(kernel: Kernel, wait: Wait, now: float) -> Data:
    record = wait.thread
    place = place_of(wait.stack)
    state = _state(kernel, record)
    is_parked = state in ("waiting", "in a call")
    return {
        "ident": record.ident,
        "name": wait.name,
        "state": state,
        "on_top": record in kernel.on_top,
        "kind": _kind(record) if is_parked else "",
        "call": wait.call if is_parked and "." in wait.call else "",
        "object": described(_awaited(wait), wait.variable) if is_parked else "",
        "end_of": "" if wait.ending is None else name_of(wait.ending),
        "ends": wait.ending,
        "holders": [
            [name_of(holder.ident), *(holder.place or ("", 0, "")), holder.is_sure, holder.ident]
            for holder in wait.holders
        ],
        "since": round(max(0.0, now - record.since), 3) if is_parked else None,
        "deadline": None
        if record.deadline is None or not is_parked
        else round(max(0.0, record.deadline - now), 3),
        "place": list(place or ("", 0, "")),
    }


def _awaited(wait: Wait) -> Any:
    """What is waited for; of a socket or file the descriptor, which has a peer or path."""
    if wait.thread.kind in _OF_NOTHING:
        return None  # the record has what was waited for before
    awaited = wait.thread.object
    if isinstance(awaited, (Descriptor, dict)) or wait.thing is None:
        return awaited
    return wait.thing


def _kind(record: Thread) -> str:
    if record.kind == "read" and getattr(record.object, "listens", False):
        return "accept"
    return record.kind


def _group(kernel: Kernel, group: list[Thread], wait: Wait, now: float) -> Data:
    since = [max(0.0, now - record.since) for record in group if record.parked]
    return _row(kernel, wait, now) | {
        "count": len(group),
        "is_one_object": all(each.object is group[0].object for each in group),
        "names": [name_of(record.ident) for record in group[:_NAMES]],
        "shortest": round(min(since, default=0.0), 3),
        "longest": round(max(since, default=0.0), 3),
        "stack": [list(place) for place in wait.stack] or first_call(group[0]),
    }


def first_call(record: Thread) -> list[list[Any]]:
    """Where a thread begins that has not begun."""
    run = getattr(record.run, "func", record.run)
    target = getattr(getattr(run, "__self__", None), "_target", None) or run
    code = getattr(getattr(target, "__func__", target), "__code__", None)
    if code is None or frames.is_of_the_package(code.co_filename):
        return []
    return [list(Place(code.co_filename, code.co_firstlineno, code.co_name))]


def _others(kernel: Kernel) -> list[Data]:
    """The OS threads that the runtime has not started."""
    if not is_only_interpreter():
        return []
    found: dict[int, FrameType] = _frames_of_os_threads()
    skipped = {*os_threads.idents(), kernel.os_ident, 0}
    return [
        {
            "ident": ident,
            "name": name_of(ident),
            "stack": [list(place) for place in program_stack(frame)],
        }
        for ident, frame in found.items()
        if ident not in skipped
    ]


def _frames_of_os_threads() -> dict[int, FrameType]:
    found: dict[int, FrameType] = originals.current_frames()
    return found
