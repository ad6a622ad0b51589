"""Having the running thread step aside: between two bytecodes, where it does no harm.

`request` trips a signal number that nobody uses.  No signal is sent, so no system call is disturbed
and nothing outlives an exec or the exit; but CPython calls the handler, `_tick`, in whatever thread
runs.  If that is at a safe point it lets others run, if any can.

* CPython calls handlers in C functions too, if these look for signals.  There the tick is put off:
  the evaluation loop itself trips the number again (`interpose.trip_later`).  A handler can't do
  that with ``interrupt_main``, because its own frame would take the signal.
* The number is the highest real-time signal: handlers are called in the order of numbers, and those
  behind one that switches away wait until its thread runs again.
* A tick that comes when there is nothing to do is harmless.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from .. import interpose, originals
from .kernel import Kernel
from .safe_point import Point, is_own, point
from .thread import Finalizer, Thread

__all__ = ["Preemption"]


class Preemption:
    """The signal number and its handler."""

    __slots__ = ("_accused", "_kernel", "signum", "trip", "trip_later")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._accused: tuple[Thread, float, Exception] | None = None
        self.trip: Callable[[int], None] = originals.interrupt_main
        self.trip_later: Callable[[int], None] = interpose.trip_later
        """Both are `runtime.wakeup`'s while signals are taken over."""
        self.signum: int | None = None
        """The number in use; None while nothing can be preempted."""

    # -- on and off: scheduler's OS thread ---------------------------------------------------

    def start(self) -> None:
        """Take a signal number.  Where none is to be had, nothing is preempted."""
        self.signum = next(_spare_numbers(), None)
        if self.signum is not None:
            originals.set_signal(self.signum, self._tick)

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
            for other in _spare_numbers():
                if other != signum:
                    originals.set_signal(other, self._tick)
                    self.signum = other
                    return

    # -- requests ----------------------------------------------------------------------------

    def request(self) -> None:
        """Have the thread that runs let others run, soon.  Any OS thread."""
        if self.signum is not None:
            self.trip(self.signum)

    def accuse(self, thread: Thread, error: Exception) -> None:
        """Have `thread`, the current one, raise `error` unless it parks first.  Any OS thread."""
        self._accused = (thread, self._kernel.now, error)
        self.request()

    def _tick(self, signum: int, frame: FrameType | None) -> None:
        kernel = self._kernel
        if self._accused is not None and not is_own(frame):
            self._raise(self._accused)
        if type(kernel.current) is Finalizer or self.signum is None:
            return
        where = point(frame)
        if where is Point.SAFE:
            if kernel.wake_watchdog is not None:
                kernel.wake_watchdog()  # not its request, then
            else:
                kernel.preempt()
        elif where is Point.SOON:
            self.trip_later(signum)

    def _raise(self, accused: tuple[Thread, float, Exception]) -> None:
        self._accused = None
        thread, turn, error = accused
        if self._kernel.current is thread and self._kernel.now == turn:
            raise error


def _spare_numbers() -> Iterator[int]:
    """Signal numbers that programs rarely use, and this one does not."""
    numbers: list[int] = []
    if hasattr(_signal, "SIGRTMAX") and hasattr(_signal, "SIGRTMIN"):
        numbers += range(_signal.SIGRTMAX, _signal.SIGRTMIN - 1, -1)
    elif hasattr(_signal, "SIGEMT"):  # macOS, the BSDs
        numbers.append(_signal.SIGEMT)
    return (number for number in numbers if originals.get_signal(number) == _signal.SIG_DFL)
