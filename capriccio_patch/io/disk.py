"""Files: how a green thread has a disk I/O scheme carry out what may wait for a disk.

`Disk` is what wrappers call; the scheme (``backends/disk``) decides how.  An operation is first
offered to the scheme's `read_now` and `write_now`, which do what needs no waiting and cost no
`Request`; what is left becomes a `Request`, and the caller parks until it is complete.

1. A request owns its memory: an abandoned one is still being carried out, in a worker or in the
   kernel, when the caller's buffer is gone.
2. Requests are completed on the scheduler's OS thread, so a completion can't overtake the park.
3. Operations at a file's current position are left to system calls that the kernel serialises
   (read, write, preadv2 with offset -1), never composed of lseek and an operation at an offset:
   another thread or process may share the position.
4. A read of a regular file returns fewer bytes than asked only at the end of the file, and a write
   is one system call, as in stock: appending is atomic.

For regular files and block devices; what can be polled (pipes, sockets, terminals) is waited for by
`io.descriptors`.  Green threads only; the wrappers send other OS threads to the originals.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import stat
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeVar

from ..contracts.request import Operation, Request
from ..cpython import originals
from ..kernel.core import Kernel
from ..kernel.loans import if_audited
from . import off_thread
from .descriptors import Descriptors
from .mounts import Mounts
from .workers import Workers

__all__ = ["CHUNK", "Disk", "memory", "read_into", "read_owned"]

CHUNK = 1 << 17
"""Bytes that are copied at once: 10 us to read, 35 to append, which is what a worker's hop costs.
More takes more than its share: new memory of this size is mapped page by page as it is touched."""

_SECTOR = 512
_libc: Any = ctypes.CDLL(None, use_errno=True)
_ftruncate = getattr(_libc, "ftruncate64", None) or _libc.ftruncate
_NO_BYTES = ctypes.c_int64(0)

T = TypeVar("T")


class Scheme(Protocol):
    """What `Disk` needs of a disk scheme: ``contracts.disk_backend`` has the contract."""

    try_flags: ClassVar[int]
    asks_cache: ClassVar[bool]

    @property
    def empties(self) -> bool:
        """Whether a file is emptied better by a request than directly."""

    @property
    def name(self) -> str:
        """What `status` tells."""

    def add_request(self, request: Request) -> bool:
        """Begin `request`; True if it is complete already."""

    def read_now(self, fd: int, buffer: Any, offset: int) -> int:
        """Read without waiting; -1: it would wait."""

    def write_now(self, fd: int, data: Any, offset: int) -> int:
        """Write without waiting; -1: it would wait."""

    def is_prompt(self) -> bool:
        """Whether a change may be made directly."""

    def took(self, seconds: float) -> None:
        """How long a direct call has taken."""

    def after_fork(self) -> None:
        """In the child."""

    def close(self) -> None:
        """Give everything back."""


class Disk:
    """Operations on files for green threads; see the module's text."""

    __slots__ = (
        "_descriptors",
        "_read_now",
        "_workers",
        "_write_now",
        "backend",
        "is_local",
        "kernel",
        "mounts",
        "unhurried",
    )

    def __init__(
        self, kernel: Kernel, descriptors: Descriptors, workers: Workers, backend: Scheme
    ) -> None:
        self.kernel = kernel
        self._descriptors = descriptors
        self._workers = workers
        self.backend = backend
        self.mounts = Mounts()
        self.is_local = self.mounts.is_local
        """Whether a descriptor's file waits for no other process; else only workers touch it."""
        self._read_now = backend.read_now
        self._write_now = backend.write_now
        self.unhurried: set[int] = set()
        """Descriptors opened to wait for the device at each operation (O_DIRECT, O_SYNC).  Advice
        only: it may name numbers that were closed since."""
        kernel.on_fork(backend.after_fork)

    # -- services for schemes ----------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Have a worker perform `request` and complete it."""
        self._workers.submit(request, request.local)

    def watch(self, fd: int, call: Callable[[], None]) -> None:
        """Have `call` made on the scheduler's OS thread whenever `fd` becomes readable."""
        self._descriptors.watch(fd, call)

    def unwatch(self, fd: int) -> None:
        """Undo `watch`; before `fd` is closed."""
        self._descriptors.unwatch(fd)

    # -- operations --------------------------------------------------------------------------

    def alone(self) -> bool:
        """Whether the calling thread is the only one, so that nobody minds if it blocks."""
        return len(self.kernel.threads) == 1

    def close(self, fd: int, close: Callable[[Any], T], argument: Any) -> T:
        """``close(argument)``, which closes `fd`.  Any OS thread.

        A server may be told of it, and ext4 writes a file back that was emptied and written.
        """
        if self.alone() or not self.kernel.is_mine():
            return close(argument)
        mode = self.mounts.mode(fd)
        if mode == -1:
            return self.call(close, argument)
        return self.change(close, argument) if stat.S_ISREG(mode) else close(argument)

    def is_prompt(self) -> bool:
        """Whether the scheme has `change` make calls directly."""
        return self.backend.is_prompt()

    def call_local(self, function: Callable[..., T], *args: Any) -> T:
        """As `call`, for what is known to wait for no server."""
        return self._call(True, function, args)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """What ``function(*args)`` returns or raises; it may wait for a disk, but not for ever."""
        return self._call(False, function, args)

    def _call(self, local: bool, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        if not self.kernel.is_mine() or self.alone():
            return function(*args)
        request = Request(self.kernel, Operation.CALL, function, *args)
        request.local = local
        request.loan = if_audited(self.kernel)
        result: T = self._wait(request)
        return result

    def change(self, function: Callable[..., T], *args: Any) -> T:
        """As `call`, for what changes a directory or a file's attributes."""
        backend = self.backend
        if not backend.is_prompt():
            return self.call_local(function, *args)
        clock = originals.monotonic
        start = clock()
        try:
            return function(*args)
        finally:
            backend.took(clock() - start)
            self.kernel.breathe()

    def empty(self, fd: int) -> None:
        """Truncate a file to nothing whose descriptor is the caller's own, opened just now.

        OSError when that fails, and for EMFILE.
        """
        size = originals.lseek(fd, 0, os.SEEK_END)
        if not size or self.alone() or not (self.backend.empties and self.is_local(fd)):
            self.change(truncate, fd)
        else:
            # Of its own: a caller who is interrupted may close the other, and open another file.
            own = originals.dup(fd)
            request = Request(self.kernel, Operation.EMPTY, truncate, own, fd=own)
            try:
                self._wait(request)
            finally:
                if request.done:
                    originals.close(own)
                else:
                    request.closes = True
        if size:
            originals.lseek(fd, 0, os.SEEK_SET)

    def read(self, fd: int, size: int) -> bytes:
        """As ``os.read``."""
        return self._read_bytes(fd, size, -1)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """As ``os.pread``."""
        return self._read_bytes(fd, size, offset)

    def readinto(self, fd: int, buffer: Any, offset: int = -1) -> int:
        """Read into a writable buffer of bytes, at most up to its end; the number of bytes read."""
        size = len(buffer)
        count = -1
        if size <= CHUNK and fd not in self.unhurried:
            count = self._read_now(fd, buffer, offset)
        if count == size or count == 0:
            self.kernel.breathe()
            return count
        view = memoryview(buffer)
        count = max(count, 0)
        while count < size:
            try:
                got = self._read_chunk(fd, view[count : count + CHUNK], _after(offset, count))
            except OSError:
                if count:
                    break
                raise
            if got == 0:
                break
            count += got
        return count

    def readv(self, fd: int, buffers: Any, offset: int = -1) -> int:
        """As ``os.readv``, and ``os.preadv`` without flags; TypeError for what is no buffer."""
        total = 0
        for view in [memoryview(buffer).cast("B") for buffer in buffers]:
            got = self.readinto(fd, view, _after(offset, total))
            total += got
            if got < len(view):
                break
        return total

    def write(self, fd: int, data: Any, offset: int = -1) -> int:
        """As ``os.write``, or ``os.pwrite`` at an offset; `data` is a buffer of bytes."""
        count = -1
        if len(data) <= CHUNK and fd not in self.unhurried:
            count = self._write_now(fd, data, offset)
        if count >= 0:
            self.kernel.breathe()
            return count
        is_kept = type(data) is bytes and (fd not in self.unhurried or len(data) % _SECTOR)
        if not is_kept and not self.alone():
            data = self._copy(data)
        if offset == -1:
            request = Request(self.kernel, Operation.WRITE, originals.write, fd, data, fd=fd)
        else:
            request = Request(
                self.kernel,
                Operation.WRITE,
                originals.pwrite,
                fd,
                data,
                offset,
                fd=fd,
                offset=offset,
            )
        request.local = self.is_local(fd)
        return int(self._wait(request))

    def writev(self, fd: int, buffers: Any, offset: int = -1) -> int:
        """As ``os.writev``, and ``os.pwritev`` without flags: one write of all that there is."""
        return self.write(fd, b"".join(buffers), offset)

    def fsync(self, fd: int) -> None:
        """As ``os.fsync``."""
        self._wait(Request(self.kernel, Operation.SYNC, originals.fsync, fd, fd=fd))

    def fdatasync(self, fd: int) -> None:
        """As ``os.fdatasync``."""
        self._wait(Request(self.kernel, Operation.DATASYNC, originals.fdatasync, fd, fd=fd))

    def _read_bytes(self, fd: int, size: int, offset: int) -> bytes:
        if size > CHUNK:
            # Most of its time is memory's, and the kernel's: others can run.
            if offset == -1:
                request = Request(self.kernel, Operation.CALL, originals.read, fd, size)
            else:
                request = Request(self.kernel, Operation.CALL, originals.pread, fd, size, offset)
            request.local = self.is_local(fd)
            found: bytes = self._wait(request)
            return found
        data = bytearray(size)
        count = self.readinto(fd, data, offset)
        return bytes(data) if count == size else bytes(memoryview(data)[:count])

    def _read_chunk(self, fd: int, view: memoryview, offset: int) -> int:
        """Read at most CHUNK bytes, less only at the end of the file or of what is in memory."""
        count = -1
        if fd not in self.unhurried:
            count = self._read_now(fd, view, offset)
        if count >= 0:
            self.kernel.breathe()
            return count
        request = Request(
            self.kernel, Operation.READ, read_owned, fd, len(view), offset, fd=fd, offset=offset
        )
        data = self._wait(request)
        count = len(data)
        view[:count] = data
        return count

    def _copy(self, data: Any) -> Any:
        """Memory for a request to write from; a piece at a time, so that others can run."""
        copy = memory(len(data))
        with memoryview(data) as source, memoryview(copy) as target:
            for start in range(0, len(data), CHUNK):
                target[start : start + CHUNK] = source[start : start + CHUNK]
                self.kernel.breathe()
        return copy

    def _wait(self, request: Request) -> Any:
        if self.alone():
            request.perform()
        elif not self.backend.add_request(request) and not request.done:
            self.kernel.end_turn()
            return off_thread.wait(self.kernel, request, "disk", request)
        request.done = True
        return request.outcome()


def truncate(fd: int) -> None:
    """Truncate to nothing, without an audit event: the one of open(2) stands for it."""
    if _ftruncate(fd, _NO_BYTES):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _after(offset: int, count: int) -> int:
    return offset if offset == -1 else offset + count


def memory(size: int) -> Any:
    """Memory for a request; aligned as O_DIRECT demands when it is a whole number of sectors."""
    return mmap.mmap(-1, size) if size and size % _SECTOR == 0 else bytearray(size)


def read_owned(fd: int, size: int, offset: int) -> memoryview:
    """The blocking read, into memory of its own.  Any OS thread."""
    data = memory(size)
    return memoryview(data)[: read_into(fd, data, offset)]


def read_into(fd: int, buffer: Any, offset: int) -> int:
    """The blocking read into `buffer`; -1: at the current position.  Any OS thread."""
    if offset == -1:
        return int(originals.readv(fd, [buffer]))
    if originals.preadv is None:
        data = originals.pread(fd, len(buffer), offset)
        memoryview(buffer)[: len(data)] = data
        return len(data)
    return int(originals.preadv(fd, [buffer], offset))
