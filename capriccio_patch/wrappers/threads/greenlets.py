"""``greenlet.greenlet``: those of the program belong to the thread that has made them.

All green threads share an OS thread, so the library would switch from one thread's greenlets to
another's, and leave both threads in a state that is neither's.  On OS threads it refuses, and
programs depend on that.

A greenlet is the thread's from whose greenlet it descends by ``parent``; one that has run can't get
a parent of another thread.  Switching within a thread costs 0.3 us more; the kernel itself calls C.
"""

from __future__ import annotations

from collections.abc import Callable

import greenlet

from ...cpython import originals
from ...kernel.lifecycle import Base
from ..base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_STOCK: Any = vars(greenlet.greenlet)["parent"]
_parent_of = _STOCK.__get__


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    return [
        Patch("greenlet", "greenlet", "greenlet.switch", _make(runtime, originals.greenlet_switch)),
        Patch("greenlet", "greenlet", "greenlet.throw", _make(runtime, originals.greenlet_throw)),
        Patch("greenlet", "greenlet", "greenlet.parent", _parent(runtime)),
    ]


def _parent(runtime: Runtime) -> property:
    kernel = runtime.kernel

    def adopt(self: Any, parent: Any) -> None:
        before = _parent_of(self)
        _STOCK.__set__(self, parent)  # refuses what is no greenlet, or a descendant
        has_run = bool(self) or self.dead
        if has_run and kernel.is_mine() and _root(self) is not _root(before):
            _STOCK.__set__(self, before)
            raise ValueError("parent cannot be on a different thread")

    return property(_parent_of, adopt, _STOCK.__delete__)


def _make(runtime: Runtime, original: Callable[..., Any]) -> Callable[..., Any]:
    kernel = runtime.kernel
    getcurrent = greenlet.getcurrent

    def change(self: Any, *args: Any, **named: Any) -> Any:
        if kernel.is_mine():
            current, expected = _root(getcurrent()), _root(self)
            if current is not expected:
                raise greenlet.error(
                    "Cannot switch to a different thread\n"
                    f"\tCurrent:  {current!r}\n\tExpected: {expected!r}"
                )
        return original(self, *args, **named)

    return change


def _root(descendant: Any) -> Any:
    """The greenlet of the thread that a greenlet belongs to."""
    parent = _parent_of(descendant)
    while parent is not None and type(parent) is not Base:
        descendant, parent = parent, _parent_of(parent)
    return descendant
