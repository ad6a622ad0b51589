"""What could wake a thread although no green thread runs: signal handlers, other OS threads.

Costs some 20 us; asked only when all threads wait.  Scheduler's OS thread.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stub
import os

from ..cpython import originals
from ..cpython.thread_state import is_only_interpreter
from ..io import os_threads
from ..kernel.core import Kernel
from ..preemption.tick import Preemption
from ..signals.handlers import Signals

__all__ = ["could_wake"]

_TASKS = "/proc/self/task"
_OF_THE_KERNEL = b"iou-"
"""How Linux names the threads of its own that it lends a process, for io_uring."""


def could_wake(kernel: Kernel) -> bool:
    """Whether something from outside may yet wake a green thread."""
    return (
        bool(kernel._inbox or kernel.unfinished or kernel.proxies)
        or not is_only_interpreter()
        or _has_handlers()
        or _has_other_os_threads()
    )


def _has_handlers() -> bool:
    """Whether the program has set a signal handler that is its own."""
    for signum in originals.valid_signals():
        handler = originals.get_signal(signum)
        owner = getattr(handler, "__self__", None)
        if isinstance(owner, Signals):
            handler = owner.handlers.get(signum)
        elif isinstance(owner, Preemption):
            continue
        if callable(handler) and handler is not _signal.default_int_handler:
            return True
    return False


def _has_other_os_threads() -> bool:
    """Whether there are OS threads that the runtime has not started, beside its own."""
    if int(originals.thread_count()) > os_threads.count():
        return True
    try:
        tasks = originals.listdir(_TASKS)
    except OSError:
        return False  # no such directory: those that Python knows are all that is known
    known = {*os_threads.native_ids(), os.getpid()}
    return any(int(task) not in known and not _is_the_kernels(task) for task in tasks)


def _is_the_kernels(task: str) -> bool:
    try:
        fd = originals.os_open(f"{_TASKS}/{task}/comm", 0)
        try:
            name: bytes = originals.read(fd, 64)
        finally:
            originals.close(fd)
    except OSError:
        return False  # it has ended, and may have brought something just before
    return name.startswith(_OF_THE_KERNEL)
