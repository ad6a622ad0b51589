"""How long the running thread has kept the others waiting, on a machine that others use as well.

The watchdog sleeps for its pause and wants the GIL then.  If it is late, that may be because a call
in C keeps the GIL, or because the system had other things to do, or stopped the process.  Neither
the clock nor a look at the thread tells which; these facts do:

* A thread that waits for the GIL wakes up once a switch interval to ask for it: the number of the
  watchdog's own sleeps tells how long it has waited at least.  More of them than fit into the time
  tell that it was woken in between, by a GIL that was free, and came too late for it: then nobody
  has kept it.
* Linux tells for how long a thread could run and had no CPU (`cpu_delay`).  For so long it is not
  at fault, whatever it was doing.
* Elsewhere: a thread that keeps the GIL without a break, in C, uses the CPU or sleeps.  One that is
  kept from running is switched away from involuntarily: then only its CPU time counts.

Where the system does not tell any of this, the CPU time of the process is what there is.

The watchdog opens no file at a look: the number would be missing to a program that opens one then
(`keep`, `io.reserved`).
"""

from __future__ import annotations

import os
from collections.abc import Callable

from ..cpython import originals
from ..io.reserved import Own, above_others

__all__ = ["Lateness", "cpu_delay", "forget", "forget_all", "keep", "kept"]

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
_LONGEST = 100

_SLOW = 5
"""How much longer than a switch interval each turn of the wait for the GIL may take."""

_usage: int | None
try:  # here, because the watchdog itself must not wait for an import
    import resource
except ImportError:
    _usage = None
else:
    _usage = getattr(resource, "RUSAGE_THREAD", None)


_kept: dict[int, Own] = {}
"""By the system's number of a thread: the file that tells of it."""


def keep(native_id: int) -> None:
    """Have `cpu_delay` open nothing, for an OS thread of this process.

    Scheduler's OS thread: it opens a file, for which the program would ask in vain meanwhile.
    """
    if native_id in _kept:
        return
    try:
        _kept[native_id] = Own(above_others(originals.os_open(_path(native_id), _FLAGS)))
    except OSError:
        pass  # the system does not tell, or has no number left


def kept(native_id: int) -> int:
    """The descriptor of the file that tells of an OS thread of this process; -1: none is kept."""
    own = _kept.get(native_id)
    return -1 if own is None else own.fd


def forget(native_id: int) -> None:
    """Close what is kept open for an OS thread.  Scheduler's OS thread."""
    own = _kept.pop(native_id, None)
    if own is not None:
        originals.close(own.release())


def forget_all() -> None:
    """In a forked child: close what is kept open, which tells of the parent's OS threads."""
    for native_id in list(_kept):
        forget(native_id)


def cpu_delay(native_id: int, pread: Callable[..., bytes] = originals.pread) -> float | None:
    """For how many seconds, ever, an OS thread of this process could run but had no CPU.

    None where the system does not tell.  Any OS thread; a green one is not switched from.  `pread`
    reads what is kept open.
    """
    own = _kept.get(native_id)
    try:
        if own is not None:
            return _seconds(pread(own.fd, _LONGEST, 0))
        fd = originals.os_open(_path(native_id), _FLAGS)
        try:
            return _seconds(originals.read(fd, _LONGEST))
        finally:
            originals.close(fd)
    except (OSError, IndexError, ValueError):  # it may be that the program has closed all numbers
        return None


def _path(native_id: int) -> str:
    return f"/proc/self/task/{native_id}/schedstat"


def _seconds(text: bytes) -> float:
    return int(text.split()[1]) / 1e9


class Lateness:
    """Measures for one OS thread, the watchdog's, and of one other, the scheduler's."""

    __slots__ = (
        "_clock",
        "_cpu",
        "_delay",
        "_forced",
        "_looked",
        "_native_id",
        "_pread",
        "_waits",
        "excused",
    )

    def __init__(
        self,
        ident: int,
        native_id: int,
        pread: Callable[..., bytes] = originals.pread,
        born: float | None = None,
        delay: float | None = None,
    ) -> None:
        """`ident` and `native_id` are the scheduler's OS thread's; `pread` as of `cpu_delay`.

        If `born` is given, it counts as the last look: the time when the caller's OS thread was
        asked for, and `delay` what `cpu_delay` told then.
        """
        self._native_id = native_id
        self._pread = pread
        self._clock: int | None = None
        if originals.pthread_getcpuclockid is not None:
            self._clock = originals.pthread_getcpuclockid(ident)
        self.excused = 0.0
        """Seconds, of what `since_last` has returned last, for which the thread had no CPU."""
        self.reset()
        if born is not None:
            self._looked, self._waits, self._delay = born, 0, delay

    @property
    def is_sure(self) -> bool:
        """Whether the system tells when a thread has no CPU."""
        return self._delay is not None

    def elapsed(self) -> float:
        """Seconds since the last look."""
        return float(originals.monotonic() - self._looked)

    def reset(self) -> None:
        """What comes now is not compared with what was."""
        self._looked = originals.monotonic()
        self._cpu = self._cpu_time()
        self._waits, self._forced = self._switches()
        self._delay = cpu_delay(self._native_id, self._pread)

    def go_on_from(self, looked: float, sleeps: int, delay: float) -> None:
        """Somebody has looked meanwhile, last when the clock said `looked`: what counts is what has
        come since.  There have been so many `sleeps`, and `delay` is what `cpu_delay` told."""
        self._looked = looked
        self._waits += sleeps
        self._delay = delay

    def since_last(self, pause: float, interval: float) -> float:
        """How many seconds since the last look are the running thread's doing.

        The watchdog has slept for `pause`; `interval` is the GIL's.  Both in seconds.
        """
        looked, cpu, waits, forced = self._looked, self._cpu, self._waits, self._forced
        before = self._delay
        self.reset()
        self.excused = 0.0
        late = self._cpu - cpu
        if _usage is not None:
            late = waited = (self._waits - waits) * interval
            if before is not None and self._delay is not None:
                delay = self._delay - before
                late = max(0.0, waited - delay)
                self.excused = min(pause, max(0.0, delay - waited))
            elif self._forced > forced:
                late = min(self._cpu - cpu, _SLOW * waited)
            if waited > self._looked - looked:
                late = 0.0
        return float(min(self._looked - looked, pause + late))

    def _cpu_time(self) -> float:
        if self._clock is None:
            return float(originals.process_time())
        return float(originals.clock_gettime(self._clock))

    def _switches(self) -> tuple[int, int]:
        """How often the watchdog has slept, and how often the process has lost a CPU."""
        if _usage is None:
            return 0, 0
        sleeps = originals.getrusage(_usage).ru_nvcsw
        return sleeps, originals.getrusage(resource.RUSAGE_SELF).ru_nivcsw
