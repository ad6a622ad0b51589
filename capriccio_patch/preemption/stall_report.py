"""The report of a call that keeps every thread waiting and can't be preempted.

One for each place in the program, through `warnings`, from the watchdog's OS thread: while the call
goes on if it has let go of the GIL, else at the moment when it returns.  Where warnings are errors,
and in the mode "raise", the report is an exception to be raised in the thread at fault.
"""

from __future__ import annotations

import sys
from types import FrameType

from ..cpython.frames import innermost
from ..cpython.modules import standard
from ..cpython.thread_names import thread_name
from ..errors import CapriccioWarning, ThreadsBlocked
from ..kernel.core import Kernel
from .safe_point import is_jump

__all__ = ["Blocked"]

_FRAMES = 12
_PLACES = 1000
"""How many places are remembered: a program that makes up code may have any number of them."""


class Blocked:
    """What has been reported."""

    __slots__ = ("_kernel", "_places", "_raises")

    def __init__(self, kernel: Kernel, raises: bool) -> None:
        self._kernel = kernel
        self._raises = raises
        self._places: set[tuple[str, int]] = set()

    def report(self, seconds: float, sure: bool) -> Exception | None:
        """The current thread has let no other run for `seconds`.  Watchdog's OS thread.

        Unless that is `sure`, it may be that the system did not let the process run: then a thread
        at a backward jump is not reported.  Returns what is to be raised in the thread, or None.
        """
        running = self._kernel.c_state.frame()
        frame = innermost(running)
        if frame is None or (not sure and is_jump(running)):
            return None
        filename, line = frame.f_code.co_filename, frame.f_lineno
        if (filename, line) in self._places or len(self._places) >= _PLACES:
            return None
        self._places.add((filename, line))
        text = self._text(frame, seconds)
        if self._raises:
            return ThreadsBlocked(text)
        try:
            standard("warnings").warn_explicit(text, CapriccioWarning, filename, line)
        except CapriccioWarning as error:
            return error.with_traceback(None)
        except Exception:  # the program's own way of showing warnings failed
            sys.excepthook(*sys.exc_info())
        return None

    def _text(self, frame: FrameType, seconds: float) -> str:
        name = thread_name(self._kernel.current.ident)
        others = len(self._kernel.threads) - 1
        stack = "".join(standard("traceback").format_stack(frame, _FRAMES))
        return (
            f"{name} has kept all other threads ({others}) waiting for {seconds:.2f} s, in a call "
            f"that can be neither parked nor preempted, here or just before:\n{stack.rstrip()}"
        )
