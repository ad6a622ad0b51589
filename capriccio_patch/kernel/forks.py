"""What fork(2) does to a kernel: in the child the thread that forked is the only one.

The other threads are kept, never to run again, because collecting a greenlet ends it with an
exception; stock's threads vanish without one.

`keep_the_current` is for the kernel; the others are methods of it.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet

from greenlet import getcurrent

from ..contracts.socket_backend import Backend
from ..contracts.thread import Finalizer, Thread
from ..cpython import interpose, originals
from .state import KernelState
from .timers import Timers

__all__ = [
    "adopt_main",
    "around_fork",
    "before_fork",
    "end_fork",
    "keep_the_current",
    "on_fork",
]


def on_fork(kernel: KernelState, call: Callable[[], None]) -> None:
    """Have a forked child make `call`, when its kernel is that of its only thread."""
    kernel.after_fork_hooks.append(call)


def around_fork(kernel: KernelState, before: Callable[[], None], after: Callable[[], None]) -> None:
    """Have the thread that forks call `before`, and `after` in both processes."""
    kernel.around_fork_hooks.append((before, after))


def before_fork(kernel: KernelState) -> None:
    """The current thread is about to fork; it may wait.  Any OS thread."""
    for before, _ in kernel.around_fork_hooks:
        before()


def end_fork(kernel: KernelState) -> None:
    """The current thread has forked; in the parent.  Any OS thread."""
    for _, after in reversed(kernel.around_fork_hooks):
        after()


def adopt_main(kernel: KernelState, main: Thread) -> None:
    """In a forked child: `main` is the record of its only thread, which runs as another one."""
    kernel.main = main
    kernel.threads = {main.ident: main}


def keep_the_current(kernel: KernelState, backend: Backend) -> bool:
    """In a forked child: the current thread is the only one, and nobody waits.

    Whether it was on the scheduler's OS thread; else that is now the calling one.
    """
    me = kernel.current
    interpose.leak(kernel.threads)
    interpose.leak(kernel.spare)
    kernel.spare = []
    kernel._ended = None
    for thread in kernel.threads.values():
        interpose.leak(thread.greenlet)
    if type(me) is Finalizer:
        me = kernel.finalizer.host
    ident = originals.get_ident()
    mine: bool = ident == kernel.os_ident
    if not mine:
        lender = kernel.threads.get(kernel.proxies.get(ident, 0))
        me = Thread() if lender is None else lender
        if lender is None:
            me.ident = ident
        me.started = True
        me.parked = me.by_interrupt = False
        me.c_state = me.trace = me.interrupt = None  # the OS thread has what was lent to it
    kernel.proxies.clear()
    me.greenlet = getcurrent()
    kernel.os_ident = ident
    kernel.current = me
    adopt_main(kernel, me)
    kernel.finalizer = Finalizer()
    kernel.backend = backend
    kernel.timers = Timers()
    me.timer = me.deadline = None  # its entry was in the parent's heap
    kernel._inbox.clear()
    kernel.blocking = kernel.polled_outside = False
    kernel.end_polling()
    kernel._chosen = None
    kernel.unfinished.clear()
    kernel.on_top = WeakSet(each for each in kernel.on_top if each.greenlet is me.greenlet)
    while kernel.ready:
        kernel._pop()
    if not mine:
        kernel.make_c_state()
    return mine
