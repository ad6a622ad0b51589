"""All rows, in the order in which they are applied."""

from __future__ import annotations

import sys

from . import _thread, asyncio, names, queue, socket, sqlite3, ssl, time
from .base import Late, Patch, Runtime

__all__ = ["LATE", "all_patches", "awaited"]

LATE = (
    Late("asyncio", "_asyncio", asyncio.patches),
    Late("sqlite3", "_sqlite3", sqlite3.patches),
    Late("ssl", "_ssl", ssl.patches),
)


def all_patches(runtime: Runtime) -> list[Patch]:
    """The rows of every module of this package."""
    return [
        *time.patches(runtime),
        *_thread.patches(runtime),
        *queue.patches(runtime),
        *names.patches(runtime),
        *socket.patches(runtime),
        *(row for late in LATE if late.module in sys.modules for row in late.patches(runtime)),
    ]


def awaited() -> list[Late]:
    """Those that wait for the import of their module."""
    return [late for late in LATE if late.module not in sys.modules]
