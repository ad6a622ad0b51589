"""``fcntl`` and ``os.lockf``: waiting for a lock on a file.

Facts: nothing tells when a file lock becomes free, so somebody has to wait in the system call.
Locks of flock belong to an open file description, those of lockf and F_SETLKW to the process,
which loses them all as soon as it closes any descriptor of the file.

Decision: a lock is tried without waiting; if it is taken, an OS thread of its own waits for it.
For flock that thread has a duplicate of the descriptor, which the program may close meanwhile.

1. A wait that was abandoned (its green thread was interrupted) goes on until the lock is granted.
   The next call for the same lock takes it over, as the usual loop around an alarm does.
2. A lock that is granted to nobody is given back, unless the program has got it in another way
   since.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
from collections.abc import Callable
from functools import partial
from operator import index

from ...contracts.request import Call
from ...cpython import originals
from ...io import off_thread, os_threads
from ...io.identity import identity
from ...kernel.core import Kernel
from ..base import Patch, Runtime
from ..caller import as_caller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_TAKEN = (errno.EAGAIN, errno.EACCES)
# What waits, by the command that does the same without waiting.
_SETLKW = {
    getattr(fcntl, waiting): getattr(fcntl, trying)
    for waiting, trying in (("F_SETLKW", "F_SETLK"), ("F_OFD_SETLKW", "F_OFD_SETLK"))
    if hasattr(fcntl, waiting)
}


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    locks = _FileLocks(runtime.kernel)
    rows = [
        Patch("fcntl", "fcntl", "flock", _make_flock(runtime, locks)),
        Patch("fcntl", "fcntl", "lockf", _make_lockf(runtime, locks)),
        Patch("fcntl", "fcntl", "fcntl", _make_fcntl(runtime, locks)),
    ]
    if hasattr(os, "lockf"):
        rows.append(Patch("os", "posix", "lockf", _make_os_lockf(runtime, locks)))
    return rows


class _Wait(Call):
    """A blocking call for a lock, on an OS thread of its own."""

    __slots__ = ("_give_back", "_locks", "keep", "key")

    def __init__(
        self,
        locks: _FileLocks,
        key: tuple[Any, ...],
        block: Callable[[], Any],
        give_back: Callable[[bool], None],
    ) -> None:
        super().__init__(locks.kernel, block)
        self._locks = locks
        self._give_back = give_back
        self.key = key
        self.keep = False
        """Granted late or not, the lock is the program's: it has got it by another call."""

    def complete(self) -> None:
        """A lock that nobody waits for is given back."""
        given_up = not self.waiters
        self._give_back(given_up and self.error is None and not self.keep)
        if given_up:
            self._locks.forget(self)
        super().complete()

    def let_go(self) -> None:
        """The call has not begun, and is not to."""
        self._give_back(False)


class _FileLocks:
    """The waits that were abandoned, by file and kind of lock."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._abandoned: dict[tuple[Any, ...], list[_Wait]] = {}
        kernel.on_fork(self._abandoned.clear)

    def acquire(
        self,
        fd: Any,
        kind: tuple[Any, ...],
        attempt: Callable[[], Any],
        prepare: Callable[[], tuple[Callable[[], Any], Callable[[bool], None]]],
    ) -> Any:
        """What `attempt` returns; None when a lock of this kind has become free.

        `prepare` makes the blocking call and what ends it, told whether to give the lock back.
        """
        got = _attempted(attempt)
        if got is not None:
            self.taken(fd, kind, True)
            return got[0]
        key = (fd, *identity(fd), *kind)
        waits = self._abandoned.get(key)
        if waits:
            wait = waits[0]
            self.forget(wait)
        else:
            wait = _Wait(self, key, *prepare())
            try:
                os_threads.start(wait.run, ())
            except RuntimeError:  # there are no more
                wait.let_go()
                return off_thread.ask_until(self.kernel, lambda: _attempted(attempt))[0]
            except BaseException:
                wait.let_go()
                raise
        self._wait(wait)
        return None

    def taken(self, fd: int, kind: tuple[Any, ...], taken: bool) -> None:
        """The program has taken a lock, or given it back, without an abandoned wait."""
        if self._abandoned:
            for wait in self._abandoned.get((fd, *identity(fd), *kind), ()):
                wait.keep = taken

    def forget(self, wait: _Wait) -> None:
        """`wait` is not abandoned any more."""
        waits = self._abandoned.get(wait.key, [])
        if wait in waits:
            waits.remove(wait)
        if not waits:
            self._abandoned.pop(wait.key, None)

    def _wait(self, wait: _Wait) -> None:
        wait.keep = False
        try:
            off_thread.park(self.kernel, wait, "file lock", wait.key)
        except BaseException:
            if not wait.done:
                self._abandoned.setdefault(wait.key, []).append(wait)
            raise
        wait.outcome()


def _attempted(attempt: Callable[[], Any]) -> tuple[Any] | None:
    """What `attempt` returns, in a tuple; None while the lock is taken."""
    try:
        return (attempt(),)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return None


def _number(fd: Any) -> Any:
    """The descriptor's number, or what the original refuses."""
    if hasattr(fd, "fileno"):
        return fd.fileno()
    if not isinstance(fd, int):
        raise TypeError("argument must be an int, or have a fileno() method.")
    return fd


