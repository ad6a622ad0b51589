"""``_signal``: handlers, and the calls that wait for signals.

``signal`` stays as it is: its functions convert enumerations and call these.  The handlers run in
the main thread (`signals.handlers`).  Alarms, interval timers and ``raise_signal`` are the
system's; `signal_mask` gives each green thread a mask of its own.

``pthread_kill`` to a green thread reaches the scheduler's OS thread; the identifier of a green
thread is no pointer, so it must never get into C.
"""

from __future__ import annotations

import errno
import operator
import os

from ...contracts.thread import Thread
from ...cpython import originals
from ...kernel.core import Kernel
from ...signals.handlers import Signals
from ...signals.waits import Received, SignalWaits, take
from ..base import Patch, Runtime, seconds
from . import signal_mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]


def patches(runtime: Runtime, signals: Signals) -> list[Patch]:
    """The rows of this module."""
    kernel = runtime.kernel
    rows = [
        *_handler_patches(kernel, signals),
        *_kill_patches(kernel, signals),
        *signal_mask.patches(runtime),
    ]
    if originals.pause is not None:
        rows.append(_pause_patch(kernel, signals))
    if originals.sigwait is not None and originals.pthread_sigmask is not None:
        rows += _wait_patches(kernel, SignalWaits(kernel, runtime.descriptors, signals))
    return rows


def _handler_patches(kernel: Kernel, signals: Signals) -> list[Patch]:
    def is_main() -> bool:
        return kernel.current.ident == kernel.main.ident

    def signal(signalnum: Any, handler: Any, /) -> Any:
        if not kernel.is_mine():
            return originals.set_signal(signalnum, handler)  # raises
        if not is_main():
            operator.index(signalnum)
            raise ValueError("signal only works in main thread of the main interpreter")
        return signals.install(signalnum, handler)

    def getsignal(signalnum: Any, /) -> Any:
        return signals.shown(signalnum)

    def set_wakeup_fd(fd: Any, /, *, warn_on_full_buffer: Any = True) -> Any:
        if kernel.is_mine() and not is_main():
            raise ValueError("set_wakeup_fd only works in main thread of the main interpreter")
        if not kernel.is_mine():
            return originals.set_wakeup_fd(fd)  # raises
        return signals.wakeup.set(fd, warn_on_full_buffer)

    def siginterrupt(signalnum: Any, flag: Any, /) -> None:
        originals.siginterrupt(signalnum, flag)
        if flag:
            signals.restarting.discard(operator.index(signalnum))
        else:
            signals.restarting.add(operator.index(signalnum))

    rows = [
        Patch("signal", "_signal", "getsignal", getsignal),
        Patch("signal", "_signal", "set_wakeup_fd", set_wakeup_fd),
        Patch("signal", "_signal", "signal", signal, signals.adopt),
    ]
    if originals.siginterrupt is not None:
        rows.append(Patch("signal", "_signal", "siginterrupt", siginterrupt))
    return rows


def _pause_patch(kernel: Kernel, signals: Signals) -> Patch:
    def pause() -> None:
        if not kernel.is_mine():
            return originals.pause()  # type: ignore[no-any-return]
        me = kernel.begin()
        me.kind = "pause"
        signals.paused.add(me)
        try:
            kernel.park(me)
        finally:
            signals.paused.discard(me)
        return None

    return Patch("signal", "_signal", "pause", pause)


def _kill_patches(kernel: Kernel, signals: Signals) -> list[Patch]:
    def os_ident(ident: Any) -> Any:
        """The identifier of the OS thread on which the thread called `ident` runs."""
        if isinstance(ident, int):
            if ident in kernel.threads:
                return kernel.os_ident
            if ident & 1:  # a green thread that has ended
                raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
        return ident

    def pthread_kill(thread_id: Any, signalnum: Any, /) -> None:
        originals.pthread_kill(os_ident(thread_id), signalnum)
        thread = kernel.threads.get(thread_id)
        if thread in signals.paused and thread is not kernel.main:
            kernel.call_soon(end_pause, thread, signalnum)

    def end_pause(thread: Thread, signalnum: int) -> None:
        # The main thread's own is ended by its handler.
        if thread in signals.paused and callable(signals.handlers.get(signalnum)):
            signals.paused.discard(thread)
            kernel.resume(thread)

    def pthread_getcpuclockid(thread_id: Any, /) -> Any:
        return originals.pthread_getcpuclockid(os_ident(thread_id))

    rows = []
    if originals.pthread_kill is not None:
        rows.append(Patch("signal", "_signal", "pthread_kill", pthread_kill))
    if originals.pthread_getcpuclockid is not None:
        rows.append(Patch("time", "time", "pthread_getcpuclockid", pthread_getcpuclockid))
    return rows


def _wait_patches(kernel: Kernel, waits: SignalWaits) -> list[Patch]:
    original_wait = originals.sigwait
    original_info = originals.sigwaitinfo
    original_timed = originals.sigtimedwait
    clock = kernel.clock

    def wait(sigset: Any, deadline: float | None) -> Received | None:
        given = list(sigset)
        found = take(given)  # refuses what stock refuses
        if found is not None:
            return found
        return waits.wait({operator.index(each) for each in given}, deadline)

    def sigwait(sigset: Any, /) -> int:
        if not kernel.is_mine():
            return original_wait(sigset)  # type: ignore[no-any-return]
        found = wait(sigset, None)
        assert found is not None
        return found[0]

    def sigwaitinfo(sigset: Any, /) -> Any:
        if not kernel.is_mine():
            return original_info(sigset)
        found = wait(sigset, None)
        assert found is not None
        return found[1]

    def sigtimedwait(sigset: Any, timeout: Any, /) -> Any:
        if not kernel.is_mine():
            return original_timed(sigset, timeout)
        limit = seconds(timeout, lambda: original_timed(sigset, timeout))
        if limit < 0 or limit > originals.TIMEOUT_MAX:
            return original_timed(sigset, timeout)  # raises
        found = wait(sigset, clock() + limit)
        return None if found is None else found[1]

    rows = [Patch("signal", "_signal", "sigwait", sigwait)]
    if original_info is not None:
        rows.append(Patch("signal", "_signal", "sigwaitinfo", sigwaitinfo))
    if original_timed is not None:
        rows.append(Patch("signal", "_signal", "sigtimedwait", sigtimedwait))
    return rows
