"""All rows, in the order in which they are applied."""

from __future__ import annotations

import sys
from typing import Any

from . import (
    _imp,
    _thread,
    asyncio,
    builtins,
    conditions,
    ctypes,
    faulthandler,
    fcntl,
    files,
    fork,
    interpreters,
    io,
    multiprocessing,
    names,
    os,
    processes,
    queue,
    queues,
    select,
    signal,
    socket,
    sqlite3,
    ssl,
    switchinterval,
    time,
    tracing,
)
from . import sys as sys_
from .base import Late, Patch, Runtime

__all__ = ["LATE", "all_patches", "awaited", "patches_again"]

LATE = (
    Late("asyncio", "_asyncio", asyncio.patches),
    Late("faulthandler", "faulthandler", faulthandler.patches),
    Late("queue", "queue", queues.patches),
    Late("sqlite3", "_sqlite3", sqlite3.patches),
    Late("ssl", "_ssl", ssl.patches),
    *interpreters.LATE,
)


def all_patches(runtime: Runtime) -> list[Patch]:
    """The rows of every module of this package."""
    return [
        *time.patches(runtime),
        *_imp.patches(runtime),
        *_thread.patches(runtime),
        *conditions.patches(runtime),
        *sys_.patches(runtime),
        *tracing.patches(),
        *switchinterval.patches(runtime),
        *ctypes.patches(runtime),
        *queue.patches(runtime),
        *names.patches(runtime),
        *socket.patches(runtime),
        *select.patches(runtime),
        *os.patches(runtime),
        *files.patches(runtime),
        *fork.patches(runtime),
        *fcntl.patches(runtime),
        *io.patches(runtime),
        *builtins.patches(runtime),
        *signal.patches(runtime),
        *processes.patches(runtime),
        *multiprocessing.patches(runtime),
        *(row for late in LATE if late.module in sys.modules for row in late.patches(runtime)),
    ]


def patches_again(runtime: Runtime, rows: list[Patch], module: Any) -> list[Patch]:
    """The rows for another module of the name of one whose `rows` have been applied."""
    if module.__name__ == "_queue":
        return queue.patches(runtime, module)
    return [row._replace(owner=module) for row in rows if "." not in row.path]


def awaited() -> list[Late]:
    """Those that wait for the import of their module."""
    return [late for late in LATE if late.module not in sys.modules]
