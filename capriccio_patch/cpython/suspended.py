"""What suspended greenlets refer to, where there is no GIL.

Facts.  Without the GIL CPython does not count the references of frames to modules, classes, code
and functions, and leaves many a return value of these uncounted, too: its collector looks for them
on the stacks of all OS threads.  The frames of a suspended greenlet are on none.  From 3.15 on
greenlet shows them to the collector; 3.14 has no function for that.  There a class that a function
has made and only a waiting thread has, in a local variable, was taken for garbage and cleared: the
interpreter crashed.

Decision.  A C module (``suspended.c``) counts these references whenever the collector comes to a
greenlet.  Where it has not been built, the interpreter that needs it is refused.

Cost.  Such references stay counted until the frame goes on: a circle through them is collected when
its thread has ended, as it is with the GIL.  A collection at the patch tells whether it works.
"""

from __future__ import annotations

import gc
from _weakref import ref

from greenlet import getcurrent, greenlet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["show"]


def show() -> str | None:
    """Have the collector see them; why that can't be done, or None.  Main OS thread."""
    reason = "what threads that wait refer to is garbage to its collector"
    try:
        from . import _suspended  # type: ignore[attr-defined]  # built for 3.14t alone
    except ImportError as error:
        reason += f", and the C module that shows it is not there: {error}"
    else:
        _suspended.show(greenlet)
    return None if _is_seen() else reason


def _is_seen() -> bool:
    """Whether a class outlives a collection that only a suspended greenlet has."""
    made: list[ref[Any]] = []
    waiting = greenlet(_hold)
    waiting.switch(made, getcurrent())
    gc.collect()
    is_there = made[0]() is not None
    waiting.switch()
    return is_there


def _hold(made: list[ref[Any]], other: greenlet) -> None:
    held = _make()
    made.append(ref(held))
    other.switch()


def _make() -> type:
    class Scratch:
        pass

    return Scratch
