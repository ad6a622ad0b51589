"""Having the running thread step aside: between two bytecodes, where it does no harm.

`request` trips a signal number that nobody uses.  No signal is sent, so no system call is disturbed
and nothing outlives an exec or the exit; but CPython calls the handler, `_tick`, in whatever thread
runs.  If that is at a safe point it lets others run, if any can.

* CPython calls handlers in C functions too, if these look for signals.  There it is postponed:
  the evaluation loop itself trips the number again (`thread_state.trip_later`).  A handler can't do
  that with ``interrupt_main``, because its own frame would take the signal.  If the watchdog trips
  it too in that very moment, the handler is called once more on top of itself: nothing to do, then.
* A thread that runs delicate code for long is not asked at each of its bytecodes: there is a limit,
  `_POSTPONEMENTS`.
* The number is the highest real-time signal: handlers are called in the order of numbers, and those
  behind one that switches away wait until its thread runs again.
* While a trace or profile function runs, CPython traces nothing on its OS thread; what ran in
  between would be missed.  So the tick is postponed there as well.
* A tick that comes when there is nothing to do is harmless.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
from collections.abc import Callable, Iterator
from types import FrameType

from ..contracts.thread import Finalizer, Thread
from ..cpython import originals, thread_state
from ..cpython.frames import is_ours
from ..kernel.core import Kernel
from .safe_point import Point, point

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Preemption", "spare_numbers"]

_POSTPONEMENTS = 100
"""How often a tick is postponed; the next one comes with the next slice.  Once costs 3 us."""


class Preemption:
    """The signal number and its handler."""

    __slots__ = (
        "_owed",
        "_to_raise",
        "_kernel",
        "_is_postponing",
        "_tracing",
        "_postponements",
        "signum",
        "trip",
        "trip_later",
    )

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._to_raise: tuple[Thread, float, Exception] | None = None
        self._owed: dict[Thread, BaseException] = {}
        self._tracing = thread_state.tracing_depth()
        self._is_postponing = False
        self._postponements = 0
        self.trip: Callable[[int], None] = originals.interrupt_main
        self.trip_later: Callable[[int], None] = thread_state.trip_later
        """Both are `signals.wakeup_fd`'s while signals are taken over."""
        self.signum: int | None = None
        """The number in use; None while nothing can be preempted."""

    # -- on and off: scheduler's OS thread ---------------------------------------------------

    def start(self) -> None:
        """Take a signal number.  Where none is to be had, nothing is preempted."""
        self.signum = next(spare_numbers(), None)
        if self.signum is not None:
            originals.set_signal(self.signum, self._tick)

    def forked(self) -> None:
        """In a forked child: its only OS thread may be another one than before."""
        self._tracing = thread_state.tracing_depth()

    def stop(self) -> None:
        """Give the signal number back.  Nobody calls `request` any more."""
        signum, self.signum = self.signum, None
        if signum is not None:
            for _ in (1, 2):
                pass  # a backward jump: a tick that was due comes now
            originals.set_signal(signum, _signal.SIG_DFL)

    def vacate(self, signum: Any) -> None:
        """The program wants the signal `signum`: use another."""
        if signum == self.signum:
            self.stop()
            for other in spare_numbers():
                if other != signum:
                    originals.set_signal(other, self._tick)
                    self.signum = other
                    return

    # -- requests ----------------------------------------------------------------------------

    def request(self) -> None:
        """Have the thread that runs let others run, soon.  Any OS thread."""
        if self.signum is not None:
            self._postponements = _POSTPONEMENTS
            self.trip(self.signum)

    def raise_soon(self, thread: Thread, error: Exception) -> None:
        """Have `thread`, the current one, raise `error` unless it parks first.  Any OS thread."""
        self._to_raise = (thread, self._kernel.now, error)
        self.request()

    def owe(self, thread: Thread, error: BaseException) -> None:
        """Have `thread`, the current one, raise `error` when the C code that it is in looks for
        signals or has returned; it may park before.  The caller sees to it that the number is
        tripped then.  Scheduler's OS thread."""
        if self.signum is None:
            self._kernel.throw(thread, error)
        else:
            self._owed[thread] = error

    def owes(self, thread: Thread) -> bool:
        """Whether `thread` is to raise what it owes.  Scheduler's OS thread."""
        return thread in self._owed

    def _tick(self, signum: int, frame: FrameType | None) -> None:
        if self._is_postponing:
            return
        kernel = self._kernel
        if self._to_raise is not None and not is_ours(frame):
            self._raise(self._to_raise)
        if self._owed and not is_ours(frame):
            self._settle()
        if self.signum is None:
            return
        in_kernel = type(kernel.current) is Finalizer
        where = Point.SOON if in_kernel or self._tracing.value else point(frame)
        if (wake := kernel.wake_watchdog) is not None:  # not its request, then
            if where is Point.SAFE or not self._postponements:
                wake()
                return
            where = Point.SOON  # nobody would ask again
        elif in_kernel:
            return  # it is about to switch
        if where is Point.SAFE:
            kernel.preempt()
        elif where is Point.SOON and self._postponements:
            self._postponements -= 1
            self._is_postponing = True
            try:
                self.trip_later(signum)
            finally:
                self._is_postponing = False

    def _settle(self) -> None:
        error = self._owed.pop(self._kernel.current, None)
        if error is not None:
            raise error
        for thread in list(self._owed):  # it waits in Python code that C has called
            self._kernel.throw(thread, self._owed.pop(thread))

    def _raise(self, sent: tuple[Thread, float, Exception]) -> None:
        self._to_raise = None
        thread, turn, error = sent
        if self._kernel.current is thread and self._kernel.now == turn:
            raise error


def spare_numbers() -> Iterator[int]:
    """Signal numbers that programs rarely use, and this one does not."""
    numbers: list[int] = []
    if hasattr(_signal, "SIGRTMAX") and hasattr(_signal, "SIGRTMIN"):
        numbers += range(_signal.SIGRTMAX, _signal.SIGRTMIN - 1, -1)
    elif hasattr(_signal, "SIGEMT"):  # macOS, the BSDs
        numbers.append(_signal.SIGEMT)
    return (number for number in numbers if originals.get_signal(number) == _signal.SIG_DFL)
