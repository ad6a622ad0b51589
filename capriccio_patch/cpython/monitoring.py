"""``sys.monitoring`` (CPython 3.12 and later): a tool of the package's own, and its callbacks.

CPython makes the callback of an event in whatever thread runs the code, between two instructions.
For that time (Python/instrumentation.c, ``call_one_instrument``; alike in 3.12 to 3.15) it counts
the thread's depth of tracing up, so that nothing in the callback is an event or is traced, and
notes which event it is, by its number, -1 outside.  At the end it puts both back.  What a callback
lets run in between, on other stacks, must see neither (`Callbacks.outside`).

1. Of the ids, those of debuggers and coverage tools are taken last.
2. An id stays in use while somebody wants it: from CPython 3.13, when one is given back, the
   interpreter looks at every function anew.
3. The program can take any id away; that is found out at the next use.

Any OS thread, but for `Callbacks`, which are the calling one's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from ctypes import addressof, c_int, sizeof
from types import CodeType

from .frames import make_events
from .thread_state import tracing_depth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["HAS_MONITORING", "Callbacks", "ToolId", "event"]

_monitoring: Any = getattr(sys, "monitoring", None)

HAS_MONITORING = _monitoring is not None

_IDS = (3, 4, 5, 2, 1, 0)
_OUTSIDE = -1


def event(name: str) -> int:
    """The event of this name, as a set of one; 0 where there is none."""
    return getattr(_monitoring.events, name, 0) if HAS_MONITORING else 0


class ToolId:
    """An id, while one is taken."""

    __slots__ = ("_callbacks", "_name", "_number")

    def __init__(self, name: str, callbacks: dict[int, Callable[..., object]]) -> None:
        """`callbacks` by event; `name` tells others who has the id."""
        self._name = name
        self._callbacks = callbacks
        self._number: int | None = None

    def take(self) -> bool:
        """Have an id: whether there is one.  Events that were set by one that is no longer ours
        are none; False is returned once then."""
        if self._number is not None:
            if _monitoring.get_tool(self._number) == self._name:
                return True
            self._number = None
            return False
        for number in _IDS:
            try:
                _monitoring.use_tool_id(number, self._name)
            except ValueError:  # somebody has it
                continue
            self._number = number
            for which, callback in self._callbacks.items():
                _monitoring.register_callback(number, which, callback)
            return True
        return False

    def set_events(self, code: CodeType, events: int) -> bool:
        """Have `code` make these events, a set, and no others for us: whether that was done."""
        try:
            _monitoring.set_local_events(self._number, code, events)
        except (ValueError, SystemError, MemoryError):  # not ours any more; code without any events
            return False
        return True

    def give_back(self) -> None:
        """Let others have the id.  All events are off."""
        number, self._number = self._number, None
        if number is None or _monitoring.get_tool(number) != self._name:
            return
        for which in self._callbacks:
            _monitoring.register_callback(number, which, None)
        _monitoring.free_tool_id(number)


class Callbacks:
    """The calling OS thread's state while it is in a callback."""

    __slots__ = ("_depth", "_event")

    def __init__(self) -> None:
        self._depth = tracing_depth()
        self._event = c_int.from_address(addressof(self._depth) + sizeof(c_int))
        if HAS_MONITORING:
            # Code that begins in a callback is given no record of its events then, and an exception
            # that leaves it outside is looked up in that from CPython 3.15.
            make_events(Callbacks.outside.__code__)

    def outside(self, number: int, call: Callable[[], object]) -> None:
        """Make the call as if the callback of the event `number`, which makes it, were over.

        The field that notes the event is known by what it holds: it is left alone if that is
        something else.
        """
        depth, noted = self._depth, self._event
        is_noted = noted.value == number
        depth.value -= 1
        if is_noted:
            noted.value = _OUTSIDE
        try:
            call()
        finally:
            depth.value += 1  # others may be in a callback of their own
            if is_noted:
                noted.value = number
