"""All rows, in the order in which they are applied."""

from __future__ import annotations

import sys
from typing import Any

from . import time
from .base import Late, Patch, Runtime
from .files import console, descriptors, fileio, locks, paths
from .offloaded import interpreters, sqlite3
from .processes import fork, semlock, signal, wait
from .sockets import connect, names, select, ssl
from .threads import (
    async_exc,
    asyncio,
    conditions,
    faulthandler,
    import_lock,
    queue,
    simple_queue,
    start,
    switchinterval,
    tracing,
)
from .threads import introspection as sys_

__all__ = ["LATE", "all_patches", "awaited", "patches_again"]

LATE = (
    Late("asyncio", "_asyncio", asyncio.patches),
    Late("faulthandler", "faulthandler", faulthandler.patches),
    Late("queue", "queue", queue.patches),
    Late("sqlite3", "_sqlite3", sqlite3.patches),
    Late("ssl", "_ssl", ssl.patches),
    *interpreters.LATE,
)


def all_patches(runtime: Runtime) -> list[Patch]:
    """The rows of every module of this package."""
    return [
        *time.patches(runtime),
        *import_lock.patches(runtime),
        *start.patches(runtime),
        *conditions.patches(runtime),
        *sys_.patches(runtime),
        *tracing.patches(),
        *switchinterval.patches(runtime),
        *async_exc.patches(runtime),
        *simple_queue.patches(runtime),
        *names.patches(runtime),
        *connect.patches(runtime),
        *select.patches(runtime),
        *descriptors.patches(runtime),
        *paths.patches(runtime),
        *fork.patches(runtime),
        *locks.patches(runtime),
        *fileio.patches(runtime),
        *console.patches(runtime),
        *signal.patches(runtime),
        *wait.patches(runtime),
        *semlock.patches(runtime),
        *(row for late in LATE if late.module in sys.modules for row in late.patches(runtime)),
    ]


def patches_again(runtime: Runtime, rows: list[Patch], module: Any) -> list[Patch]:
    """The rows for another module of the name of one whose `rows` have been applied."""
    if module.__name__ == "_queue":
        return simple_queue.patches(runtime, module)
    return [row._replace(owner=module) for row in rows if "." not in row.path]


def awaited() -> list[Late]:
    """Those that wait for the import of their module."""
    return [late for late in LATE if late.module not in sys.modules]
