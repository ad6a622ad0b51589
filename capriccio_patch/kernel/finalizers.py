"""Finalizers that wait while the kernel is at work, on a thread's stack or the base greenlet's.

Finalizers, weakref callbacks and callbacks of the collector run wherever something is allocated,
and from CPython 3.12 on at the next call after that.  Where the kernel is at work `current` is a
`Finalizer`: what waits there is a thread of its own on top of its host.

1. A host can't run before what lies on top of it has returned.  If it is chosen nevertheless it is
   queued again afterwards, and what it was woken for goes to others (``passed_over``).
2. Who was chosen, and has not taken its turn, is put back for others to be run: it may be the one
   that the finalizer waits for, or its host.
3. A finalizer on top of the base greenlet gets the others a new one, until it is through.

For the kernel.
"""

from __future__ import annotations

from greenlet import getcurrent

from ..contracts.thread import Finalizer, Thread
from .lifecycle import start_base
from .state import KernelState

__all__ = ["begin", "host_chosen"]


def begin(kernel: KernelState, me: Thread) -> Finalizer:
    """`me`, the kernel's finalizer, is about to wait; returns the next one."""
    me.greenlet = getcurrent()  # it may be resumed, and chosen, before it parks
    kernel.on_top.add(me)
    kernel.finalizer = finalizer = Finalizer()
    finalizer.host = me
    kernel.current = finalizer
    if me.greenlet is kernel._base:
        start_base(kernel, kernel._base_level + 1)
    chosen = kernel._chosen
    if chosen is not None:
        kernel._chosen = None
        kernel.push_first(chosen)
    return kernel.finalizer


def host_chosen(kernel: KernelState, me: Thread, others: list[Thread]) -> None:
    """Not `me`, a waiting finalizer, was switched to, but the thread below: note it in `others`.

    Or nobody, where a greenlet has ended or `me` itself was put back.
    """
    chosen = kernel._chosen
    kernel._chosen = None
    finalizer = kernel.finalizer
    finalizer.host = me
    kernel.current = finalizer
    kernel.c_state.restore(me)  # what finalizers find here, and what is taken out at the switch
    if chosen is not None:
        others.append(chosen)
        for pass_on in kernel.passed_over:
            pass_on(chosen)
