"""The kernel: which green thread runs on the scheduler's OS thread, and how it comes to wait.

One way to block and one to wake:

    me = kernel.begin()                 # from here on `resume(me)` is legal: tell who resumes it
    if it_is_there():                   # look again
        kernel.cancel(me)
    else:
        resumed = kernel.park(me, deadline)

Threads that wait for the same thing queue in a `parking.Lot`, which does this for them.

1. Each `park` is ended by exactly one `resume` (or by its deadline, or by an interrupt); a resume
   of a thread that is not parked is an error.
2. Threads switch to each other directly.  Only a thread's *first* switch comes from the base
   greenlet: a greenlet started from another's stack would inherit its depth of recursion and lie on
   top of its C stack.  A finalizer that waits on the base greenlet gets the others a new one.
3. While the kernel works, between `begin` and the switch, `current` is a `Finalizer`: code that
   runs then (finalizers, weakref callbacks, signal handlers) can itself wait without disturbing
   what the thread below it waits for.  `type(current) is Finalizer` is the flag of the critical
   section.  It ends when the thread that was switched to has taken its turn: what it was woken with
   must not be changed by the waits of a finalizer that comes first.
4. A turn is at most `TURN` switches; then descriptors, timers and the inbox are looked at, whether
   or not threads are still runnable, so that neither starves.  As many timers are taken at most.
5. Other OS threads and signal handlers only append to the inbox and notify; they never switch.
6. Calls that are complete at once don't park: a thread that makes one after the other asks after
   each whether others are due (`yield_if_due`, `yield_after_calls`).

This is the reference; where there is a compiled core, its switch.c and turn.c do the plain cases of
`begin`, `cancel`, `park`, `resume`, `yield_`, `sleep_until` and the turn, stacks.c of `spawn`.

Scheduler's OS thread, but for `set_slice`, `has_slice` and what `state` says.
"""

from __future__ import annotations

from collections.abc import Callable

from greenlet import getcurrent, greenlet

from ..contracts.scheduler import Scheduler
from ..contracts.socket_backend import Backend
from ..contracts.thread import Thread
from ..cpython import frames, originals
from . import finalizers, forks, interrupts, lifecycle
from .slices import POLL_INTERVAL, Slices
from .state import TURN, KernelState, let_finalizers_come

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["TURN", "Kernel"]

_switch_to = originals.greenlet_switch


