"""Signals: Python handlers run in the main thread, whatever was running when the signal came.

CPython calls a handler between two bytecodes of the code that runs on the main OS thread.  Here
that is any green thread, or the kernel while it polls on some thread's behalf.  A handler that ran
there would wait on that thread's stack, and what the thread below waits for would be lost.  So
CPython calls `Signals.deliver`, which sees to it that the main thread calls the program's handler:

1. *At once*, with the frame that was interrupted, if the main thread is running code of the
   program.
2. *By an interrupt* (`Kernel.interrupt`), if the main thread waits: its wait is suspended for the
   handler, ended by what the handler raises, and goes on with its deadline otherwise.
3. *A moment later*, if the kernel or a wrapper is at work: their steps belong together, and neither
   switches nor exceptions may come in between.  The signal is given back to CPython (`Wakeup`),
   which calls `deliver` again between two later bytecodes.
4. A thread that is busy steps aside where it may (`safe_point`), so that the main thread gets its
   turn.

While the main thread's wait is suspended it acts as a record of its own (`acting_main`): handlers
can wait, be interrupted by further signals, and wait again.

A signal is in one of two places: CPython's own flags, or `_pending`.  Both hold a signal once, so
two of a kind that come before the handler has run are one, as in stock.

Scheduler's OS thread only.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import operator
import sys
from collections.abc import Callable
from types import FrameType

from greenlet import getcurrent

from ..contracts.choice import Choice
from ..contracts.thread import Finalizer, Thread
from ..cpython import frames, originals
from ..kernel.core import Kernel
from ..preemption.safe_point import Point, point
from ..preemption.tick import Preemption
from .wakeup_fd import Wakeup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Overlay", "Signals"]

# Waits that end with EINTR even if the handler was installed with SA_RESTART: signal(7).
_NEVER_RESTARTED = frozenset({"sleep", "select", "pause", "signal"})

# Waits that a wake-up for nothing does no harm to.
_TRY_AGAIN = frozenset({"read", "write", "select"})


class _Way(Choice):
    HERE = "at once, on the stack that was interrupted"
    INTERRUPT = "by an interrupt of the main thread's wait"
    YIELD = "so too, and the thread that runs lets it run"
    LATER = "when the kernel or the wrapper is through"


_WAY_OF_OTHERS = {
    Point.SAFE: _Way.YIELD,
    Point.SOON: _Way.LATER,
    Point.NOT_NOW: _Way.INTERRUPT,
}


class Overlay:
    """What is done at a signal without being its handler: ``signal.getsignal`` shows `below`."""

    __slots__ = ("action", "below", "is_last")

    def __init__(self, action: Callable[[], None], below: Any, is_last: bool) -> None:
        """`below` is what the program has set; it is called after `action` unless `is_last`."""
        self.action = action
        self.below = below
        self.is_last = is_last

    @frames.interrupter
    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self.action()
        if not self.is_last and callable(self.below):
            self.below(signum, frame)


class Signals:
    """The program's signal handlers and the signals that wait for them; see the module's text."""

    __slots__ = (
        "_kernel",
        "_pending",
        "_preemption",
        "_suspended",
        "_batch",
        "acting_main",
        "claim",
        "deliver",
        "handlers",
        "is_in_force",
        "kept",
        "on_release",
        "paused",
        "restarting",
        "wakeup",
    )

    def __init__(self, kernel: Kernel, preemption: Preemption) -> None:
        self._kernel = kernel
        self._preemption = preemption
        self._batch: set[int] | None = None
        """While `deliver` decides: the signals that CPython hands to it meanwhile."""
        self._pending: set[int] = set()
        self._suspended: list[Thread] = []
        """The records whose waits the handlers that run now have interrupted, the main thread's
        first."""
        self.acting_main = kernel.main
        """What the main thread runs or waits as."""
        self.handlers: dict[int, Any] = {}
        """What the program has set, for each signal that CPython hands to `deliver`."""
        self.is_in_force = False
        self.on_release: Callable[[], None] | None = None
        """Called when CPython has the program's handlers back."""
        self.kept: set[int] = set()
        """Signals that `deliver` gets even where the program has no handler; for `claim`."""
        self.deliver = self._deliver
        """The handler that CPython is given: one object, to be known again."""
        self.claim: Callable[[int], bool] = lambda signum: False
        """Asked first: whether a thread that waits for this signal takes it instead."""
        self.paused: set[Thread] = set()
        """The threads that wait until a handler has run."""
        self.restarting: set[int] = set()
        """Signals that are not to end a wait: ``siginterrupt(signum, False)``."""
        self.wakeup = Wakeup()
        preemption.trip = self.wakeup.trip
        preemption.trip_later = self.wakeup.trip_later
        kernel.on_fork(self._after_fork)

    # -- from CPython ------------------------------------------------------------------------

    @frames.interrupter
    def _deliver(self, signum: int, frame: FrameType | None) -> None:
        """CPython's handler for every signal that the program has a handler for."""
        batch = self._batch
        if batch is not None:
            batch.add(signum)
            return
        if self.claim(signum):
            return
        self._batch = batch = {signum}
        way = self._way(frame)
        if way is _Way.YIELD:
            # CPython calls the handlers of one look one after the other: those behind this one
            # would have to wait until the thread that it interrupts here runs again.
            self.wakeup.give_back((signum,))
            for _ in (1, 2):
                pass  # the backward jump has CPython look
        self._batch = None
        if way is _Way.LATER:
            self.wakeup.give_back(batch)
        elif way is _Way.HERE:
            batch.discard(signum)
            if batch:
                self.wakeup.give_back(batch)
            handler = self.handlers.get(signum)
            if callable(handler):
                handler(signum, frame)
        else:
            self._pending.update(n for n in batch if n == signum or not self.claim(n))
            self._interrupt()
            if way is _Way.YIELD:
                self._kernel.yield_()

    def _way(self, frame: FrameType | None) -> _Way:
        """How a signal that has interrupted `frame` gets to the main thread."""
        kernel = self._kernel
        current = kernel.current
        acting = self.acting_main
        if type(current) is Finalizer:
            # A thread that is in the kernel on its own behalf may yet find that it need not wait,
            # unless it polls; a runnable one takes the signal at its next switch.
            waits = acting.parked and (kernel.blocking or current.host is not acting)
            return _Way.INTERRUPT if waits or acting.by_interrupt else _Way.LATER
        if frames.is_ours(frame):
            return _Way.LATER
        if current is acting:
            return _Way.HERE
        return _WAY_OF_OTHERS[point(frame)]

    def _interrupt(self) -> None:
        acting = self.acting_main
        # system(3) goes on through signals: stock's main thread is in C until it is over, and a
        # handler that reaps children would reap its.
        in_system = acting.kind == "worker" and acting.object is originals.system
        if in_system or (
            self._pending <= self.restarting
            and acting.deadline is None
            and acting.kind not in _NEVER_RESTARTED
        ):
            acting.interrupt = self.run_pending  # once the wait is over
        else:
            self._kernel.interrupt(acting, self.run_pending)

    # -- in the main thread ------------------------------------------------------------------

    @frames.entry
    def run_pending(self) -> None:
        """Call the handlers of all pending signals, lowest number first: the interrupt's action.

        What one raises ends it; the signals behind that one come next, as in stock.
        """
        kernel = self._kernel
        pending = self._pending
        waiting = self.acting_main
        self._suspended.append(waiting)
        runner = Thread()
        runner.ident = waiting.ident
        runner.started = True
        runner.greenlet = getcurrent()
        frame = frames.innermost(sys._getframe())
        self.acting_main = runner
        kernel.run_as(runner)
        try:
            while pending:
                signum = min(pending)
                pending.discard(signum)
                handler = self.handlers.get(signum)
                if callable(handler):
                    handler(signum, frame)
            if waiting in self.paused and waiting.parked:
                kernel.resume(waiting)
        finally:
            kernel.timers.forget(runner)
            self.acting_main = waiting
            self._suspended.pop()
            if pending:
                left = list(pending)
                pending.clear()
                self.wakeup.give_back(left)

    def _after_fork(self) -> None:
        """In the child: the thread that called fork is the main one, and no signal is pending."""
        kernel = self._kernel
        self._batch = None
        self._pending.clear()
        self.paused.clear()
        self.wakeup.after_fork(kernel.backend)
        if kernel.main is not self.acting_main or not self._suspended:
            self._suspended.clear()
            self.acting_main = kernel.main
            return
        # A handler has forked: what it interrupted goes on when it returns.
        kernel.adopt_main(self._suspended[0])
        for thread in self._suspended:
            thread.timer = None
            if thread.deadline is not None:
                kernel.timers.add(thread, thread.deadline)
            if thread.parked and thread.kind in _TRY_AGAIN:
                kernel.resume(thread)

    # -- what the program sets ---------------------------------------------------------------

    def install(self, signum: Any, handler: Any) -> Any:
        """What ``signal.signal`` does, in the main thread."""
        native = self.deliver if callable(handler) else handler
        number = operator.index(signum)
        self._preemption.vacate(number)
        old = originals.set_signal(signum, native)
        before = self.handlers.pop(number, None)
        if native is self.deliver or number in self.kept:
            self.handlers[number] = handler
        if native is not self.deliver and number in self.kept:
            originals.set_signal(number, self.deliver)
        self.restarting.discard(number)
        return _told(before) if old is self.deliver else old

    def shown(self, signum: Any) -> Any:
        """What ``signal.getsignal`` returns."""
        native = originals.get_signal(signum)
        number = operator.index(signum)
        if number == self._preemption.signum:
            return _signal.SIG_DFL
        return _told(self.handlers.get(number)) if native is self.deliver else native

    def adopt(self) -> Callable[[], None]:
        """Take over the handlers there are; returns what gives them back."""
        for signum in originals.valid_signals():
            handler = originals.get_signal(signum)
            if callable(handler) and handler is not self.deliver:
                self.install(signum, handler)
        self.is_in_force = True
        self.wakeup.adopt()
        self.wakeup.follow(self._kernel.backend)
        return self._release

    def take_over(self, other: Signals) -> Callable[[], None] | None:
        """In a forked child: as `adopt`, from those of a kernel that is no more."""
        if not other.is_in_force:
            return None
        other._release()
        self.restarting |= other.restarting
        return self.adopt()

    def _release(self) -> None:
        self.is_in_force = False
        for signum, handler in list(self.handlers.items()):
            if originals.get_signal(signum) is self.deliver:
                originals.set_signal(signum, _told(handler))
        self.wakeup.release()
        if self.on_release is not None:
            self.on_release()


def _told(handler: Any) -> Any:
    """What the program is told of a handler."""
    return handler.below if type(handler) is Overlay else handler
