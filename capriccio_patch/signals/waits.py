"""Who waits for signals: ``sigwait`` and its family.

A signal that is to be waited for is usually blocked, and pending when it has come: wait until one
is pending (`signalfd`; without it, look every `_TICK` seconds), then take it.  Programs also wait
for signals that they have not blocked.  POSIX leaves that undefined; Linux gives them to the one
who waits.  Here such signals are claimed: for the time of the wait CPython hands them to
`Signals.deliver`, whatever their disposition, and that asks `SignalWaits.claim` first.

1. A blocked signal is taken when its waiter runs and returns it: one that gives up has taken
   nothing.
2. A claimed signal belongs to one wait.  If that gives up, or if more of a kind come than are
   waited for, the signal is raised again once its disposition is restored.

Signal masks belong to OS threads, so all green threads share one.  Scheduler's OS thread only.
"""

from __future__ import annotations

from collections.abc import Collection

from ..contracts.descriptor import READ
from ..contracts.thread import Thread
from ..cpython import originals
from ..io.descriptors import Descriptors
from ..io.reserved import Own, above_standard
from ..kernel.core import Kernel
from . import signalfd
from .handlers import Signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Received", "SignalWaits", "take"]

_TICK = 0.01

Received = tuple[int, "Any"]
"""The number of a signal and its ``struct_siginfo``, None where the system has no such thing."""


def take(signums: Collection[Any]) -> Received | None:
    """Take a pending one of `signums`, without waiting; None when there is none.

    Raises what stock's functions raise for things that are no signals.
    """
    if originals.sigtimedwait is not None:
        info = originals.sigtimedwait(signums, 0)
        return None if info is None else (info.si_signo, info)
    pending = originals.sigpending().intersection(signums)
    if pending or not originals.valid_signals().issuperset(signums):
        return originals.sigwait(pending or signums), None
    return None


def _information(signum: int) -> Any:
    """What is known of a signal that CPython's handler has counted."""
    kind = originals.SiginfoType
    return None if kind is None else kind((signum, 0, 0, 0, 0, 0, 0))


class _Wait:
    """One call that waits for `unblocked` signals, and which of them it got."""

    __slots__ = ("received", "thread", "unblocked")

    def __init__(self, unblocked: set[int]) -> None:
        self.unblocked = unblocked
        self.received: int | None = None
        self.thread: Thread | None = None


class SignalWaits:
    """The waits there are; see the module's text."""

    __slots__ = ("_descriptors", "_kernel", "_signals", "_surplus", "_waits")

    def __init__(self, kernel: Kernel, descriptors: Descriptors, signals: Signals) -> None:
        self._kernel = kernel
        self._descriptors = descriptors
        self._signals = signals
        self._waits: list[_Wait] = []
        self._surplus: set[int] = set()
        signals.claim = self.claim
        kernel.on_fork(self._after_fork)

    def wait(self, signums: set[int], deadline: float | None) -> Received | None:
        """Park until one of `signums` comes, and take it; None when `deadline` passed."""
        blocked = signums & originals.pthread_sigmask(originals.SIG_BLOCK, ())
        wait = _Wait(signums - blocked)
        own: Own | None = None
        self._waits.append(wait)
        try:
            for signum in wait.unblocked:
                self._keep(signum)
            if blocked and signalfd.is_available():
                own = Own(above_standard(signalfd.open_signalfd(blocked)))
            while wait.received is None:
                found = take(blocked)
                if found is not None:
                    return found
                if not self._park(wait, blocked, own, deadline) and wait.received is None:
                    return None
            received, wait.received = wait.received, None
            return received, _information(received)
        finally:
            self._waits.remove(wait)
            if own is not None:
                fd = own.release()
                self._descriptors.close(fd, originals.close, fd)
            if wait.received is not None:
                self._surplus.add(wait.received)
            self._restore(wait.unblocked)

    def _park(
        self, wait: _Wait, blocked: set[int], own: Own | None, deadline: float | None
    ) -> bool:
        """Wait until there may be a signal; False when `deadline` passed."""
        kernel = self._kernel
        wait.thread = kernel.current
        try:
            if own is not None:
                return self._descriptors.observe({own.fd: READ}, deadline)
            me = kernel.begin()
            me.kind = "signal"
            if not blocked:
                return kernel.park(me, deadline)
            tick = kernel.clock() + _TICK
            if deadline is not None and deadline <= tick:
                return kernel.park(me, deadline)
            kernel.park(me, tick)
            return True
        finally:
            wait.thread = None

    def claim(self, signum: int) -> bool:
        """Whether `signum`, which has just come, is for somebody who waits.  Never waits itself."""
        if not self._waits:
            return False
        for wait in self._waits:
            if signum in wait.unblocked and wait.received is None:
                wait.received = signum
                self._kernel.call_soon(self._wake, wait)
                return True
        if signum in self._signals.kept and not callable(self._signals.handlers[signum]):
            self._surplus.add(signum)
            return True
        return False

    def _wake(self, wait: _Wait) -> None:
        thread = wait.thread
        if thread is not None and (thread.parked or thread.by_interrupt):
            self._kernel.resume(thread)

    def _keep(self, signum: int) -> None:
        """Have `signum` handed to `claim`."""
        signals = self._signals
        if signum in signals.kept:
            return
        try:
            native = originals.get_signal(signum)
            if native is None or (callable(native) and native is not signals.deliver):
                return  # a handler in C, which could not be put back; the kernel's own
            if native is not signals.deliver:
                originals.set_signal(signum, signals.deliver)
                signals.handlers[signum] = native
        except OSError:
            return  # SIGKILL, SIGSTOP
        signals.kept.add(signum)

    def _restore(self, signums: set[int]) -> None:
        """Nobody waits any longer for those of `signums` that no other wait wants."""
        signals = self._signals
        for wait in self._waits:
            signums = signums - wait.unblocked
        for signum in signums & signals.kept:
            signals.kept.discard(signum)
            disposition = signals.handlers[signum]
            if not callable(disposition):
                del signals.handlers[signum]
                originals.set_signal(signum, disposition)
        for signum in signums & self._surplus:
            self._surplus.discard(signum)
            originals.raise_signal(signum)

    def _after_fork(self) -> None:
        """In the child nobody waits."""
        self._waits.clear()
        self._surplus.clear()
        self._restore(set(self._signals.kept))
