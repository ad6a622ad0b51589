"""``_signal``: handlers, and the calls that wait for signals.

``signal`` stays as it is: its functions convert enumerations and call these.  The handlers run in
the main thread (`signals.handlers`).  Alarms, interval timers and ``raise_signal`` are the
system's; `signal_mask` gives each green thread a mask of its own.

``pthread_kill`` to a green thread reaches the scheduler's OS thread; the identifier of a green
thread is no pointer, so it must never get into C.

Where there are several kernels signals are the main one's: its OS thread alone takes them, and it
waits for them for threads of the others (`io.on_main`).
"""

from __future__ import annotations

import errno
import operator
import os

from ...contracts.thread import Thread
from ...cpython import originals
from ...io.on_main import OnMain
from ...kernel.core import Kernel
from ...signals.handlers import Signals
from ...signals.waits import Received, SignalWaits, take
from ..base import Patch, Runtime, seconds
from . import signal_mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]


class _WaitElsewhere(OnMain):
    """A wait for signals that the main kernel makes for a thread of another."""

    __slots__ = ()

    def give_back(self) -> None:
        """Nobody waits any longer for the signal that it took."""
        if self.result is not None:
            originals.raise_signal(self.result[0])


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
        home = kernel.here()
        if home is None:
            return originals.pause()  # type: ignore[no-any-return]
        me = home.begin()
        me.kind = "pause"
        signals.paused.add(me)
        try:
            home.park(me)
        finally:
            signals.paused.discard(me)
        return None

    return Patch("signal", "_signal", "pause", pause)


def _kill_patches(kernel: Kernel, signals: Signals) -> list[Patch]:
    def found(ident: Any) -> Thread | None:
        """The green thread called `ident`; None for what is left to C."""
        if not isinstance(ident, int):
            return None
        thread = kernel.threads.get(ident)
        if thread is None and ident & 1:  # a green thread that has ended
            raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
        return thread

    def pthread_kill(thread_id: Any, signalnum: Any, /) -> None:
        thread = found(thread_id)
        originals.pthread_kill(thread_id if thread is None else kernel.os_ident, signalnum)
        if thread is not None and thread in signals.paused and thread is not kernel.main:
            kernel.of(thread).call_soon(end_pause, thread, signalnum)

    def end_pause(thread: Thread, signalnum: int) -> None:
        # The main thread's own is ended by its handler.
        if thread in signals.paused and callable(signals.handlers.get(signalnum)):
            signals.paused.discard(thread)
            kernel.of(thread).resume(thread)

    def raise_signal(signalnum: Any, /) -> None:
        """The OS threads of other kernels take no signals."""
        if kernel.here() in (None, kernel):
            originals.raise_signal(signalnum)
        else:
            originals.pthread_kill(kernel.os_ident, signalnum)

    def pthread_getcpuclockid(thread_id: Any, /) -> Any:
        thread = found(thread_id)
        ident = thread_id if thread is None else kernel.of(thread).os_ident
        return originals.pthread_getcpuclockid(ident)

    rows = []
    if originals.pthread_kill is not None and len(kernel.all()) > 1:
        rows.append(Patch("signal", "_signal", "raise_signal", raise_signal))
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

    def wait(home: Any, sigset: Any, deadline: float | None) -> Received | None:
        given = list(sigset)
        if home is kernel:
            return wait_here(given, deadline)
        found: Received | None
        found = _WaitElsewhere(kernel, home, wait_here, given, deadline).make("signal")
        return found

    def wait_here(given: list[Any], deadline: float | None) -> Received | None:
        found = take(given)  # refuses what stock refuses
        if found is not None:
            return found
        return waits.wait({operator.index(each) for each in given}, deadline)

    def sigwait(sigset: Any, /) -> int:
        home = kernel.here()
        if home is None:
            return original_wait(sigset)  # type: ignore[no-any-return]
        found = wait(home, sigset, None)
        assert found is not None
        return found[0]

    def sigwaitinfo(sigset: Any, /) -> Any:
        home = kernel.here()
        if home is None:
            return original_info(sigset)
        found = wait(home, sigset, None)
        assert found is not None
        return found[1]

    def sigtimedwait(sigset: Any, timeout: Any, /) -> Any:
        home = kernel.here()
        if home is None:
            return original_timed(sigset, timeout)
        limit = seconds(timeout, lambda: original_timed(sigset, timeout))
        if limit < 0 or limit > originals.TIMEOUT_MAX:
            return original_timed(sigset, timeout)  # raises
        found = wait(home, sigset, clock() + limit)
        return None if found is None else found[1]

    rows = [Patch("signal", "_signal", "sigwait", sigwait)]
    if original_info is not None:
        rows.append(Patch("signal", "_signal", "sigwaitinfo", sigwaitinfo))
    if original_timed is not None:
        rows.append(Patch("signal", "_signal", "sigtimedwait", sigtimedwait))
    return rows
