"""What could wake a thread although no green thread runs: signal handlers, other OS threads.

Costs some 20 us; asked only when all threads wait.  Scheduler's OS thread, but where it says
otherwise.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stub
import os
from collections.abc import Iterator
from types import FrameType

from ..cpython import frames, originals
from ..cpython.modules import standard
from ..cpython.thread_state import is_only_interpreter
from ..io import os_threads
from ..kernel.core import Kernel
from ..preemption.tick import Preemption
from ..signals.handlers import Signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["could_wake", "handler_in"]

_TASKS = "/proc/self/task"
_OF_THE_KERNEL = b"iou-"
"""How Linux names the threads of its own that it lends a process, for io_uring."""


def could_wake(kernel: Kernel) -> bool:
    """Whether something from outside may yet wake a green thread."""
    return (
        not is_only_interpreter()
        or any(_handlers())
        or _has_other_os_threads()
        # Last: an OS thread that has ended meanwhile may have left something there.
        or bool(kernel._inbox or kernel.unfinished or kernel.proxies)
    )


def handler_in(frame: FrameType | None) -> str:
    """Which signal handler of the program runs on the stack whose innermost frame is `frame`:
    ``the handler of SIGUSR1``; empty if none does.  Any OS thread that has the GIL."""
    codes = {}
    for signum, handler in _handlers():
        codes[getattr(getattr(handler, "__func__", handler), "__code__", None)] = signum
    while frame is not None:
        signum = codes.get(frame.f_code, 0)
        # What the program itself calls so is no handler.
        if signum and (frame.f_back is None or frames.is_ours(frame.f_back)):
            return f"the handler of {_name(signum)}"
        frame = frame.f_back
    return ""


def _name(signum: int) -> str:
    try:
        name: str = standard("signal").Signals(signum).name
    except ValueError:  # of real-time signals most have none
        return f"signal {signum}"
    return name


def _handlers() -> Iterator[tuple[int, Any]]:
    """The signal handlers that are the program's own."""
    for signum in originals.valid_signals():
        handler = originals.get_signal(signum)
        owner = getattr(handler, "__self__", None)
        if isinstance(owner, Signals):
            handler = owner.shown(signum)
        elif isinstance(owner, Preemption):
            continue
        if callable(handler) and handler is not _signal.default_int_handler:
            yield int(signum), handler


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
