"""The report of a call that keeps every thread waiting and can't be preempted.

For each place in the program, and again at growing intervals, through `warnings`, from the
watchdog's OS thread: while the call goes on if it has let go of the GIL, else at the moment when it
returns.  Where warnings are errors, and in the mode "raise", the report is an exception to be
raised in the thread at fault.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import NamedTuple

from ..contracts.thread import Thread
from ..cpython.frames import innermost, is_ours
from ..cpython.modules import standard
from ..cpython.thread_names import thread_name
from ..errors import CapriccioWarning, ThreadsBlocked
from ..kernel.core import Kernel
from .safe_point import is_jump

__all__ = ["Blocked"]

_FRAMES = 12
_AGAIN = 10.0
"""Seconds after which a place is reported again; then twice as many each time."""
_PLACES = 1000
"""How many places are remembered: a program that makes up code may have any number of them."""


class Seen(NamedTuple):
    """A thread of which it may have to be reported that it lets no other run."""

    thread: Thread
    is_at_jump: bool
    stack: list[tuple[str, int, str]]
    """File, line and function, the innermost first."""


class Blocked:
    """What has been reported."""

    __slots__ = ("_kernel", "_places", "_raises")

    def __init__(self, kernel: Kernel, raises: bool) -> None:
        self._kernel = kernel
        self._raises = raises
        self._places: dict[tuple[str, int], _Place] = {}

    def look(self) -> Seen | None:
        """What the current thread is at.  Watchdog's OS thread, which lets nobody else run
        meanwhile: the thread may have returned from its call just now, and would run on."""
        return self._kernel.c_state.read_frame(self._at)

    def _at(self, running: FrameType) -> Seen | None:
        frame = innermost(running)
        if frame is None:
            return None
        stack: list[tuple[str, int, str]] = []
        outer: FrameType | None = frame
        while outer is not None and len(stack) < _FRAMES:
            if not is_ours(outer):
                code = outer.f_code
                stack.append((code.co_filename, outer.f_lineno or 0, code.co_name))
            outer = outer.f_back
        return Seen(self._kernel.current, is_jump(running), stack)

    def report(self, seen: Seen, seconds: float, sure: bool) -> Exception | None:
        """A thread has let no other run for `seconds`.  Watchdog's OS thread.

        Unless that is `sure`, it may be that the system did not let the process run: then a thread
        at a backward jump is not reported.  Returns what is to be raised in the thread, or None.
        """
        if seen.is_at_jump and not sure:
            return None
        filename, line, _ = seen.stack[0]
        place = self._places.get((filename, line))
        if place is None:
            if len(self._places) >= _PLACES:
                return None
            place = self._places[filename, line] = _Place()
        if not place.is_due(self._kernel.clock()):
            return None
        text = self._text(seen, seconds) + place.more()
        if self._raises:
            return ThreadsBlocked(text)
        try:
            standard("warnings").warn_explicit(text, CapriccioWarning, filename, line)
        except CapriccioWarning as error:
            return error.with_traceback(None)
        except Exception:  # the program's own way of showing warnings failed
            sys.excepthook(*sys.exc_info())
        return None

    def _text(self, seen: Seen, seconds: float) -> str:
        name = thread_name(seen.thread.ident)
        others = len(self._kernel.threads) - 1
        stack = [(*each, None) for each in seen.stack[::-1]]
        summary = standard("traceback").StackSummary.from_list(stack)
        return (
            f"{name} has kept all other threads ({others}) waiting for {seconds:.2f} s, in a call "
            f"that can be neither parked nor preempted, here or just before:\n"
            f"{''.join(summary.format()).rstrip()}\n"
            "capriccio_patch.offload() or CAPRICCIO_OFFLOAD has such calls made on OS threads"
        )


class _Place:
    """A line of the program at which others were kept waiting."""

    __slots__ = ("_again", "_due", "_times")

    def __init__(self) -> None:
        self._due = 0.0
        self._again = _AGAIN
        self._times = 0
        """How often since the last report, which is one of them."""

    def is_due(self, now: float) -> bool:
        """Whether it is to be reported that it has happened again, `now` by the kernel's clock."""
        self._times += 1
        if now < self._due:
            return False
        if self._due:
            self._again *= 2
        self._due = now + self._again
        return True

    def more(self) -> str:
        """What a report says of those that were not reported."""
        times, self._times = self._times, 0
        return f" ({times - 1} times more since the last report)" if times > 1 else ""
