"""The life of a thread on its greenlet: its start, its end, and what is kept for the next one.

A greenlet whose thread has ended waits in ``spare`` for a new thread, so that its stack need not be
made again.

For the kernel.
"""

from __future__ import annotations

from collections.abc import Callable

from greenlet import getcurrent

from ..contracts.thread import Thread
from ..cpython import frames, originals
from . import interrupts
from .state import KernelState

__all__ = ["make_run_thread"]

_SPARE = 64
"""Greenlets that are kept for new threads at most."""


def make_run_thread(kernel: KernelState) -> Callable[[], None]:
    """What each greenlet runs: a plain function with nothing on its stack but the thread, because
    that is what each parked thread keeps."""

    @frames.entry
    def run_thread() -> None:
        # No argument: the greenlet would keep the first thread as long as it lives itself.
        while True:
            thread: Thread | None = kernel.current
            assert thread is not None
            try:
                if thread.interrupt is not None:
                    _run_interrupt(kernel, thread)
                thread.run()
            except SystemExit:
                pass
            except BaseException:
                report = kernel.report
                if report is not None:
                    report(thread)
            _finish(kernel, thread)
            if len(kernel.spare) >= _SPARE:
                return
            thread = None
            getcurrent().gr_context = None  # a thread's context variables are its own
            # Not a local, which would keep the greenlet alive; nor is it spare before the switch:
            # between these two no signal handler and no finalizer can run.
            kernel._ended = getcurrent()
            kernel._base.switch()

    return run_thread


def _run_interrupt(kernel: KernelState, thread: Thread) -> None:
    """`thread` was interrupted before it has started."""
    error, _ = interrupts.run(kernel, thread, None)
    kernel.current = thread
    if thread.trace is not None:
        kernel.c_state.restore_trace(thread)
    if error is not None:
        raise error


def _finish(kernel: KernelState, thread: Thread) -> None:
    if kernel.tsd or kernel.has_locals or kernel.is_profiled or kernel.is_traced:
        kernel.c_state.discard()
    if thread.on_exit is not None:
        on_exit, thread.on_exit = thread.on_exit, None
        on_exit()
    thread.run = None
    kernel.finalizer.host = thread
    kernel.current = kernel.finalizer
    kernel.timers.forget(thread)
    kernel.threads.pop(thread.ident, None)
    thread.greenlet = None
    if thread is kernel.main:
        # Only in a forked child, whose main thread is the one that called fork.
        originals.process_exit(0)
