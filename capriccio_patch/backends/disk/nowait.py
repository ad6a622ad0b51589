"""The page cache first; what is not there by another scheme.

Facts, measured on ext4 with Linux 6.18:

* ``preadv2(RWF_NOWAIT)`` answers from the page cache or fails with EAGAIN.  It costs what a plain
  read costs, 0.8 us for 4 KiB; a worker's answer costs 25 to 35 us.
* ext4 refuses RWF_NOWAIT for writes.  A write into the page cache costs 1 us for 4 KiB, 35 us for
  1 MiB, and waits only when so much is dirty that the kernel slows the writer down, by up to 200 ms
  at a time.  To create and unlink a file costs 14 us, to make and remove a directory 80 to 100, and
  waits only while the file system's journal is being committed.  No call tells this beforehand.
* procfs, sysfs and tmpfs refuse RWF_NOWAIT too, and wait for no disk.

Decision: reads are tried with RWF_NOWAIT.  Where the file system refuses the flag it is asked, once
for each device, whether it keeps its files in memory; if so they are read directly.  Writes and
changes of directories are made directly, and timed: once they have waited for 10 ms of the last
0.1 s (a thread may compute as long) all of them take the other scheme, for a while that doubles
each time this happens again.  Time in which this OS thread ran (the garbage collector, say) or had
no CPU, as far as the system tells, was no wait for a disk.

Cost: the one call that finds out waits on the scheduler's OS thread.  A descriptor that was opened
O_DIRECT or O_SYNC behind our back waits there too, for its device, at each operation.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import stat

from ...contracts.disk_backend import DiskBackend, Services
from ...contracts.request import Request
from ...cpython import originals
from ...preemption.lateness import cpu_delay
from .workers import WorkersBackend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["NowaitBackend"]

_RWF_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_NOTABLE = 0.001
_SLOW = 0.01
"""Seconds that direct calls may wait in `_LOOK` seconds, those not counted that take less than
`_NOTABLE`."""
_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_LOOK = 0.1

_MEMORY = frozenset({0x01021994, 0x858458F6})
"""tmpfs and ramfs, by their numbers in statfs(2)."""
_PSEUDO = frozenset({0x9FA0, 0x62656572, 0x27E0EB, 0x63677270})
"""proc, sysfs, cgroup and cgroup2."""


class NowaitBackend(DiskBackend):
    """What the page cache has at once, the rest by the scheme `slow`."""

    kind = "nowait"
    try_flags = _RWF_NOWAIT
    asks_cache = True

    def __init__(self, slow: DiskBackend | None = None) -> None:
        self.slow = slow or WorkersBackend()
        self._in_memory: dict[int, int] = {}
        """By device: the kind of its file system, as statfs(2) numbers them."""
        self._slow_until = 0.0
        self._pause = _PAUSE
        self._native_id = 0
        self._asked = self._wanted = 0.0
        self._look_again = 0.0
        self._lost = 0.0
        """For how many seconds direct calls have waited since the last look."""

    @property
    def name(self) -> str:
        """Both names."""
        return f"{self.kind}+{self.slow.name}"

    @classmethod
    def is_available(cls) -> str | None:
        """Linux 4.14 and later."""
        if not _RWF_NOWAIT:
            return "this system has no RWF_NOWAIT"
        return None

    def init(self, services: Services) -> None:
        """Nothing of its own.  Scheduler's OS thread."""
        super().init(services)
        self._native_id = originals.get_native_id()
        self._waited()
        self.slow.init(services)

    def read_now(self, fd: int, buffer: Any, offset: int) -> int:
        """One preadv2(2)."""
        try:
            return originals.preadv(fd, (buffer,), offset, _RWF_NOWAIT)  # type: ignore[no-any-return]
        except BlockingIOError:
            return -1
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        if not self.services.is_local(fd) or not self._is_in_memory(fd):
            return -1
        if offset == -1:
            return int(originals.readv(fd, (buffer,)))
        return int(originals.preadv(fd, (buffer,), offset))

    def write_now(self, fd: int, data: Any, offset: int) -> int:
        """One write(2) or pwrite(2), unless writers are being slowed down."""
        clock = originals.monotonic
        start = clock()
        if start > self._look_again:
            self._look(start)
        if start < self._slow_until or not self.services.is_local(fd):
            return -1
        write, pwrite = originals.write, originals.pwrite
        count: int = write(fd, data) if offset == -1 else pwrite(fd, data, offset)
        self.note_time(clock() - start)
        return count

    @property
    def empties(self) -> bool:
        """As the other scheme does."""
        return self.slow.empties

    def is_prompt(self) -> bool:
        """Unless something has had to wait lately."""
        now = originals.monotonic()
        if now > self._look_again:
            self._look(now)
        return bool(now >= self._slow_until)

    def note_time(self, seconds: float) -> None:
        """Note a call that had to wait."""
        if seconds <= _NOTABLE:
            return
        self._lost += min(seconds, self._waited())
        if self._lost > _SLOW:
            self._lost = 0.0
            now = originals.monotonic()
            lately = now < self._slow_until + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE) if lately else _PAUSE
            self._slow_until = now + self._pause

    def _look(self, now: float) -> None:
        self._look_again = now + _LOOK
        self._lost = 0.0
        self._waited()

    def _waited(self) -> float:
        """For how many seconds, since it was asked last, this OS thread has not wanted a CPU."""
        wanted = originals.thread_time() + (cpu_delay(self._native_id) or 0.0)
        now = originals.monotonic()
        waited = now - self._asked - (wanted - self._wanted)
        self._asked, self._wanted = now, wanted
        return float(waited)

    def add_request(self, request: Request) -> bool:
        """The other scheme's."""
        return self.slow.add_request(request)

    def after_fork(self) -> None:
        """The other scheme's, and the child has an OS thread of its own."""
        self._native_id = originals.get_native_id()
        self._waited()
        self.slow.after_fork()

    def close(self) -> None:
        """The other scheme's."""
        self.slow.close()

    def _is_in_memory(self, fd: int) -> bool:
        found = originals.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return False
        device = found.st_dev
        kind = self._in_memory.get(device)
        if kind is None:
            kind = self._in_memory[device] = _file_system(fd)
        if kind in _PSEUDO:
            return _is_ready(fd)  # /proc/kmsg waits for a message
        return kind in _MEMORY


def _is_ready(fd: int) -> bool:
    assert originals.poll is not None
    poller = originals.poll()
    poller.register(fd, select.POLLIN)
    return bool(originals.poll_poll(poller, 0))


def _file_system(fd: int) -> int:
    """``f_type`` of statfs(2); 0 if it can't be told."""
    found = (ctypes.c_long * 64)()
    if ctypes.PyDLL(None).fstatfs(fd, found):
        return 0
    return int(found[0])
