"""What is left of descriptors, memory and CPU time, and whether that is little.

1. Descriptors are counted where they are asked for: a system call of 1 us.
2. Memory is read from the files of /proc and of the control group, which takes some 30 us, or by
   psutil, which does it in C, elsewhere than on Linux.  The answer is at most `EVERY` old when it
   is asked for often.  The limit is the nearest of the machine's, the control group's and the
   process's (RLIMIT_AS).
3. CPU time is scarce when the scheduler's OS thread has used all of a window and has left a queue.

Scheduler's OS thread only.
"""

from __future__ import annotations

import resource
import sys
from enum import IntEnum

import psutil

from ..cpython import originals
from .recorder import count_descriptors

__all__ = ["EVERY", "Level", "Scarcity"]

EVERY = 0.25
"""Seconds between looks at memory and CPU time."""
_MEMORY_LITTLE, _MEMORY_NONE = 0.10, 0.03  # shares of the limit that are left
_BUSY = 0.95
_QUEUE = 64
_IS_LINUX = sys.platform == "linux"


class Level(IntEnum):
    """How much there is."""

    ENOUGH = 0
    LITTLE = 1
    """Those who take it wait until the others have run."""
    NONE = 2
    """Nothing but a last reserve: those who take it wait until somebody has given some back."""


class Scarcity:
    """The levels, as of the last `look`."""

    __slots__ = ("_busy", "_looked", "_memory_left", "cpu", "descriptors", "free", "memory", "room")

    def __init__(self) -> None:
        self.descriptors = self.memory = self.cpu = Level.ENOUGH
        self.free = 0
        """Descriptors that can be opened yet."""
        self.room = 1
        """How many may be opened before it is time to look again."""
        self._looked = 0.0
        self._busy = originals.thread_time_ns()
        self._memory_left = 1.0

    def look(self, now: float, runnable: int) -> bool:
        """Take stock at the time `now`, with so many threads runnable; whether anything is scarce.

        Once something is, a good deal more has to be there before it is not any more.
        """
        self._look_at_descriptors()
        passed = now - self._looked
        if passed >= EVERY:
            self._looked = now
            self._look_at_cpu(passed, runnable)
            self._look_at_memory()
            self.memory = _level(self._memory_left, _MEMORY_LITTLE, _MEMORY_NONE, self.memory, 1.5)
        return bool(self.descriptors or self.memory or self.cpu)

    def _look_at_descriptors(self) -> None:
        limit = _descriptor_limit()
        self.free = free = limit - count_descriptors()
        little, none = max(16, limit // 10), max(6, limit // 32)
        self.descriptors = _level(free, little, none, self.descriptors, 1.25)
        self.room = max(1, (free - little) // 2)

    def _look_at_cpu(self, passed: float, runnable: int) -> None:
        busy = originals.thread_time_ns()
        share = (busy - self._busy) / 1e9 / passed
        self._busy = busy
        self.cpu = Level.LITTLE if share >= _BUSY and runnable > _QUEUE else Level.ENOUGH

    def _look_at_memory(self) -> None:
        try:
            self._memory_left = memory_left()
        except Exception:
            pass  # no descriptor is left, or a system that does not tell


def _level(left: float, little: float, none: float, before: Level, back: float) -> Level:
    if before:
        little *= back
    if before is Level.NONE:
        none *= back
    return Level.NONE if left <= none else Level.LITTLE if left <= little else Level.ENOUGH


def _descriptor_limit() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 30 if limit == resource.RLIM_INFINITY else limit


def memory_left() -> float:
    """The share of the memory that may be used which is not."""
    shares = [_machine_left()]
    if hasattr(resource, "RLIMIT_AS"):
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            shares.append(1.0 - _size() / limit)
    group = _group_left()
    if group is not None:
        shares.append(group)
    return min(shares)


def _machine_left() -> float:
    if not _IS_LINUX:
        machine = psutil.virtual_memory()
        return float(machine.available / machine.total)
    lines = dict(line.split(":") for line in _read("/proc/meminfo").splitlines())
    available, total = (int(lines[name].split()[0]) for name in ("MemAvailable", "MemTotal"))
    return available / total


def _size() -> int:
    """Of this process's address space, in bytes."""
    if not _IS_LINUX:
        return int(psutil.Process().memory_info().vms)
    return int(_read("/proc/self/statm").split()[0]) * resource.getpagesize()


def _group_left(root: str = "/sys/fs/cgroup") -> float | None:
    """As `memory_left`, of this process's control group; None where there is no limit."""
    try:
        own = _read("/proc/self/cgroup").partition("0::")[2].partition("\n")[0]
        for group in (root + own, root):
            try:
                limit = int(_read(f"{group}/memory.max"))
                used = int(_read(f"{group}/memory.current"))
                cached = dict(line.split() for line in _read(f"{group}/memory.stat").splitlines())
                return 1.0 - (used - int(cached.get("inactive_file", 0))) / limit
            except (FileNotFoundError, NotADirectoryError):
                continue
    except (OSError, ValueError):  # "max": unlimited
        pass
    return None


def _read(path: str) -> str:
    fd = originals.os_open(path, 0)
    try:
        return bytes(originals.read(fd, 1 << 16)).decode()
    finally:
        originals.close(fd)
