"""The kernel: which green thread runs on the scheduler's OS thread, and how it comes to wait.

One way to block and one to wake:

    me = kernel.begin()             # from here on `resume(me)` is legal
    queue.append(me)                # queue first,
    if available():                 # then look again,
        withdraw(me); kernel.cancel(me)
    else:
        try:
            resumed = kernel.park(me, deadline)         # then park
        except BaseException:
            withdraw(me); raise     # a signal handler raised, or the thread is being killed
        if not resumed:
            withdraw(me)            # the deadline has passed

1. Each `park` is ended by exactly one `resume` (or by its deadline, or by an interrupt); a resume
   of a thread that is not parked is an error.
2. Threads switch to each other directly.  Only a thread's *first* switch comes from the base
   greenlet: a greenlet started from another's stack would inherit its depth of recursion and lie on
   top of its C stack.
3. While the kernel works, between `begin` and the switch, `current` is a `Finalizer`: code that
   runs then (finalizers, weakref callbacks, signal handlers) can itself wait without disturbing
   what the thread below it waits for.  `type(current) is Finalizer` is the flag of the critical
   section.
4. A turn is at most `TURN` resumes; then descriptors, timers and the inbox are looked at, whether
   or not threads are still runnable, so that neither starves.  As many timers are taken at most.
5. Other OS threads and signal handlers only append to the inbox and notify; they never switch.
6. A thread that had to be preempted is runnable but not in the scheduler's hands: one such thread
   at a time gets a slice when the others have nothing to do, or have had as much (`PATIENCE`).
7. Calls that are complete at once don't park; who makes one after the other looks whether it has
   had `BREATH`, and steps aside in the same way.  Whoever a descriptor wakes up then runs before
   those that were runnable already, each of which may be about to take as long.

Everything but `call_soon` and `is_mine` may be called on the scheduler's OS thread only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from greenlet import getcurrent, greenlet

from ..contracts.thread import Finalizer, Thread
from ..cpython import frames, interpose, originals
from .thread_locals import CState
from .timers import Timers

__all__ = ["Kernel"]

TURN = 64
SPARE = 64
PATIENCE = 0.01
"""Seconds that threads which park in time may keep preempted ones from running."""
SLICES = 64
"""How many preempted threads are let in together at most."""
SOON = 0.0002
"""Seconds after which those that were let in together have not used up their slices."""
BREATH = 0.00005
"""Seconds that a thread may go on from one call to the next before others have their say."""


class Kernel:
    """Green threads of one OS thread: the run queue, the timers and the I/O scheme's poll loop."""

    __slots__ = (
        "_advance",
        "_after_fork",
        "_around_fork",
        "_base",
        "_ended",
        "_granted",
        "_granted_at",
        "_inbox",
        "_patience",
        "_pop",
        "_preempted",
        "push",
        "_push_first",
        "_run_thread",
        "_slice_ended",
        "_slice_over",
        "_slices",
        "_starting",
        "backend",
        "blocking",
        "budget",
        "c_state",
        "clock",
        "current",
        "dispatch",
        "finalizer",
        "has_locals",
        "heeded",
        "is_profiled",
        "is_traced",
        "listens",
        "main",
        "now",
        "os_ident",
        "proxies",
        "ready",
        "scheduler",
        "report",
        "spare",
        "threads",
        "timers",
        "tsd",
        "wake_watchdog",
    )

    def __init__(
        self, backend: Any, scheduler: Any, clock: Callable[[], float] = originals.monotonic
    ) -> None:
        self.os_ident: int = originals.get_ident()
        self.clock = clock
        self.now = clock()
        self.backend = backend
        self.scheduler = self.ready = scheduler
        self.push = scheduler.push
        self._pop = scheduler.pop
        self._push_first = getattr(scheduler, "push_first", scheduler.push)
        self._advance: Callable[[int], None] | None = getattr(scheduler, "advance", None)
        self.budget = TURN
        self.timers = Timers()
        self._inbox: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._preempted: deque[Thread] = deque()
        self._slice_ended = 0.0
        self._slice_over = False
        self._granted_at = 0.0
        self._patience = PATIENCE
        self._granted: Thread | None = None
        """The preempted thread that was last handed to the scheduler; `since` is negative until it
        has had its slice."""
        self._slices = 1
        """How many are handed to it together next time."""
        self.wake_watchdog: Callable[[], None] | None = None
        """Called when there may be something to watch; None while the watchdog is awake."""
        self.blocking = False
        """In a poll that waits: `notify` ends it."""
        self.heeded = False
        """The watchdog waits for what a poll would report."""
        self._after_fork: list[Callable[[], None]] = []
        self._around_fork: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self._starting: Thread | None = None
        self.spare: list[greenlet] = []
        """Greenlets whose threads have ended, for new threads: their stacks need not be made."""
        self._ended: greenlet | None = None
        """One that is about to be spare: it is still running."""
        self.finalizer = Finalizer()
        self.main = main = Thread()
        main.ident = self.os_ident
        main.started = True
        main.greenlet = getcurrent()
        self.current: Thread = main
        self.threads: dict[int, Thread] = {main.ident: main}
        self.proxies: dict[int, int] = {}
        """By identifier of an OS thread: that of the thread for which it makes a call (`loans`)."""
        self._make_c_state()
        self.dispatch: Callable[[Any], None] = _nobody
        """What is told of the events of a poll: `io.descriptors`."""
        self.listens: Callable[[int], bool] = _no
        """Whether a descriptor number is a listening socket; for schedulers."""
        self.report: Callable[[Thread], None] | None = None
        self._run_thread = self._make_run_thread()
        self._base = greenlet(self._base_loop)
        self._base.switch()

    def _make_c_state(self) -> None:
        self.c_state = CState()
        self.tsd = self.c_state.current
        self.has_locals = self.c_state.has_locals
        self.is_profiled = self.c_state.is_profiled
        self.is_traced = self.c_state.is_traced

    def on_fork(self, call: Callable[[], None]) -> None:
        """Have a forked child make `call`, when its kernel is that of its only thread."""
        self._after_fork.append(call)

    def around_fork(self, before: Callable[[], None], after: Callable[[], None]) -> None:
        """Have the thread that forks call `before`, and `after` in both processes."""
        self._around_fork.append((before, after))

    def before_fork(self) -> None:
        """The current thread is about to fork; it may wait.  Any OS thread."""
        for before, _ in self._around_fork:
            before()

    def end_fork(self) -> None:
        """The current thread has forked; in the parent.  Any OS thread."""
        for _, after in reversed(self._around_fork):
            after()

    # -- threads -----------------------------------------------------------------------------

    def spawn(self, run: Callable[[], Any]) -> Thread:
        """A new thread that calls `run`; it starts when its turn comes."""
        thread = Thread()
        thread.run = run
        if self.spare:
            thread.greenlet = self.spare.pop()
            thread.started = True
        else:
            thread.greenlet = greenlet(self._run_thread, self._base)
        self.threads[thread.ident] = thread
        self.push(thread)
        if self.wake_watchdog is not None:
            self.wake_watchdog()
        return thread

    def _make_run_thread(self) -> Callable[[], None]:
        # A plain function with nothing on its stack but the thread: what each parked thread keeps.
        finish = self._finish

        @frames.entry
        def run_thread() -> None:
            # No argument: the greenlet would keep the first thread as long as it lives itself.
            while True:
                thread: Thread | None = self.current
                assert thread is not None
                try:
                    if thread.interrupt is not None:
                        self._interrupt_start(thread)
                    thread.run()
                except SystemExit:
                    pass
                except BaseException:
                    report = self.report
                    if report is not None:
                        report(thread)
                finish(thread)
                if len(self.spare) >= SPARE:
                    return
                thread = None
                getcurrent().gr_context = None  # a thread's context variables are its own
                # Not a local, which would keep the greenlet alive; nor is it spare before the
                # switch: between these two no signal handler and no finalizer can run.
                self._ended = getcurrent()
                self._base.switch()

        return run_thread

    def _interrupt_start(self, thread: Thread) -> None:
        error, _ = self._run_interrupt(thread, None)
        self.current = thread
        if thread.trace is not None:
            self.c_state.restore_trace(thread)
        if error is not None:
            raise error

    def _finish(self, thread: Thread) -> None:
        if self.tsd or self.has_locals or self.is_profiled or self.is_traced:
            self.c_state.discard()
        if thread.on_exit is not None:
            on_exit, thread.on_exit = thread.on_exit, None
            on_exit()
        thread.run = None
        self.finalizer.host = thread
        self.current = self.finalizer
        self.timers.forget(thread)
        self.threads.pop(thread.ident, None)
        thread.greenlet = None
        if thread is self.main:
            # Only in a forked child, whose main thread is the one that called fork.
            originals.process_exit(0)

    def _base_loop(self) -> None:
        getcurrent().parent.switch()
        while True:
            if self._ended is not None:
                self.spare.append(self._ended)
                self._ended = None
            thread = self._starting
            if thread is None:
                thread = self._next()
                if thread.c_state is not None:
                    self.c_state.restore(thread)
                self.current = thread
            else:
                self._starting = None
            thread.started = True
            thread.greenlet.switch()

    def after_fork(self, backend: Any) -> None:
        """In a forked child: the current thread is the only one, and nobody waits.

        The others are kept, never to run again, because collecting a greenlet ends it with an
        exception; stock's threads vanish without one.
        """
        me = self.current
        interpose.leak(self.threads)
        interpose.leak(self.spare)
        self.spare = []
        self._ended = None
        for thread in self.threads.values():
            interpose.leak(thread.greenlet)
        if type(me) is Finalizer:
            me = self.finalizer.host
        ident = originals.get_ident()
        mine = ident == self.os_ident
        if not mine:
            lender = self.threads.get(self.proxies.get(ident, 0))
            me = Thread() if lender is None else lender
            if lender is None:
                me.ident = ident
            me.started = True
            me.parked = me.by_interrupt = False
            me.c_state = me.trace = me.interrupt = None  # the OS thread has what was lent to it
        self.proxies.clear()
        me.greenlet = getcurrent()
        self.os_ident = ident
        self.main = self.current = me
        self.threads = {me.ident: me}
        self.finalizer = Finalizer()
        self.backend = backend
        self.timers = Timers()
        me.timer = me.deadline = None  # its entry was in the parent's heap
        self._inbox.clear()
        self.blocking = self.heeded = False
        self._starting = None
        self._preempted.clear()
        self._granted = None
        while self.ready:
            self._pop()
        if not mine:
            self._make_c_state()
            self._base = greenlet(self._base_loop)
            self._base.switch()
        for call in self._after_fork:
            call()
        self.end_fork()

    # -- waiting -----------------------------------------------------------------------------

    def begin(self) -> Thread:
        """The current thread, about to wait: it may be queued and resumed from now on."""
        me = self.current
        finalizer = self.finalizer
        if me is finalizer:
            # A finalizer waits while the kernel works on its host's behalf: it is a thread of its
            # own for that time, and the next critical section needs another one.
            self.finalizer = finalizer = Finalizer()
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
        """Let others run until `me` is resumed; False when `deadline` passed first.

        `deadline` is in seconds of the kernel's clock.  Raises what an interrupt raises.
        """
        if self.is_traced or self.is_profiled:
            self.c_state.save_trace(me)
        if deadline is not None:
            self.timers.add(me, deadline)
        me.since = self.now
        me.greenlet = getcurrent()
        if self.budget <= 0 or not self.ready:
            self._refill()
        self.budget -= 1
        pop = self._pop  # a call of an attribute in a slot is slower
        new = pop()
        if new is not me:
            if self.tsd or self.has_locals or new.c_state is not None:
                self.c_state.exchange(me, new)
            self.current = new
            if new.started:
                new.greenlet.switch()
            else:
                self._starting = new
                self._base.switch()
        else:
            self.current = me
        error = None
        if self.current is not me or me.interrupt is not None:
            error = self._go_on(me)
        if me.parked:
            raise SystemError(f"{me!r} runs but was never resumed")
        me.deadline = me.object = None  # what was waited for may go
        if me.trace is not None:
            self.c_state.restore_trace(me)
        if error is not None:
            raise error
        return not me.timed_out

    def _go_on(self, me: Thread) -> BaseException | None:
        """`me` was switched to and is not simply to run: it may have to let others run again.

        Returns what it is to raise.
        """
        error: BaseException | None = None
        others: list[Thread] | None = None
        while True:
            if self.current is not me:
                others = self._chosen_below(me, others)
            elif me.interrupt is None:
                break
            else:
                error, still_waiting = self._run_interrupt(me, error)
                if not still_waiting:
                    break
            new = self._next()
            if new is not me:
                if self.tsd or self.has_locals or new.c_state is not None:
                    self.c_state.exchange(me, new)
                self.current = new
                if new.started:
                    new.greenlet.switch()
                else:
                    self._starting = new
                    self._base.switch()
            else:
                self.current = me
        self.current = me
        if me.trace is not None:
            self.c_state.restore_trace(me)
        if others is not None:
            for thread in others:
                self.push(thread)
        return error

    def _chosen_below(self, me: Thread, others: list[Thread] | None) -> list[Thread] | None:
        """Not `me`, a waiting finalizer, was switched to, but the thread that it interrupted.

        That one can't run before the finalizer on top of it has returned: it is queued again then.
        """
        chosen = self.current
        finalizer = self.finalizer
        if chosen is not finalizer:  # which is current where a thread has ended
            others = others or []
            others.append(chosen)
        self._starting = None
        finalizer.host = me
        self.current = finalizer
        return others

    def resume(self, thread: Thread) -> None:
        """End the wait of a parked thread: it runs when its turn comes."""
        if not thread.parked:
            self._resume_late(thread)
            return
        thread.parked = False
        push = self.push
        push(thread)

    def resume_behind(self, thread: Thread) -> None:
        """As `resume`, but the thread runs when the others have nothing to do, or have had their
        time: as one that was preempted.  There may be many such at once, for which those that
        answer somebody would have to wait.
        """
        if not thread.parked:
            self._resume_late(thread)
            return
        thread.parked = False
        self._preempted.append(thread)

    @frames.wait("yield")
    def yield_(self) -> None:
        """Let every other runnable thread have a turn."""
        me = self.current
        finalizer = self.finalizer
        if (
            me is finalizer
            or self.budget <= 0
            or not self.ready
            or self.tsd
            or self.has_locals
            or self.is_traced
            or self.is_profiled
        ):
            me = self.begin()
            me.parked = False
            push = self.push
            push(me)
            self.park(me)
            return
        # All of `begin` and `park` that is needed where nothing is special.
        finalizer.host = me
        self.current = finalizer
        push = self.push
        push(me)
        self.budget -= 1
        me.since = self.now
        me.greenlet = getcurrent()
        pop = self._pop
        new = pop()
        if new.c_state is not None:
            self.c_state.exchange(me, new)
        self.current = new
        if new is not me:
            if new.started:
                new.greenlet.switch()
            else:
                self._starting = new
                self._base.switch()
        if self.current is not me or me.interrupt is not None:
            error = self._go_on(me)
            if error is not None:
                raise error

    def sleep_until(self, deadline: float) -> None:
        """Park until `deadline`, in seconds of the kernel's clock."""
        me = self.begin()
        me.kind = "sleep"
        self.park(me, deadline)

    def _next(self) -> Thread:
        if self.budget <= 0 or not self.ready:
            self._refill()
        self.budget -= 1
        thread: Thread = self._pop()
        return thread

    def _refill(self) -> None:
        """Start a turn: take in what descriptors, timers and other OS threads have brought."""
        self.budget = TURN
        ready = self.ready
        timers = self.timers
        idle = not ready
        # Threads that use files may all be runnable at once (their sleep is over, say).
        advance = None
        if self._slice_over and self._patience == BREATH:
            advance, overtaken = self._advance, len(ready)
        while True:
            if self._inbox:
                self._drain_inbox()
            timeout: float | None = 0.0
            if not ready and not self._preempted:
                deadline = timers.next_deadline()
                timeout = None if deadline is None else max(0.0, deadline - self.clock())
                self.blocking = True
                if self._inbox or ready:
                    timeout = 0.0
            try:
                events = self.backend.poll(timeout)
            finally:
                self.blocking = False
            self.now = self.clock()
            if timeout != 0.0 and self.wake_watchdog is not None:
                self.wake_watchdog()
            if events:
                self.dispatch(events)
                if advance is not None:
                    advance(len(ready) - overtaken)
            if timers:
                for thread in islice(timers.expired(self.now), TURN):
                    if thread.parked:
                        thread.timed_out = True
                        thread.parked = False
                        self.push(thread)
                    elif thread.by_interrupt:
                        thread.timed_out = True
                        thread.by_interrupt = False
            if self._inbox:
                self._drain_inbox()
            if self._preempted:
                self._grant_slice(idle)
            else:
                self._slice_over = False
            if ready:
                return

    # -- preemption --------------------------------------------------------------------------

    @frames.wait("preempted")
    def preempt(self) -> None:
        """Have the current thread, which has used its slice, let others run, if any can.

        Only at a safe point (`preemption.safe_point`).  Raises what an interrupt raises.
        """
        self._step_aside(PATIENCE)

    def breathe(self) -> None:
        """The current thread has made a call that it might have had to wait for: let others run if
        they have not been looked at for `BREATH`.  Raises what an interrupt raises.
        """
        if self.clock() - self.now > BREATH and len(self.threads) > 1:
            self._step_aside(BREATH)

    def end_turn(self) -> None:
        """As `breathe`, for a thread that is about to park: others are looked at then."""
        if self.clock() - self.now > BREATH:
            self._end_turn(BREATH)

    def _step_aside(self, patience: float) -> None:
        me = self.begin()
        me.parked = False
        if me.since < 0.0:
            self._slices = 1
        self._preempted.append(me)
        self._end_turn(patience)
        self.park(me)

    def _end_turn(self, patience: float) -> None:
        self._patience = patience
        self._slice_over = True
        self.budget = 0  # descriptors and timers have their say

    def _grant_slice(self, idle: bool) -> None:
        """Hand the next preempted thread to the scheduler, if it is time.

        `idle`: when the turn began no other was runnable.  As long as none uses up the slice that
        it is given, and all together are soon over, twice as many are handed over each time: on a
        machine that is short of CPU many are preempted that need next to none, and one by one they
        would wait ever longer.
        """
        preempted = self._preempted
        if self.ready:
            if self._slice_over:
                self._slice_over = False
                self._slice_ended = self.now
                return  # preempted just now, for the others
            if not idle and self.now < self._slice_ended + self._patience:
                return
            granted = self._granted
            if granted is not None and granted.since < 0.0 and granted.greenlet is not None:
                return  # it waits for its slice among the others
        self._slice_over = False
        if self.now - self._granted_at > SOON:
            self._slices = max(1, self._slices // 2)
        else:
            self._slices = min(2 * self._slices, SLICES)
        self._granted_at = self.now
        # Who takes a breath has had as long as a request may wait; of those, one at a time.
        count = 1 if self._patience == BREATH else min(self._slices, len(preempted))
        for _ in range(count):
            self._granted = thread = preempted.popleft()
            thread.since = -1.0
            self.push(thread)

    def is_alone(self) -> bool:
        """Whether the current thread was asked to step aside, and nobody else could run.

        As far as is known since then.  Any OS thread.
        """
        nobody = not self.ready and not self._preempted and not self._inbox
        return nobody and self.budget == TURN - 1 and not self.blocking

    def has_slice(self) -> bool:
        """Whether the current thread was preempted and now runs for a slice.  Any OS thread."""
        return self.current is self._granted

    # -- interrupts --------------------------------------------------------------------------

    def interrupt(self, thread: Thread, action: Callable[[], None]) -> None:
        """Have `thread`, which is not the current one, call `action` before it does anything else.

        If it waits and `action` returns it goes on waiting; what `action` raises ends the wait.  It
        runs next if the scheduler has a ``push_first``.  Signal handlers may call this, also in the
        kernel's critical section.
        """
        thread.interrupt = action if thread.interrupt is None else _both(thread.interrupt, action)
        if thread.parked:
            thread.parked = False
            thread.by_interrupt = True
            self._push_first(thread)
            if self.blocking:
                self.backend.notify()
        elif thread in self._preempted:
            self._preempted.remove(thread)
            self._push_first(thread)

    def throw(self, thread: Thread, error: Any) -> None:
        """Have `thread`, which is not the current one, raise `error` when its wait is over.

        None takes back what it has not raised yet.
        """
        thread.error = error
        if thread.interrupt is None:
            thread.interrupt = _nothing

    def _resume_late(self, thread: Thread) -> None:
        """The thread is in the run queue for its deadline or an interrupt: the resume wins."""
        if thread.by_interrupt:
            thread.by_interrupt = False
        elif thread.timed_out:
            thread.timed_out = False
        else:
            raise SystemError(f"{thread!r} was resumed but is not parked")

    def _run_interrupt(
        self, me: Thread, error: BaseException | None
    ) -> tuple[BaseException | None, bool]:
        """Run what `interrupt` left; returns what to raise, and whether `me` has to wait on."""
        action, me.interrupt = me.interrupt, None
        waiting = me.by_interrupt
        me.by_interrupt = False
        finalizer = self.finalizer
        finalizer.host = me
        # Whatever waits in `action` is a thread of its own: `me` may still be queued somewhere.
        self.current = finalizer
        me.parked = waiting
        if me.trace is not None:
            self.c_state.restore_trace(me)
        try:
            action()
        except BaseException as raised:
            error = error or raised
        if self.is_traced or self.is_profiled:
            self.c_state.save_trace(me)  # others run before `me` goes on
        finalizer = self.finalizer
        finalizer.host = me
        self.current = finalizer
        if not waiting:
            error, me.error = error or me.error, None
            return error, False
        if me.error is not None and me.interrupt is None:
            me.interrupt = _nothing
        if me.parked and error is not None:
            me.parked = False
            return error, False
        # Go on waiting, or take the turn that a resume has given meanwhile.
        return error, True

    # -- from other OS threads and signal handlers -------------------------------------------

    def is_mine(self) -> bool:
        """Whether the calling OS thread is the scheduler's.  Any OS thread."""
        return bool(originals.get_ident() == self.os_ident)

    def call_soon(self, call: Callable[..., object], *args: Any) -> None:
        """Have the kernel make a short call that does not wait.  Any OS thread, signal handlers."""
        self._inbox.append((call, args))
        if self.blocking or self.heeded:
            self.backend.notify()

    def _drain_inbox(self) -> None:
        inbox = self._inbox
        for _ in range(len(inbox)):
            call, args = inbox.popleft()
            call(*args)


def _nobody(events: Any) -> None:
    """There are no descriptors yet."""


def _no(fd: int) -> bool:
    return False


def _nothing() -> None:
    """Make `Kernel.park` look at what there is to raise."""


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def both() -> None:
        try:
            first()
        finally:
            second()

    return both
