"""Reading and writing what can be waited for: pipes, fifos, sockets, terminals, eventfds.

Facts: a descriptor may be shared with other processes and OS threads, so its O_NONBLOCK is not
ours to set, and that it is readable does not prove that a read will not block.  Linux reads and
writes without waiting whatever the mode (RWF_NOWAIT) where the file's driver allows it: pipes and
sockets, and eventfds for reading.  A fifo can be opened a second time, non-blocking, through
/proc; so can a pseudo-terminal, to be written to.  Of all else only readiness can be asked.

1. A call is tried without waiting; what would block parks in the queue of the descriptor's record
   and is tried again when it is first there and the descriptor is ready.
2. Where trying is impossible the descriptor is waited for and then used.  What may block even so (a
   terminal with less room than is to be written) is left to an OS thread of its own.
3. A blocking write writes everything.  Where an error ends it half-way it returns what was
   written, and the next call meets the error.
4. A descriptor that the program made non-blocking never waits.
5. A waiter whose descriptor was closed raises EBADF, also if the number stands for another file
   by then.

None instead of a result says that the descriptor is a file on a disk and that nothing was done.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable
from functools import partial

from ...contracts.descriptor import HUP, READ, WRITE, Descriptor
from ...cpython import originals
from ...io import retry
from ...io.wait_ready import events_of, wait_ready
from ..base import Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

__all__ = ["Streams", "is_stream"]

_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS)
_F_GETPIPE_SZ = 1032 if hasattr(os, "splice") else 0
_ON_DISK = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFBLK)
_ATOMIC = 512  # what POSIX has fit into any pipe that is writable
_ONE = (1).to_bytes(8, sys.byteorder)
_PTMX = (5, 2)  # the device of all masters of pseudo-terminals
_SLAVES = range(136, 144) if sys.platform == "linux" else range(0)

_SCRATCH = 1 << 16
_LARGEST = 1 << 20  # a pipe can't hold more, unless its size was raised by a privileged process


def is_stream(fd: int) -> bool:
    """Whether a descriptor can be waited for.  OSError (EBADF) for a closed one."""
    if _F_GETPIPE_SZ:
        try:
            originals.fcntl(fd, _F_GETPIPE_SZ)
            return True  # a pipe; fstat(2) is slower
        except (OSError, ValueError):  # which a negative number is to fcntl
            pass
    return stat.S_IFMT(originals.fstat(fd).st_mode) not in _ON_DISK


class Streams:
    """The operations, for green threads; see the module's text."""

    __slots__ = ("_call_alone", "_clock", "_descriptors", "_get", "_scratch", "_yield_after_calls")

    def __init__(self, runtime: Runtime) -> None:
        self._yield_after_calls = runtime.kernel.yield_after_calls
        self._clock = runtime.kernel.clock
        self._descriptors = runtime.descriptors
        self._get = runtime.descriptors.get
        self._call_alone = runtime.workers.call_alone
        self._scratch: list[memoryview] = []

    def read(self, fd: int, size: int) -> bytes | None:
        """As ``os.read``; `size` is positive."""
        return self.reading(fd, partial(self._read_now, fd, size))

    def readv(self, fd: int, buffers: Any, flags: int = 0) -> int | None:
        """As ``os.readv``."""
        return self.reading(fd, partial(self._readv_now, fd, buffers, flags))

    def write(self, fd: int, data: Any) -> int | None:
        """As ``os.write``; `data` is a contiguous buffer."""
        size = len(data) if type(data) is bytes else memoryview(data).nbytes
        done = self._write_first(fd, partial(self._write_now, fd, data))
        if self._is_all(fd, done, size):
            if done is not None:
                self._yield_after_calls()
            return done
        return self.write_rest(fd, memoryview(data).cast("B"), done or 0)

    def writev(self, fd: int, buffers: Any, flags: int = 0) -> int | None:
        """As ``os.writev``."""
        size = sum(memoryview(each).nbytes for each in buffers)
        done = self._write_first(fd, partial(self._writev_now, fd, buffers, flags))
        if self._is_all(fd, done, size):
            if done is not None:
                self._yield_after_calls()
            return done
        return self.write_rest(fd, memoryview(b"".join(buffers)), done or 0)

    def _write_first(self, fd: int, write: Callable[[], int | None]) -> int | None:
        """How much could be written at once; None on a disk."""
        d = self._get(fd)
        if d is not None and d.writers is not None and originals.get_blocking(fd):
            return 0  # others come first
        try:
            return write()
        except BlockingIOError:
            if not originals.get_blocking(fd):
                self._yield_after_calls()
                raise
            return 0

    def _is_all(self, fd: int, done: int | None, size: int) -> bool:
        return done is None or done == size or (done > 0 and not originals.get_blocking(fd))

    # -- waiting -----------------------------------------------------------------------------

    def reading(self, fd: int, attempt: Callable[[], T]) -> T:
        """What `attempt`, which raises BlockingIOError rather than wait, returns at last."""
        d = self._get(fd)
        if d is None or (d.readers is None and (d.can_read or not d.owned)):
            if d is not None:
                d.can_read = False
            try:
                result = attempt()
            except BlockingIOError:
                if not originals.get_blocking(fd):
                    self._yield_after_calls()
                    raise
            except BaseException:
                self._pass_on(d)
                raise
            else:
                self._pass_on(d)
                if result is not None:
                    self._yield_after_calls()
                return result
        elif not originals.get_blocking(fd):
            try:
                return attempt()
            finally:
                self._yield_after_calls()
        return self._read_later(fd, attempt)

    def _read_later(self, fd: int, attempt: Callable[[], T]) -> T:
        descriptors = self._descriptors
        d = descriptors.record(fd)
        if d.owned:
            descriptors.check(d)
        if not d.owned and d.readers is None:
            d.can_read = False  # each wait has the scheme look at the present state
        result = retry.read(descriptors, d, self._deadline(fd, READ), attempt)
        if result is retry.EXPIRED:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        descriptors.pass_on(d)
        return result

    def write_rest(self, fd: int, data: memoryview, done: int) -> int:
        """Write what is left of `data` when its turn comes; the length of it all."""
        descriptors = self._descriptors
        d = descriptors.record(fd)
        deadline = self._deadline(fd, WRITE)
        again = False
        while done < len(data):
            attempt = partial(self._write_now, fd, data[done:])
            try:
                written = retry.write(descriptors, d, deadline, attempt, again=again)
            except OSError:
                if not done:
                    raise
                return done
            if written is retry.EXPIRED:
                if not done:
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                return done
            done += written or 0
            again = True
        descriptors.pass_on_write(d)
        return done

    def _deadline(self, fd: int, event: int) -> float | None:
        """When a wait that begins now has to end: sockets may have an option for it."""
        limit = self._descriptors.limit_of(fd, event)
        return None if limit is None else self._clock() + limit

    def _pass_on(self, d: Descriptor | None) -> None:
        if d is not None:
            self._descriptors.pass_on(d)

    # -- one try -----------------------------------------------------------------------------

    def _read_now(self, fd: int, size: int) -> bytes | None:
        if not _NOWAIT:
            return self._read_when_ready(fd, partial(_read_from, size))
        if size > _SCRATCH:
            if not is_stream(fd):
                return None
            view = memoryview(bytearray(min(size, _LARGEST)))
        elif self._scratch:
            view = self._scratch.pop()
        else:
            view = memoryview(bytearray(_SCRATCH))
        try:
            got = originals.preadv(fd, (view[:size],), -1, _NOWAIT)
            data = view[:got].tobytes()
        except BlockingIOError:
            if not is_stream(fd):
                return None
            raise
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            return self._read_when_ready(fd, partial(_read_from, size))
        finally:
            if size <= _SCRATCH:
                self._scratch.append(view)
        if 0 < got < size and not is_stream(fd):
            return data + _read_rest(fd, size - got)
        return data

    def _readv_now(self, fd: int, buffers: Any, flags: int) -> int | None:
        if not is_stream(fd):
            return None
        if _NOWAIT:
            try:
                got: int = originals.preadv(fd, buffers, -1, flags | _NOWAIT)
                return got
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
        return self._read_when_ready(fd, lambda own: originals.readv(own, buffers))

    def _write_now(self, fd: int, data: Any) -> int | None:
        if not is_stream(fd):
            return None
        if _NOWAIT:
            try:
                written: int = originals.pwritev(fd, (data,), -1, _NOWAIT)
                return written
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
        return self._write_when_ready(fd, data, lambda own: originals.write(own, data))

    def _writev_now(self, fd: int, buffers: Any, flags: int) -> int | None:
        if not is_stream(fd):
            return None
        if _NOWAIT:
            try:
                written: int = originals.pwritev(fd, buffers, -1, flags | _NOWAIT)
                return written
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
        data = b"".join(buffers)
        return self._write_when_ready(fd, data, lambda own: originals.writev(own, buffers))

    # -- what can't be tried -----------------------------------------------------------------

    def _read_when_ready(self, fd: int, read: Callable[[int], T]) -> T | None:
        status = originals.fstat(fd)
        kind = stat.S_IFMT(status.st_mode)
        if kind in _ON_DISK:
            return None
        if not originals.get_blocking(fd):
            return read(fd)
        if kind == stat.S_IFIFO:
            own = _reopened(fd, os.O_RDONLY)
            if own >= 0:
                try:
                    return read(own)
                finally:
                    originals.close(own)
        timed = kind == stat.S_IFCHR and os.isatty(fd) and not _is_master(status)
        least = _least_of_terminal(fd) if timed else None
        if least != 0 and not wait_ready(fd, READ, 0):
            raise BlockingIOError
        if least is None and kind != stat.S_IFIFO:
            return read(fd)
        return self._call_alone(read, fd)

    def _write_when_ready(self, fd: int, data: Any, write: Callable[[int], int]) -> int | None:
        status = originals.fstat(fd)
        kind = stat.S_IFMT(status.st_mode)
        if not originals.get_blocking(fd):
            return write(fd)
        # One that was hung up fails; opened again it may be somebody else's.
        if kind == stat.S_IFIFO or (_is_slave(status) and not events_of(fd, WRITE) & HUP):
            own = _reopened(fd, os.O_WRONLY | os.O_NOCTTY)
            if own >= 0:
                try:
                    return write(own)
                except BlockingIOError:
                    if kind == stat.S_IFIFO:
                        raise
                    # One may have room for a byte, and none for a line's end, which is two.
                finally:
                    originals.close(own)
        if not wait_ready(fd, WRITE, 0):
            raise BlockingIOError
        if _may_lack_room(fd, kind, data):
            return self._call_alone(write, fd)
        return write(fd)


