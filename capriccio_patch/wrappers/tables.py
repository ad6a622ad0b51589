"""All rows, in the order in which they are applied."""

from __future__ import annotations

from . import _thread, names, queue, socket, time
from .base import Patch, Runtime

__all__ = ["all_patches"]


def all_patches(runtime: Runtime) -> list[Patch]:
    """The rows of every module of this package."""
    return [
        *time.patches(runtime),
        *_thread.patches(runtime),
        *queue.patches(runtime),
        *names.patches(runtime),
        *socket.patches(runtime),
    ]
