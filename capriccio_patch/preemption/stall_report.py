"""The report of a call that keeps every thread waiting and can't be preempted.

For each place in the program, and again at growing intervals, of a call that goes on too, through
`warnings`, from the watchdog's OS thread: while the call goes on if it has let go of the GIL, else
at the moment when it returns.  The C library is named as far as the line tells which function it
calls (`cpython.expressions`).  Where warnings are errors, and in the mode "raise", the report is an
exception to be raised in the thread at fault.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

from ..contracts.thread import Thread
from ..cpython import originals
from ..cpython.expressions import Moment, called
from ..cpython.frames import innermost, is_ours, is_stdlib, wait_kind
from ..cpython.libraries import library_of
from ..cpython.modules import standard, whole
from ..cpython.thread_names import thread_name
from ..errors import CapriccioWarning, ThreadsBlocked
from ..kernel.core import Kernel
from .loading import Loading
from .safe_point import is_jump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["AGAIN", "Blocked", "Seen", "import_for_reports", "warn"]

_FRAMES = 12
AGAIN = 10.0
"""Seconds after which a place is reported again; then twice as many each time."""
_SHOWN = 10
_STOP_LIMIT = 1.0
"""Seconds for which the exit waits for a report."""
_PLACES = 1000
"""How many places are remembered: a program that makes up code may have any number of them."""


class Seen:
    """A thread of which it may have to be reported that it lets no other run."""

    __slots__ = ("call", "is_at_jump", "library", "stack", "thread")

    def __init__(
        self,
        thread: Thread,
        is_at_jump: bool,
        stack: list[tuple[str, int, str]],
        library: str = "",
        call: Moment | None = None,
    ) -> None:
        self.thread = thread
        self.is_at_jump = is_at_jump
        self.stack = stack
        """File, line and function, the innermost first."""
        self.library = library
        """What C code it is in, as far as is known."""
        self.call = call
        """What tells that, where it could not be read yet."""


def import_for_reports() -> None:
    """Import what a report needs of the standard library."""
    for name in ("dis", "linecache", "tokenize", "traceback", "warnings"):
        whole(name)


class Blocked:
    """What has been reported."""

    __slots__ = (
        "_kept",
        "_kernel",
        "_libraries",
        "_loading",
        "_longest",
        "_places",
        "_raise_soon",
        "_raises",
        "_times",
        "_turn",
    )

    def __init__(
        self, kernel: Kernel, raises: bool, raise_soon: Callable[[Thread, Exception], None]
    ) -> None:
        """`raise_soon` has a thread raise an error; it is called on any OS thread."""
        self._kernel = kernel
        self._raises = raises
        self._raise_soon = raise_soon
        self._kept: list[tuple[Seen, float, bool, bool]] = []
        """What to report once that can be done."""
        self._turn: Any = originals.allocate_lock()
        """Held by the OS thread that reports."""
        self._places: dict[tuple[str, int], _Place] = {}
        self._libraries: dict[tuple[int, int], str] = {}
        """By id of a code object and place in it; a wrong one in the place of a dead one is rare,
        and only words."""
        self._loading = loading = Loading(import_for_reports, self._report_kept)
        kernel.around_fork(loading.before_fork, loading.after_fork)
        self._times = 0
        self._longest = 0.0

    def forked(self) -> None:
        """In a forked child: whoever was about to report has stayed in the parent."""
        self._kept.clear()
        self._turn = originals.allocate_lock()

    def stop(self) -> None:
        """Report no more; waits for a report that is being written.  Scheduler's OS thread."""
        self._kept.clear()
        originals.lock_acquire(self._turn, True, _STOP_LIMIT)

    def look(self) -> Seen | None:
        """What the current thread is at.  Watchdog's OS thread, which lets nobody else run
        meanwhile: the thread may have returned from its call just now, and would run on."""
        return self._kernel.c_state.read_frame(self._at)

    def _at(self, running: FrameType) -> Seen | None:
        frame = innermost(running)
        if frame is None or _is_at_search(running):
            return None
        thread, at_jump = self._kernel.current, is_jump(running)
        stack: list[tuple[str, int, str]] = []
        outer: FrameType | None = frame
        while outer is not None and len(stack) < _FRAMES:
            if not is_ours(outer):
                code = outer.f_code
                stack.append((code.co_filename, outer.f_lineno or 0, code.co_name))
            outer = outer.f_back
        place = id(frame.f_code), frame.f_lasti
        name, call = self._libraries.get(place), None
        # Reading may let go of the GIL, so it comes last, and counts if nothing has moved.
        if name is None and not self._loading.is_over:
            call = Moment(frame)
        elif name is None and len(self._libraries) < _PLACES:
            name = self._libraries[place] = library_of(called(frame))
        if frame.f_lasti != place[1]:
            self._libraries.pop(place, None)
            return Seen(thread, at_jump, stack)
        return Seen(thread, at_jump, stack, name or "", call)

    def summary(self) -> dict[str, Any]:
        """How many calls there were, how long the longest took as far as was seen, and where most
        have been.  Any OS thread."""
        places = sorted(self._places.items(), key=lambda each: -each[1].total)[:_SHOWN]
        return {
            "calls": self._times,
            "longest": round(self._longest, 3),
            "places": {f"{file}:{line}": place.total for (file, line), place in places},
        }

    def lasts(self, seconds: float) -> None:
        """A call that was reported goes on, for `seconds` so far."""
        self._longest = max(self._longest, seconds)

    def report(self, seen: Seen, seconds: float, sure: bool, goes_on: bool = False) -> None:
        """A thread has let no other run for `seconds`; `goes_on`: it was reported before, in this
        very call.  Watchdog's OS thread, which may let others run.

        Unless that is `sure`, it may be that the system did not let the process run: then a thread
        at a backward jump is not reported.  What a report needs is imported for the first one,
        which is made when that is done, while the watchdog goes on.
        """
        self._kept.append((seen, seconds, sure, goes_on))
        if self._loading.is_done_now():
            self._report_kept()

    def is_past(self) -> None:
        """The call is over: what is yet to be reported of it keeps no object of the program's."""
        for seen, *_ in self._kept:
            seen.call = None

    def _report_kept(self) -> None:
        # Another OS thread may be at it, which looks again when it is done.
        while self._kept and originals.lock_acquire(self._turn, False):
            try:
                kept = self._kept.pop(0) if self._kept else None
                error = None if kept is None else self._reported(*kept)
                if kept is not None and error is not None:
                    self._raise_soon(kept[0].thread, error)
            finally:
                originals.lock_release(self._turn)

    def _reported(self, seen: Seen, seconds: float, sure: bool, goes_on: bool) -> Exception | None:
        """Warn, if that is due; returns what is to be raised in the thread instead, or None."""
        if seen.is_at_jump and not sure:
            return None
        self._times += not goes_on
        self._longest = max(self._longest, seconds)
        filename, line, _ = seen.stack[0]
        place = self._places.get((filename, line))
        if place is None:
            if len(self._places) >= _PLACES:
                return None
            place = self._places[filename, line] = _Place()
        if goes_on:
            if self._raises:
                return None  # it has been told once, and raises when it returns
        elif not place.is_due(self._kernel.clock()):
            return None
        text = self._text(seen, seconds) + ("" if goes_on else place.more())
        if self._raises:
            return ThreadsBlocked(text)
        try:
            warn(text, (filename, line))
        except CapriccioWarning as error:
            return error.with_traceback(None)
        except Exception:  # the program's own way of showing warnings failed
            sys.excepthook(*sys.exc_info())
        return None

    def _text(self, seen: Seen, seconds: float) -> str:
        name = thread_name(seen.thread.ident)
        others = len(self._kernel.threads) - 1
        stack = [(*each, None) for each in seen.stack[::-1]]
        call = seen.call
        library = seen.library if call is None else library_of(called(call))
        where = f", in {library}" if library else ""
        summary = whole("traceback").StackSummary.from_list(stack)
        return (
            f"{name} has kept all other threads ({others}) waiting for {seconds:.2f} s, in a call "
            f"that can be neither parked nor preempted{where}, here or just before:\n"
            f"{''.join(summary.format()).rstrip()}\n"
            "capriccio_patch.offload() or CAPRICCIO_OFFLOAD has such calls made on OS threads"
        )


def warn(text: str, place: tuple[str, int]) -> None:
    """Warn of `place`, a file and a line; raises what the program makes of it.  Any OS thread."""
    for name in ("tokenize", "linecache"):
        standard(name)  # which the warning imports
    standard("warnings").warn_explicit(text, CapriccioWarning, *place)


def _is_at_search(frame: FrameType | None) -> bool:
    """Whether the runtime is at a search, which may use the standard library."""
    while frame is not None and (is_ours(frame) or is_stdlib(frame.f_code.co_filename)):
        if wait_kind(frame) == "search":
            return True
        frame = frame.f_back
    return False


class _Place:
    """A line of the program at which others were kept waiting."""

    __slots__ = ("_again", "_due", "_times", "total")

    def __init__(self) -> None:
        self._due = 0.0
        self._again = AGAIN
        self.total = 0
        self._times = 0
        """How often since the last report, which is one of them."""

    def is_due(self, now: float) -> bool:
        """Whether it is to be reported that it has happened again, `now` by the kernel's clock."""
        self._times += 1
        self.total += 1
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