def _read_rest(fd: int, size: int) -> bytes:
    """Of a file, what was not in memory."""
    try:
        return os.read(fd, size)
    except OSError:
        return b""  # the next call meets the error


def _read_from(size: int, fd: int) -> bytes:
    return originals.read(fd, size)  # type: ignore[no-any-return]


def _reopened(fd: int, flags: int) -> int:
    """A descriptor of one's own for a fifo, non-blocking; -1 where there can be none."""
    try:
        path = f"/proc/self/fd/{fd}"
        return int(originals.os_open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:  # no /proc, no permission, nobody at the other end
        return -1


def _is_master(status: os.stat_result) -> bool:
    return (os.major(status.st_rdev), os.minor(status.st_rdev)) == _PTMX


def _is_slave(status: os.stat_result) -> bool:
    """Whether it is the end of a pseudo-terminal that programs run at: its inode is that terminal
    for ever, which that of ``/dev/tty`` is not."""
    return stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) in _SLAVES


def _least_of_terminal(fd: int) -> int | None:
    """The bytes from which on a terminal counts as readable; None where a read follows readiness.

    A terminal that is not in line mode may answer without input (VMIN is 0), or wait for some
    time or for more after the first byte (VTIME, VMIN).
    """
    import termios

    attributes = termios.tcgetattr(fd)
    if attributes[3] & termios.ICANON:
        return None
    characters = attributes[6]
    least, time = characters[termios.VMIN], characters[termios.VTIME]
    if least == 0 or time:
        return int(least)
    return None


def _may_lack_room(fd: int, kind: int, data: Any) -> bool:
    """Whether a writable descriptor may block a write of `data` nevertheless."""
    view = memoryview(data).cast("B")
    if view.nbytes > _ATOMIC or (kind == stat.S_IFCHR and os.isatty(fd)):
        return True
    # An eventfd takes a 1; a larger number only where the sum fits.
    return kind == 0 and view.nbytes == 8 and view.tobytes() != _ONE
