"""CPU time of the calling thread alone: ``time.thread_time`` and its kin.

Facts.  The system counts the CPU time of OS threads.  Asking for it is a system call, a third of
what a switch costs, and hardly any program asks.

Decision.  The kernel is observed from the first question on: whenever a thread is chosen to run,
what the OS thread has used since goes to the one that ran.  The time before belongs to the main
thread; other threads begin with none.  Who takes differences, as programs do, gets them right.

Cost.  Nothing before the first question, 0.3 us a switch after it.

1. What the kernel does between two threads is the time of the one that let the other run.
2. ``getrusage`` divides a thread's time into user and system as that of its OS thread is divided;
   its other figures are the OS thread's.
3. What a worker's OS thread uses on a thread's behalf is not counted, nor is it told by
   ``time.pthread_getcpuclockid``, whose clock is the OS thread's.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ...contracts.thread import Finalizer, Thread
from ...cpython import originals
from ...cpython.interpose import clone
from ...kernel.core import Kernel
from ..base import Late, Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["CpuTime"]

_FEW = 64


class _Account:
    """The CPU time of each green thread, in nanoseconds.  Scheduler's OS thread."""

    def __init__(self, kernel: Kernel, clock: Callable[[], int]) -> None:
        self._kernel = kernel
        self._clock = clock
        self._used: dict[Thread, int] = {}
        self._limit = _FEW
        self._running: Thread | None = None
        """Who has had the CPU since `_since`; None before the first question."""
        self._since = 0

    def of_current(self) -> int:
        """That of the calling thread."""
        if self._running is None:
            self._begin()
        me = _host(self._kernel.current)
        self._charge(me)
        return self._used.get(me, 0)

    def _begin(self) -> None:
        kernel = self._kernel
        self._since = now = self._clock()
        self._used[kernel.main] = now
        self._running = _host(kernel.current)
        kernel.observe(self._chosen)
        kernel.on_fork(self._forked)

    def _chosen(self, thread: Thread) -> None:
        self._charge(_host(thread))

    def _charge(self, next_: Thread) -> None:
        """The running thread has used what there is since; from now on it is `next_`'s."""
        used, running = self._used, self._running
        assert running is not None
        now = self._clock()
        used[running] = used.get(running, 0) + now - self._since
        self._since = now
        self._running = next_
        if len(used) > self._limit:
            alive = self._kernel.threads
            for thread in [each for each in used if each.ident not in alive]:
                del used[thread]
            self._limit = max(_FEW, 2 * len(used))

    def _forked(self) -> None:
        self._used.clear()
        self._running = self._kernel.current
        self._since = 0  # as is the clock of the child's OS thread


class CpuTime:
    """The rows of this module, which share one account."""

    def __init__(self, runtime: Runtime) -> None:
        self._kernel = runtime.kernel
        self._nanoseconds: Any = clone(getattr(time, "thread_time_ns", None))
        self._account = _Account(runtime.kernel, self._nanoseconds)

    def patches(self) -> list[Patch]:
        """Of ``time``: none where the system counts no thread's time."""
        if self._nanoseconds is None:
            return []
        is_mine, of_current = self._kernel.is_mine, self._account.of_current
        original_ns, original = self._nanoseconds, originals.thread_time

        def thread_time() -> float:
            return of_current() / 1e9 if is_mine() else float(original())

        def thread_time_ns() -> int:
            return of_current() if is_mine() else int(original_ns())

        rows = [
            Patch("time", "time", "thread_time", thread_time),
            Patch("time", "time", "thread_time_ns", thread_time_ns),
        ]
        mine = getattr(time, "CLOCK_THREAD_CPUTIME_ID", None)
        if mine is not None:
            gettime, gettime_ns = originals.clock_gettime, clone(time.clock_gettime_ns)

            def clock_gettime(*args: Any) -> Any:
                return thread_time() if args == (mine,) else gettime(*args)

            def clock_gettime_ns(*args: Any) -> Any:
                return thread_time_ns() if args == (mine,) else gettime_ns(*args)

            rows += [
                Patch("time", "time", "clock_gettime", clock_gettime),
                Patch("time", "time", "clock_gettime_ns", clock_gettime_ns),
            ]
        return rows

    def late(self) -> Late:
        """Of ``resource``."""
        return Late("resource", "resource", self._usage)

    def _usage(self) -> list[Patch]:
        import resource

        of_thread = getattr(resource, "RUSAGE_THREAD", None)
        if of_thread is None or self._nanoseconds is None:
            return []
        is_mine, of_current = self._kernel.is_mine, self._account.of_current
        original = originals.getrusage

        def getrusage(*args: Any) -> Any:
            usage = original(*args)
            if args != (of_thread,) or not is_mine():
                return usage
            user, system, *others = usage
            share = user / (user + system) if user + system else 1.0
            mine = of_current() / 1e9
            return type(usage)((mine * share, mine * (1.0 - share), *others))

        return [Patch("resource", "resource", "getrusage", getrusage)]


def _host(thread: Thread) -> Thread:
    """Whose time it is: what a finalizer uses is its host's."""
    while isinstance(thread, Finalizer):
        thread = thread.host
    return thread
