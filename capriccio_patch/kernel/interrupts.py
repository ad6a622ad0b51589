"""Interrupts: having a thread do something before it does anything else.

Signal handlers, exceptions that other threads send, closed descriptors: all of it reaches a thread
in this way.

1. A thread that waits is made to run, runs the action on top of its wait, and waits on with its
   deadline; what the action raises ends the wait.
2. While a thread is on its way to do so its wait is not over (``by_interrupt``): a resume that
   comes meanwhile wins, and the thread goes on after the action.
3. A thread that is runnable anyway runs the action when it is switched to.

`run` is for the kernel; the others are methods of it.
"""

from __future__ import annotations

from collections.abc import Callable

from ..contracts.thread import Thread
from .state import KernelState

__all__ = ["interrupt", "resume_late", "run", "run_as", "throw"]

Action = Callable[[], None]


def interrupt(kernel: KernelState, thread: Thread, action: Action) -> None:
    """Have `thread`, which is not the current one, call `action` before it does anything else.

    If it waits and `action` returns it goes on waiting; what `action` raises ends the wait.  It
    runs next if the scheduler has a ``push_first``.  Signal handlers may call this, also in the
    kernel's critical section.
    """
    thread.interrupt = action if thread.interrupt is None else _both(thread.interrupt, action)
    if thread.parked:
        thread.parked = False
        thread.by_interrupt = True
        kernel.push_first(thread)
        if kernel.polling:
            kernel.backend.notify()
    else:
        for deferred in (kernel.deferred, kernel.preempted):
            if thread in deferred:
                deferred.remove(thread)
                kernel.push_first(thread)


def throw(kernel: KernelState, thread: Thread, error: BaseException | type | None) -> None:
    """Have `thread`, which is not the current one, raise `error` when its wait is over.

    None takes back what it has not raised yet.
    """
    thread.error = error
    if thread.interrupt is None:
        thread.interrupt = _nothing


def run_as(kernel: KernelState, thread: Thread) -> None:
    """In an interrupt's action: what the current thread does until the action ends it does as
    `thread`, a record of its own that can wait and be interrupted."""
    kernel.on_top.add(thread)
    kernel.current = thread


def run(
    kernel: KernelState, me: Thread, error: BaseException | None
) -> tuple[BaseException | None, bool]:
    """Run what `interrupt` left; returns what to raise, and whether `me` has to wait on."""
    action, me.interrupt = me.interrupt, None
    waiting = me.by_interrupt
    me.by_interrupt = False
    finalizer = kernel.finalizer
    finalizer.host = me
    # Whatever waits in `action` is a thread of its own: `me` may still be queued somewhere.
    kernel.current = finalizer
    me.parked = waiting
    if me.trace is not None:
        kernel.c_state.restore_trace(me)
    try:
        action()
    except BaseException as raised:
        error = error or raised
    if kernel.is_traced or kernel.is_profiled:
        kernel.c_state.save_trace(me)  # others run before `me` goes on
    finalizer = kernel.finalizer
    finalizer.host = me
    kernel.current = finalizer
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


def resume_late(thread: Thread) -> None:
    """The thread is in the run queue for its deadline or an interrupt: the resume wins."""
    if thread.by_interrupt:
        thread.by_interrupt = False
    elif thread.timed_out:
        thread.timed_out = False
    else:
        raise SystemError(f"{thread!r} was resumed but is not parked")


def _nothing() -> None:
    """Make `Kernel.park` look at what there is to raise."""


def _both(first: Action, second: Action) -> Action:
    def both() -> None:
        try:
            first()
        finally:
            second()

    return both
