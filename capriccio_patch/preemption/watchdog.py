"""The watchdog: an OS thread that looks once a slice whether a thread lets the others run.

If nothing has switched for a slice, though there are other threads, the one that runs is asked to
step aside (`Preemption`).  If nothing has switched for the limit all the same, it is in C code, and
that is reported (`Blocked`).

* ``Kernel.budget`` counts down with each switch and ``Kernel.now`` moves with each turn: together
  they tell whether anything has switched, and cost a switch nothing.
* Looking takes the GIL, which a computing thread gives away after a switch interval.  While the
  watchdog is there, that is made a fraction of the slice.
* On a virtual machine a look costs some 100 us of CPU, nearly all of it for waking up: for the time
  and for the GIL.  So while a thread that computes keeps nobody waiting, the watchdog waits for
  what the kernel's next poll would report, and otherwise looks less often.
* The compiled core tells without the GIL whether anything has switched (`Pulse`).  Then a look is
  what is done once nothing has for a slice, and now and then.

1. A thread that parks in time never notices.
2. The watchdog sleeps without a timeout while the kernel waits in a poll, or there is one thread
   only; ``Kernel.wake_watchdog`` is set then.  It does not exist before the second thread.
3. It does not exist while the process forks: the child's memory is whole, and CPython does not
   count it.  Parent and child start their own, when they need one.
4. Time for which the system did not let the process run is not counted (`Lateness`), and neither is
   that of a full garbage collection, which may begin anywhere, or of a search of the runtime's.
5. It never delays the exit, except by a report that is being written.
6. A collection may begin on its OS thread, and a finalizer wait there: another one takes over.
"""

from __future__ import annotations

import _thread
import sys
from collections.abc import Callable
from functools import partial
from math import inf

from ..contracts.descriptor import READ
from ..cpython import originals
from ..cpython.standstill import standstills
from ..io import os_threads
from ..kernel.core import TURN, Kernel
from . import gil_interval
from .lateness import Lateness, cpu_delay, forget, forget_all, keep
from .sleeper import Pulse, Sleeper
from .stall_report import AGAIN, Blocked, Seen
from .tick import Preemption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Watchdog"]

_SHORTEST = 0.0002
"""The shortest slice in seconds; a switch by preemption costs some 20 us."""
_GIL_SHARE = 0.1
_SLICES_BETWEEN_LOOKS = 9
"""While no other thread could run."""
_SLICES_TO_STEP_ASIDE = 3
"""After the first of these a thread is asked; by the last it has had the time."""
_LOOKS_IN_LIMIT = 4
"""At least: what a call takes before the first look is not known."""
_SHORTEST_INTERVAL = 0.00002
_STOP_LIMIT = 1.0
_TO_SETTLE = 1.5
"""Seconds without a switch after which those that wait are taken to go on waiting."""
_LONGEST_UNSEEN = 0.2
"""Seconds for which nobody looks while threads switch."""


