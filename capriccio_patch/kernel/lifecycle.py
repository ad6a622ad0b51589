"""The life of a thread on its greenlet: its start, its end, and what is kept for the next one.

A greenlet whose thread has ended waits in ``spare`` for a new thread, so that its stack need not be
made again: it is a third of what a thread costs.  The program may know a greenlet by
``greenlet.getcurrent`` and keep something for it, as scoped sessions do; one that it holds, refers
to weakly or has put attributes on serves no other thread.

For the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from sys import getrefcount
from weakref import getweakrefcount

from greenlet import getcurrent, greenlet

from ..contracts.thread import Thread
from ..cpython import frames, originals
from . import interrupts
from .state import KernelState, let_finalizers_come

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "Base",
    "end",
    "finish",
    "make_run_thread",
    "run_interrupt",
    "start_base",
    "take_spare",
]

_SPARE = 64
"""Greenlets that are kept for new threads at most."""


class Base(greenlet):  # type: ignore[misc]  # it has no stubs
    """The parent of the threads' greenlets."""


def take_spare(kernel: KernelState) -> greenlet | None:
    """A greenlet for a new thread, if there is one that the program does not know."""
    spare = kernel.spare
    if (
        getrefcount(spare[-1]) == _UNKNOWN
        and not getweakrefcount(spare[-1])
        and not spare[-1].__dict__
    ):
        return spare.pop()
    spare.insert(0, spare.pop())  # perhaps it will have been let go of by then
    return None


def _references() -> int:
    """How many `getrefcount` tells for a suspended greenlet that only a list holds."""
    probe = [greenlet(lambda: originals.greenlet_switch(getcurrent().parent))]
    originals.greenlet_switch(probe[-1])
    return getrefcount(probe[-1])


_UNKNOWN = _references()


def make_run_thread(kernel: KernelState) -> Callable[[], None]:
    """What each greenlet runs: a plain function with nothing on its stack but the thread, because
    that is what each parked thread keeps."""

    @frames.entry
    def run_thread() -> None:
        # No argument: the greenlet would keep the first thread as long as it lives itself.
        thread: Any = kernel.current
        while True:
            try:
                if thread.interrupt is not None:
                    run_interrupt(kernel, thread)
                thread.run()
            except SystemExit:
                pass
            except BaseException:
                report = kernel.report
                if report is not None:
                    report(thread)
            finish(kernel, thread)
            if len(kernel.spare) >= _SPARE:
                return
            thread = None
            getcurrent().gr_context = None  # a thread's context variables are its own
            # Not a local, which would keep the greenlet alive; nor is it spare before the switch:
            # between these two no signal handler and no finalizer can run.
            kernel._ended = getcurrent()
            while kernel._chosen is None:  # it is not, unless a finalizer comes and waits
                originals.greenlet_switch(kernel._base)
            kernel.current = thread = kernel._chosen
            kernel._chosen = None

    return run_thread


def run_interrupt(kernel: KernelState, thread: Thread) -> None:
    """`thread` was interrupted before it has started."""
    error, _ = interrupts.run(kernel, thread, None)
    kernel.current = thread
    if thread.trace is not None:
        kernel.c_state.restore_trace(thread)
    if error is not None:
        raise error


def finish(kernel: KernelState, thread: Thread) -> None:
    """`thread`, which is the current one, has come to its end."""
    _drop_state(kernel)
    thread.run = None  # what goes with it is finalized before the thread can be joined
    if thread.on_exit is not None:
        if len(kernel.all()) > 1:  # who joins it there goes on at once
            kernel.threads.pop(thread.ident, None)
        on_exit, thread.on_exit = thread.on_exit, None
        on_exit()
    kernel.finalizer.host = thread
    kernel.current = kernel.finalizer
    kernel.timers.forget(thread)
    kernel.threads.pop(thread.ident, None)
    if kernel.population:
        kernel.population -= 1
    thread.greenlet = None
    if thread is kernel.main:
        # Only in a forked child, whose main thread is the one that called fork.
        originals.process_exit(0)


def _drop_state(kernel: KernelState) -> None:
    if (
        kernel.tsd
        or kernel.has_locals
        or kernel.importing
        or kernel.is_profiled
        or kernel.is_traced
    ):
        kernel.c_state.discard()


def start_base(kernel: KernelState, level: int) -> None:
    """Have a greenlet make the first switches to threads; finalizers wait on `level` others."""
    base = Base(_base_loop)
    originals.greenlet_switch(base, kernel, level)
    kernel._base = base
    kernel._base_level = level


def end(kernel: KernelState) -> None:
    """Let go of the greenlets: nothing runs in this kernel any more.  Its main thread.

    What a suspended greenlet has on its stack no collector sees.
    """
    kernel.spare.clear()
    kernel._base.throw()


def _base_loop(kernel: KernelState, level: int) -> None:
    originals.greenlet_switch(getcurrent().parent)
    while True:
        if kernel._ended is not None:
            kernel.spare.append(kernel._ended)
            kernel._ended = None
        if level < kernel._base_level:
            # A finalizer that waited on top of this one is through.
            kernel._base = getcurrent()
            kernel._base_level = level
        finalizer = kernel.finalizer
        if kernel.current is not finalizer:  # one has waited in the meantime
            finalizer.host = kernel.current
            kernel.current = finalizer
        thread = kernel._chosen
        if thread is None:
            thread = kernel.next_thread()
            kernel._chosen = thread
            finalizer = kernel.finalizer
            finalizer.host = thread
            kernel.current = finalizer
            let_finalizers_come()
            _drop_state(kernel)  # of those: it is not that of `thread`
            if kernel._chosen is not thread:
                continue
            if thread.c_state is not None:
                kernel.c_state.restore(thread)
        if not thread.started:
            thread.started = True
            kernel.current = thread
            kernel._chosen = None
        originals.greenlet_switch(thread.greenlet)