class Kernel(KernelState):
    """Green threads of one OS thread: the run queue, the timers and the I/O scheme's poll loop."""

    __slots__ = ("_calls_due", "_calls_run", "_calls_turn", "_run_thread", "_slices")

    def __init__(
        self,
        backend: Backend,
        scheduler: Scheduler,
        clock: Callable[[], float] = originals.monotonic,
    ) -> None:
        super().__init__(backend, scheduler, clock)
        self._slices = Slices(self)
        self._calls_turn = self._calls_due = 0.0
        self._calls_run = 0
        self.next_thread = self._next
        self._run_thread = lifecycle.make_run_thread(self)
        lifecycle.start_base(self, 0)

    interrupt = interrupts.interrupt
    throw = interrupts.throw
    run_as = interrupts.run_as
    on_fork = forks.on_fork
    around_fork = forks.around_fork
    before_fork = forks.before_fork
    end_fork = forks.end_fork
    adopt_main = forks.adopt_main

    def after_fork(self, backend: Backend) -> None:
        """In a forked child: the current thread is the only one, and nobody waits."""
        mine = forks.keep_the_current(self, backend)
        self._slices.clear()
        if not mine:
            lifecycle.start_base(self, 0)
        for call in self.after_fork_hooks:
            call()
        self.end_fork()

    # -- threads -----------------------------------------------------------------------------

    def spawn(self, run: Callable[[], Any]) -> Thread:
        """A new thread that calls `run`; it starts when its turn comes."""
        thread = Thread()
        thread.run = run
        thread.greenlet = spare = self.spare and lifecycle.take_spare(self)
        thread.started = bool(spare)
        if not spare:
            thread.greenlet = greenlet(self._run_thread, self._base)
        self.threads[thread.ident] = thread
        self.push(thread)
        if (wake := self.wake_watchdog) is not None:
            wake()
        return thread

    # -- waiting -----------------------------------------------------------------------------

    def begin(self) -> Thread:
        """The current thread, about to wait: it may be queued and resumed from now on."""
        me = self.current
        finalizer = self.finalizer
        if me is finalizer:
            # A finalizer waits while the kernel works on its host's behalf: it is a thread of its
            # own for that time, and the next critical section needs another one.
            finalizer = finalizers.begin(self, me)
        finalizer.host = me
        me.parked = True
        me.timed_out = False
        self.current = finalizer
        return me

    def cancel(self, me: Thread) -> None:
        """Undo `begin`: what `me` wanted was there.  `me` has left every queue."""
        if me.parked:
            me.parked = False
            self.current = me
        else:
            me.by_interrupt = False  # it must not go on waiting: nobody would resume it
            self.park(me)  # resumed already: its turn has to be taken

    def park(self, me: Thread, deadline: float | None = None) -> bool:
        """Let others run until somebody resumes `me`; False when `deadline` passed before.

        `deadline` is in seconds of the kernel's clock.  Raises what an interrupt raises.
        """
        if self.is_traced or self.is_profiled:
            self.c_state.save_trace(me)
        if deadline is not None:
            self.timers.add(me, deadline)
        me.since = self.now
        me.greenlet = getcurrent()
        self._switch(me)
        error = None
        if self._chosen is not me or me.interrupt is not None:
            error = self._go_on(me)
        self._chosen = None
        if me.parked:
            raise SystemError(f"{me!r} runs but was never resumed")
        in_time = not me.timed_out
        self.current = me
        me.deadline = me.object = None  # what was waited for may go
        if me.trace is not None:
            self.c_state.restore_trace(me)
        if error is not None:
            raise error
        return in_time

    def _switch(self, me: Thread) -> None:
        """Run the next thread; returns when `me`, or a finalizer's host below it, is the next."""
        new = self._next()
        self._chosen = new
        if new is me:
            return
        if self.tsd or self.has_locals or self.importing or new.c_state is not None:
            new = self._exchange(me, new)
        # `new` is not the current one before it has taken its turn.
        finalizer = self.finalizer
        finalizer.host = new
        self.current = finalizer
        if new.started:
            _switch_to(new.greenlet)
        else:
            _switch_to(self._base)

    def _exchange(self, me: Thread, new: Thread) -> Thread:
        """Exchange what C holds for `me` and for `new`, the chosen one; returns whom to switch to:
        another one, if a finalizer has waited in between.

        Finalizers come before: what runs on the stack of `me` finds the state of `me`."""
        finalizer = self.finalizer
        finalizer.host = me
        self.current = finalizer
        let_finalizers_come()
        while self._chosen is not new:
            new = self._next()
            self._chosen = new
            let_finalizers_come()
        self.c_state.exchange(me, new)
        return new

    def _go_on(self, me: Thread) -> BaseException | None:
        """`me` was switched to and is not simply to run: it may have to let others run again.

        Returns what it is to raise.
        """
        error: BaseException | None = None
        others: list[Thread] = []
        while True:
            if self._chosen is not me:
                finalizers.host_chosen(self, me, others)
            elif me.interrupt is None:
                break
            else:
                self._chosen = None
                error, still_waiting = interrupts.run(self, me, error)
                if not still_waiting:
                    break
            self._switch(me)
        self._chosen = None
        for thread in others:  # they were below
            self.push(thread)
        if me.trace is not None:
            self.c_state.restore_trace(me)
        return error

    def resume(self, thread: Thread) -> None:
        """End the wait of a parked thread: it runs when its turn comes."""
        if not thread.parked:
            interrupts.resume_late(thread)
            return
        thread.parked = False
        push = self.push
        push(thread)

    def resume_deferred(self, thread: Thread) -> None:
        """As `resume`, but the thread lets the others run first (`slices`)."""
        if not thread.parked:
            interrupts.resume_late(thread)
            return
        thread.parked = False
        self.deferred.append(thread)

    @frames.wait("yield")
    def yield_(self) -> None:
        """Let every other runnable thread have a turn."""
        me = self.begin()
        me.parked = False
        push = self.push
        push(me)
        self.park(me)

    def sleep_until(self, deadline: float) -> None:
        """Park until `deadline`, in seconds of the kernel's clock."""
        me = self.begin()
        me.kind = "sleep"
        self.park(me, deadline)

    # -- the turn ----------------------------------------------------------------------------

    def _next(self) -> Thread:
        """The thread whose turn it is."""
        while True:
            if self.budget <= 0 or not self.ready:
                self._begin_turn()
            self.budget -= 1
            pop = self._pop
            try:
                return pop()
            except IndexError:  # a finalizer came at the call, and has let all others run
                if self.ready:
                    raise

    def _begin_turn(self) -> None:
        """Take in what descriptors, timers, other OS threads bring; wait if no thread can run."""
        self.budget = TURN
        ready = self.ready
        idle = not ready
        below = self.polling  # and on top of it a finalizer waits
        slices = self._slices
        overtaken = slices.overtaken() if slices.is_over else -1
        while True:
            if self._inbox:
                self._drain_inbox()
            if self.unfinished:
                self.finish_wake_ups()
            timeout: float | None = 0.0
            if not ready and not self.deferred and not self.preempted:
                deadline = self.timers.next_deadline()
                timeout = self.idle() if deadline is None else max(0.0, deadline - self.clock())
                self.begin_polling()
                if self._inbox or ready:
                    timeout = 0.0
            try:
                events = self.backend.poll(timeout)
            finally:
                self.blocking = False
                if self.polling and not below:
                    self.end_polling()
            self.now = self.clock()
            if timeout != 0.0 and (wake := self.wake_watchdog) is not None:
                wake()
            if events:
                self.dispatch(events)
                if overtaken >= 0:
                    slices.overtake(overtaken)
            if self.timers:
                self._expire()
            if self._inbox:
                self._drain_inbox()
            if self.deferred or self.preempted:
                slices.grant(idle)
            else:
                slices.is_over = False
            if ready:
                if below:
                    self.backend.notify()  # this poll has taken what was to end the one below
                return

    # -- letting others run ------------------------------------------------------------------

    @frames.wait("preempted")
    def preempt(self) -> None:
        """Have the current thread, which has used its slice, let others run, if any can.  Only at a
        safe point (`preemption.safe_point`).  Raises what an interrupt raises."""
        me = self.begin()
        me.parked = False
        self._slices.defer_preempted(me)
        self.park(me)

    def yield_if_due(self) -> None:
        """The current thread has made a call that it might have had to wait for: let others run if
        nothing was polled for `POLL_INTERVAL`.  Raises what an interrupt raises."""
        if len(self.threads) > 1 and self.clock() - self.now > POLL_INTERVAL:
            self.step_aside()

    def yield_after_calls(self) -> None:
        """As `yield_if_due`; the time counts from the second such call in a run (most make one)."""
        if len(self.threads) <= 1:
            return
        if self._calls_run != self.budget or self._calls_turn != self.now:
            self._calls_turn, self._calls_run, self._calls_due = self.now, self.budget, 0.0
        elif not self._calls_due:
            self._calls_due = self.clock() + POLL_INTERVAL
        elif self.clock() > self._calls_due:
            self.step_aside()

    def poll_if_due(self) -> None:
        """As `yield_if_due`, for a thread that is about to park: poll before the next one runs."""
        if self.clock() - self.now > POLL_INTERVAL:
            self._slices.end_for_others()

    def poll_before_next(self) -> None:
        """As `poll_if_due`, whenever the last poll was: this thread has something for others."""
        self._slices.end_for_others()

    def step_aside(self) -> None:
        """As `yield_if_due`, and it is time."""
        me = self.begin()
        me.parked = False
        self._slices.defer_calling(me)
        self.park(me)

    def set_slice(self, seconds: float) -> None:
        """How long a thread may run before it is preempted, in `seconds`.  Any OS thread."""
        self._slices.set_slice(seconds)

    def has_slice(self) -> bool:
        """Whether the current thread was deferred and now runs for a slice.  Any OS thread."""
        return self._slices.is_given_to(self.current)