def _make_flock(runtime: Runtime, locks: _FileLocks) -> Any:
    kernel = runtime.kernel
    original = originals.flock

    def flock(fd: Any, operation: Any, /) -> Any:
        if type(fd) is bool:
            return as_caller(original, fd, operation)
        if not kernel.is_mine():
            return original(fd, operation)
        fd, operation = _number(fd), index(operation)
        kind = operation & ~fcntl.LOCK_NB
        if operation & fcntl.LOCK_NB or not kind & (fcntl.LOCK_SH | fcntl.LOCK_EX):
            result = original(fd, operation)
            for each in (fcntl.LOCK_SH, fcntl.LOCK_EX):
                locks.taken(fd, ("flock", each), kind != fcntl.LOCK_UN)
            return result
        attempt = partial(original, fd, operation | fcntl.LOCK_NB)
        return locks.acquire(fd, ("flock", kind), attempt, partial(wait, fd, kind))

    def wait(fd: int, kind: int) -> tuple[Callable[[], Any], Callable[[bool], None]]:
        own = originals.dup(fd)

        def end(give_back: bool) -> None:
            if give_back:
                original(own, fcntl.LOCK_UN)
            originals.close(own)

        return partial(original, own, kind), end

    return flock


def _make_lockf(runtime: Runtime, locks: _FileLocks) -> Any:
    kernel = runtime.kernel
    original = originals.fcntl_lockf

    def lockf(fd: Any, cmd: Any, *rest: Any) -> Any:
        if type(fd) is bool:
            return as_caller(original, fd, cmd, *rest)
        if not kernel.is_mine() or len(rest) > 3:
            return original(fd, cmd, *rest)
        number, operation = _number(fd), index(cmd)
        kind = operation & ~fcntl.LOCK_NB
        if operation & fcntl.LOCK_NB or not kind & (fcntl.LOCK_SH | fcntl.LOCK_EX):
            result = original(number, operation, *rest)
            locks.taken(number, ("lockf", rest), kind != fcntl.LOCK_UN)
            return result
        attempt = partial(original, number, operation | fcntl.LOCK_NB, *rest)
        block = partial(original, number, kind, *rest)
        unlock = partial(original, number, fcntl.LOCK_UN, *rest)
        return locks.acquire(
            number, ("lockf", rest), attempt, lambda: (block, _giver(number, unlock))
        )

    return lockf


def _giver(fd: int, unlock: Callable[[], Any]) -> Callable[[bool], None]:
    """What gives a process's lock back, unless the file was closed, which has done it already."""
    file = identity(fd)

    def end(give_back: bool) -> None:
        try:
            if give_back and identity(fd) == file:
                unlock()
        except OSError:
            pass  # closed

    return end


def _make_fcntl(runtime: Runtime, locks: _FileLocks) -> Any:
    kernel = runtime.kernel
    synchronous = runtime.disk.synchronous
    original = originals.fcntl
    every_time = getattr(os, "O_DIRECT", 0)

    def fcntl_(fd: Any, cmd: Any, arg: Any = 0, /) -> Any:
        if type(fd) is bool:
            return as_caller(original, fd, cmd, arg)
        if cmd not in _SETLKW or not isinstance(arg, bytes) or not kernel.is_mine():
            if cmd == fcntl.F_SETFL and isinstance(arg, int) and arg & every_time:
                synchronous.add(_number(fd))
            return original(fd, cmd, arg)
        number = _number(fd)
        attempt = partial(original, number, _SETLKW[cmd], arg)
        block = partial(original, number, cmd, arg)
        unlock = partial(_unlock, original, number, _SETLKW[cmd], arg)
        result = locks.acquire(number, (cmd, arg), attempt, lambda: (block, _giver(number, unlock)))
        return arg if result is None else result

    return fcntl_


def _unlock(call: Callable[..., Any], fd: int, command: int, lock: bytes) -> None:
    if sys.platform == "linux":  # elsewhere ``l_type`` has another place
        call(fd, command, struct.pack("h", fcntl.F_UNLCK) + lock[struct.calcsize("h") :])


def _make_os_lockf(runtime: Runtime, locks: _FileLocks) -> Any:
    kernel = runtime.kernel
    original = originals.os_lockf
    lock_range = originals.fcntl_lockf

    def lockf(fd: Any, command: Any, length: Any, /) -> Any:
        if command != os.F_LOCK or type(fd) is not int or not kernel.is_mine():
            return original(fd, command, length)
        # The range starts at the position, which may be another by the time of the wait.
        try:
            place = (length, originals.lseek(fd, 0, os.SEEK_CUR), os.SEEK_SET)
        except OSError:
            return original(fd, command, length)
        attempt = partial(original, fd, os.F_TLOCK, length)
        block = partial(lock_range, fd, fcntl.LOCK_EX, *place)
        unlock = partial(lock_range, fd, fcntl.LOCK_UN, *place)
        return locks.acquire(fd, ("lockf", place), attempt, lambda: (block, _giver(fd, unlock)))

    return lockf
