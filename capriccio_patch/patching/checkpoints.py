"""Lots to draw before calls that are taken over, for a scheduler that asks for it.

`contracts.scheduler` has what such a one offers.  Any other costs nothing here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FunctionType

from ..contracts.scheduler import Abilities
from ..contracts.thread import Finalizer
from ..cpython import originals
from ..kernel.core import Kernel
from ..preemption.safe_point import may_yield
from ..wrappers.base import Patch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["with_checkpoints"]

# Answered at once from what the caller itself is: nothing can come between.
_ABOUT_ONESELF = frozenset(
    {
        "_thread.get_ident",
        "_thread._count",
        "_thread._get_main_thread_ident",
        "_thread.RLock._is_owned",
        "_thread.RLock._recursion_count",
        "_thread.RLock.__repr__",
        "_socket.socket.gettimeout",
        "_socket.socket.getblocking",
    }
)
_NOT_CONCERNED = frozenset({"asyncio", "greenlet", "ctypes", "importlib", "signal", "sys"})
"""Groups of what belongs to the interpreter or to an event loop, not between threads."""


def with_checkpoints(kernel: Kernel, rows: list[Patch]) -> list[Patch]:
    """`rows`, with the scheduler asked before each call, if it wants to be."""
    abilities = Abilities(kernel.scheduler)
    checkpoint = abilities.checkpoint
    if checkpoint is None:
        return rows
    names = abilities.checkpoints
    checked = []
    for row in rows:
        replacement = row.replacement
        if type(replacement) is FunctionType:
            if names is None:
                if row.group not in _NOT_CONCERNED and row.name not in _ABOUT_ONESELF:
                    replacement = _checked_anywhere(kernel, checkpoint, replacement)
            elif row.name in names:
                replacement = _checked(kernel, checkpoint, replacement)
        checked.append(row.replaced_by(replacement))
    return checked


def _checked(
    kernel: Kernel, checkpoint: Callable[[], bool], function: Callable[..., Any]
) -> Callable[..., Any]:
    """`function`, a call before which a thread may wait wherever it is made."""
    get_ident = originals.get_ident

    def call(*args: Any, **kwargs: Any) -> Any:
        if (
            get_ident() == kernel.os_ident
            and type(kernel.current) is not Finalizer
            and checkpoint()
        ):
            kernel.yield_()
        return function(*args, **kwargs)

    return call


def _checked_anywhere(
    kernel: Kernel, checkpoint: Callable[[], bool], function: Callable[..., Any]
) -> Callable[..., Any]:
    """`function`, a call of any kind: a thread may step aside only where it may be preempted."""

    def where_allowed() -> bool:
        # One up is `call`; above it, nothing when the interpreter itself flushes a stream.
        return may_yield(sys._getframe(1).f_back) and checkpoint()

    return _checked(kernel, where_allowed, function)