class Watchdog:
    """The watchdog of a kernel; see the module's text."""

    __slots__ = (
        "_blocked",
        "_kernel",
        "_limit",
        "_native_id",
        "_next_look",
        "_os_thread",
        "_period",
        "_pread",
        "_pulse",
        "_slice",
        "_woken",
        "look_around",
        "preemption",
    )

    def __init__(
        self,
        kernel: Kernel,
        slice_: float,
        limit: float,
        mode: str,
        pread: Callable[..., bytes] = originals.pread,
        pulse: Pulse | None = None,
        preemption: Callable[[Kernel], Preemption] = Preemption,
    ) -> None:
        """`slice_` and `limit` in seconds; 0.0 turns off preemption, and the report in `mode`.

        `pread` reads a few bytes of a file that answers at once.  One that keeps the GIL saves each
        look a wait for it.  `pulse` is the compiled core's, if there is one; it tells of its one
        kernel.  `preemption` is `Elsewhere` for one that is not on the main OS thread.  Kernel's OS
        thread.
        """
        self._kernel = kernel
        self._pread = pread
        self._pulse = pulse
        self._slice = slice_
        self._limit = limit
        self._period = 0.0
        self._os_thread: Sleeper | None = None
        self._next_look = kernel.clock() + _TO_SETTLE
        self._native_id = _thread.get_native_id()
        self.look_around: Callable[[], float] | None = None
        """Called now and then on the watchdog's OS thread, not more often than once in the seconds
        that it returns: what looks at all threads."""
        self.preemption = preemption(kernel)
        self._blocked = Blocked(kernel, mode == "raise", self.preemption.raise_soon)
        self._woken: float | None = None
        """When it was woken or started last, by the kernel's clock."""

    def blocked(self) -> dict[str, Any]:
        """What ``status()["blocked"]`` tells of calls that have stopped all threads."""
        return self._blocked.summary()

    # -- settings ----------------------------------------------------------------------------

    @property
    def interval(self) -> float:
        """What ``sys.getswitchinterval`` tells: the slice; CPython's where nothing is preempted."""
        return self._slice or gil_interval.programs()

    def set_interval(self, seconds: float) -> None:
        """What ``sys.setswitchinterval`` sets, in `seconds`.  Any OS thread."""
        gil_interval.program_sets(seconds)
        if self._slice:
            self._slice = seconds
        self._set_period()

    def _set_period(self) -> None:
        interval, period = gil_interval.programs(), self._limit / 2
        if self._slice:
            slice_ = max(self._slice, _SHORTEST)
            period = min(slice_, self._limit / _LOOKS_IN_LIMIT or slice_)
            interval = max(slice_ * _GIL_SHARE, _SHORTEST_INTERVAL)
            self._kernel.set_slice(slice_)
        self._period = period
        gil_interval.ask(self, interval)

    # -- on and off: scheduler's OS thread ---------------------------------------------------

    def start(self) -> None:
        """Watch, from the second thread on."""
        if self._slice or self._limit:
            kernel = self._kernel
            self.preemption.start()
            self._set_period()
            kernel.on_fork(self._forked)
            kernel.around_fork(self._pause, self._resume)
            kernel.wake_watchdog = self._wake

    def stop(self) -> None:
        """Stop watching, for good."""
        self._end_os_thread()
        self._blocked.stop()
        forget(self._native_id)
        self.preemption.stop()
        gil_interval.take_back(self)

    def _wake(self) -> None:
        """There may be something to watch: what ``Kernel.wake_watchdog`` is, unless awake."""
        kernel = self._kernel
        if len(kernel.threads) == 1 or kernel.wake_watchdog is None:
            return
        kernel.wake_watchdog = None
        self._woken = kernel.clock()
        if self._os_thread is not None:
            self._os_thread.wake()
            return
        keep(self._native_id)
        self._start_os_thread()

    def _start_os_thread(self) -> None:
        self._os_thread = os_thread = Sleeper(self._pulse)
        born = originals.monotonic(), cpu_delay(self._native_id, self._pread)
        try:
            os_threads.start(self._run, (os_thread, *born))
        except RuntimeError:  # the system has no more: try again next time
            self._os_thread = None
            self._kernel.wake_watchdog = self._wake

    def _end_os_thread(self) -> None:
        os_thread, self._os_thread = self._os_thread, None
        self._kernel.wake_watchdog = None
        if os_thread is not None:
            os_thread.stop()
            if self._kernel.polled_outside:
                self._kernel.backend.notify()
            originals.lock_acquire(os_thread.ended, True, _STOP_LIMIT)

    def _pause(self) -> None:
        if self._kernel.is_mine():
            self._end_os_thread()

    def _resume(self) -> None:
        kernel = self._kernel
        if kernel.is_mine() and self._os_thread is None:
            kernel.wake_watchdog = self._wake
            if len(kernel.threads) > 1:
                # CPython is yet to look for OS threads.  After that the forking thread either goes
                # on, and takes the tick, or lets others run, and the kernel makes the call first.
                kernel.call_next(self._wake)
                self.preemption.request()

    def _forked(self) -> None:
        self._os_thread = None
        self._blocked.forked()
        forget_all()
        gil_interval.keep_only(self)
        self._native_id = _thread.get_native_id()
        self.preemption.forked()

    # -- the OS thread -----------------------------------------------------------------------

    def _run(self, me: Sleeper, *born: Any) -> None:
        os_threads.replaced_by(partial(self._replace, me))
        try:
            self._watch(me, Lateness(self._kernel.os_ident, self._native_id, self._pread, *born))
        finally:
            originals.lock_release(me.ended)

    def _replace(self, me: Sleeper) -> None:
        """A finalizer waits on this OS thread: another one watches, or who computes would keep the
        thread from running that the finalizer waits for."""
        if self._os_thread is me:
            me.stopping = True
            self._woken = None
            self._start_os_thread()

    def _watch(self, me: Sleeper, lateness: Lateness) -> None:
        kernel = self._kernel
        self._report_if_kept(lateness)
        seen: tuple[int, float] | None = None
        collected = before = standstills()
        ran = 0.0
        report_at = self._limit
        excused = 0.0  # of that, without a CPU
        pause = self._period
        asked = alone = moved = False
        seen_at: Seen | None = None
        while True:
            # Not before it has stepped aside: else it may be in a call that is to be reported.
            fd = kernel.backend.waitable() if alone and moved else -1
            is_still = False
            if fd >= 0:
                pause, alone = self._listen(me, fd, pause)
            else:
                pause, is_still = self._wait(me, pause, lateness)
            if me.stopping:
                return
            # At once: what follows lets go of the GIL, and the thread that runs would run on.
            state, polling = (kernel.budget, kernel.now), kernel.blocking
            if self._limit and ran + lateness.elapsed() >= self._limit and not polling:
                seen_at = self._blocked.look()
            step = lateness.since_last(pause, gil_interval.current())
            if kernel.clock() >= self._next_look:
                self._look_around()
            moved = state != seen
            alone = (asked if moved else alone) and kernel.is_alone()
            asked = False
            last, collected = collected, standstills()
            if not moved:
                ran += step
                excused += lateness.excused
            else:
                ran = step if is_still else self._ran_at_least(state, step, pause)
                report_at = self._limit
                excused = 0.0
                before = last
            is_idle = polling and kernel.blocking and (is_still or not moved)
            if moved or is_idle:
                self._blocked.is_past()
            if len(kernel.threads) == 1 or is_idle:
                seen_at = None
                self._sleep(me, state)
                self._report_if_kept(lateness)
                state, ran = (0, 0.0), 0.0
            elif polling:
                ran = 0.0
            else:
                if self._slice and ran >= self._slice and not (alone and moved):
                    self.preemption.request()
                    asked = True
                blamed = ran - excused
                # Who has not been asked, for nobody else could run or it may run for so long, is
                # to blame only for keeping the GIL.
                if fd >= 0 or ran < _SLICES_TO_STEP_ASIDE * self._slice:
                    blamed = step - pause - lateness.excused
                if seen_at and collected == before:
                    report_at = self._report(seen_at, blamed, report_at, lateness.is_sure)
            seen, seen_at = state, None  # which refers to objects of the program's
            pause = self._next_pause(ran)

    def _report(self, seen: Seen, blamed: float, report_at: float, is_sure: bool) -> float:
        """Report a call that has kept others waiting for `blamed` seconds, if that is `report_at`
        or more; returns when to do so again."""
        goes_on = report_at > self._limit
        if blamed < report_at:
            if goes_on:
                self._blocked.lasts(blamed)
            return report_at
        self._blocked.report(seen, blamed, is_sure, goes_on)
        return max(AGAIN, 2 * blamed)

    def _ran_at_least(self, state: tuple[int, float], step: float, pause: float) -> float:
        """Lower bound of the run time of the current thread, which did not run at the last look."""
        kernel = self._kernel
        budget, turn = state
        if budget >= TURN - 1 or kernel.has_slice():
            return min(step, kernel.clock() - turn)
        return max(0.0, step - pause)  # the GIL was not given away for so long

    def _next_pause(self, ran: float) -> float:
        period = self._period
        if 0.0 < ran < self._slice:
            return min(period, max(self._slice - ran, period / 8))
        return period

    def _look_around(self) -> float:
        """After how many seconds there is something to look for again."""
        pause = inf
        try:
            pause = inf if self.look_around is None else self.look_around()
        except Exception:  # a fault of ours: there is still somebody to be watched
            self.look_around = None
            sys.excepthook(*sys.exc_info())
        self._next_look = self._kernel.clock() + pause
        return pause

    def _wait(self, me: Sleeper, pause: float, lateness: Lateness) -> tuple[float, bool]:
        """Sleep until it is time to look; as `Sleeper.pause`."""
        until = self._kernel.clock() + _LONGEST_UNSEEN
        if self.look_around is not None:
            until = min(until, self._next_look)
        times = pause, self._period, self._slice, until
        return me.pause(self._native_id, times, lateness)

    def _listen(self, me: Sleeper, fd: int, pause: float) -> tuple[float, bool]:
        """Wait until another thread may be able to run.

        Returns for how long at most, which is no less than `pause` unless `fd` is readable before,
        and whether no other thread can, as far as `fd` tells.
        """
        assert originals.poll is not None
        kernel = self._kernel
        limit = min(_SLICES_BETWEEN_LOOKS * self._slice, self._limit or _LONGEST_UNSEEN)
        deadline = kernel.timers.peek()
        if deadline is not None:
            limit = min(limit, deadline - kernel.clock())
        limit = max(limit, pause)
        poller = originals.poll()
        poller.register(fd, READ)
        kernel.polled_outside = True  # before the look at what it would end
        found: list[tuple[int, int]] = []
        if not me.stopping and kernel.is_alone():
            found = originals.poll_poll(poller, limit * 1000)
        kernel.polled_outside = False
        return limit, not found

    def _kept_asleep(self) -> float:
        """For how many seconds one thread has run since the watchdog was woken, if it is known."""
        kernel = self._kernel
        if self._woken is None or kernel.blocking or kernel.budget < TURN - 1:
            return 0.0
        return kernel.clock() - max(self._woken, kernel.now)

    def _report_if_kept(self, lateness: Lateness) -> None:
        """Report the call that has kept the GIL since the watchdog was woken, if there is one."""
        kept = self._kept_asleep()  # before what lets go of the GIL
        if self._limit and kept >= self._limit:
            before, seen = standstills(), self._blocked.look()
            kept = min(kept, lateness.since_last(0.0, gil_interval.current()))
            if seen is not None and standstills() == before:
                self._report(seen, kept, self._limit, lateness.is_sure)
        lateness.reset()

    def _sleep(self, me: Sleeper, state: tuple[int, float]) -> None:
        """Sleep until there may be something to watch, and look around now and then."""
        kernel = self._kernel
        self._woken = None
        kernel.wake_watchdog = self._wake
        idle = kernel.blocking and (kernel.budget, kernel.now) == state
        is_woken = False
        if idle and self.look_around is not None and len(kernel.threads) > 1:
            is_woken = me.sleep_and_look(_TO_SETTLE, self._look_around)
        if not is_woken and (idle or len(kernel.threads) == 1):
            me.sleep()
        if not me.stopping:
            kernel.wake_watchdog = None
