"""Reading and writing files for green threads, by a disk I/O scheme (``backends/disk``).

An operation is first offered to the scheme's `read_now` and `write_now`, which do what needs no
waiting and cost no `Request`; what is left becomes a `Request`, and the caller parks until it is
complete (`DiskCalls.carry_out`).

1. Operations at a file's current position are left to system calls that the kernel serialises
   (read, write, preadv2 with offset -1), never composed of lseek and an operation at an offset:
   another thread or process may share the position.
2. A read of a regular file returns fewer bytes than asked only at the end of the file, and a write
   is one system call, as in stock: appending is atomic.

For regular files and block devices; what can be polled (pipes, sockets, terminals) is waited for by
`io.descriptors`.  Green threads only; the wrappers send other OS threads to the originals.
"""

from __future__ import annotations

from ..contracts.disk_backend import DiskBackend
from ..contracts.request import Operation, Request
from ..cpython import originals
from ..kernel.core import Kernel
from .buffers import SECTOR, Room, memory, read_owned
from .disk_calls import DiskCalls
from .mounts import Mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["CHUNK", "Disk"]

CHUNK = 1 << 17
"""Bytes that are copied at once: 10 us to read, 35 to append, which is what a worker's hop costs.
Others are looked at between two such pieces."""

_LARGEST = 1 << 22
"""Bytes that are read in pieces at most: room for more is mapped, page by page, for too long."""


class Disk(DiskCalls):
    """Operations on files for green threads; see the module's text."""

    __slots__ = ("_read_now", "_write_now", "synchronous")

    def __init__(self, kernel: Kernel, backend: DiskBackend, mounts: Mounts) -> None:
        super().__init__(kernel, backend, mounts)
        self._read_now = backend.read_now
        self._write_now = backend.write_now
        self.synchronous: set[int] = kernel.shared("synchronous", set())
        """Descriptors opened to wait for the device at each operation (O_DIRECT, O_SYNC).  Advice
        only: it may name numbers that were closed since."""

    def read(self, fd: int, size: int) -> bytes:
        """As ``os.read``."""
        return self._read_bytes(fd, size, -1)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """As ``os.pread``."""
        return self._read_bytes(fd, size, offset)

    def readinto(self, fd: int, buffer: Any, offset: int = -1) -> int:
        """Read into a writable buffer of bytes, at most up to its end; the number of bytes read."""
        if len(buffer) > CHUNK or fd in self.synchronous:
            return self.fill(fd, buffer, 0, offset)
        count = self._read_now(fd, buffer, offset)
        if count == len(buffer) or count == 0:
            self.kernel.yield_if_due()
            return count
        return self.fill(fd, buffer, max(count, 0), offset, asked=count < 0)

    def fill(
        self, fd: int, buffer: Any, count: int, offset: int = -1, *, asked: bool = False
    ) -> int:
        """Read what is missing of `buffer`, which holds `count` bytes; how many it holds then.

        `asked`: the scheme has just been asked, and would have to wait.  `offset` is where the
        buffer begins.
        """
        with memoryview(buffer) as view:
            while count < len(view):
                piece = view[count : count + CHUNK]
                try:
                    got = self._read_chunk(fd, piece, _after(offset, count), asked)
                except OSError:
                    if count:
                        break  # the next call meets it
                    raise
                if got == 0:
                    break
                count += got
                asked = False
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
        if len(data) <= CHUNK and fd not in self.synchronous:
            count = self._write_now(fd, data, offset)
        if count >= 0:
            self.kernel.yield_if_due()
            return count
        is_kept = type(data) is bytes and (fd not in self.synchronous or len(data) % SECTOR)
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
        return int(self.carry_out(request))

    def writev(self, fd: int, buffers: Any, offset: int = -1) -> int:
        """As ``os.writev``, and ``os.pwritev`` without flags: one write of all that there is."""
        return self.write(fd, b"".join(buffers), offset)

    def fsync(self, fd: int) -> None:
        """As ``os.fsync``."""
        self.carry_out(Request(self.kernel, Operation.SYNC, originals.fsync, fd, fd=fd))

    def fdatasync(self, fd: int) -> None:
        """As ``os.fdatasync``."""
        self.carry_out(Request(self.kernel, Operation.DATASYNC, originals.fdatasync, fd, fd=fd))

    def _read_bytes(self, fd: int, size: int, offset: int) -> bytes:
        if size <= CHUNK:
            data = bytearray(size)
            count = self.readinto(fd, data, offset)
            return bytes(data) if count == size else bytes(memoryview(data)[:count])
        if size > _LARGEST or fd in self.synchronous or self.alone():
            return self.read_elsewhere(fd, size, offset)
        room = Room(size)
        count, more = self._read_cached(fd, room.view, offset)
        found = room.taken(count)
        if not more:
            return found
        try:
            rest = self.read_elsewhere(fd, size - count, _after(offset, count))
        except OSError:
            if count:
                return found  # the next call meets it
            raise
        return found + rest if count else rest

    def _read_cached(self, fd: int, view: memoryview, offset: int) -> tuple[int, bool]:
        """Read into `view` what the scheme has at once, a piece at a time; how much that is, and
        whether the rest has to be waited for."""
        count = 0
        while count < len(view):
            try:
                got = self._read_now(fd, view[count : count + CHUNK], _after(offset, count))
            except OSError:
                if count:
                    break  # the next call meets it
                raise
            if got <= 0:
                return count, got < 0
            count += got
            self.kernel.yield_if_due()
        return count, False

    def read_elsewhere(self, fd: int, size: int, offset: int) -> bytes:
        """As one request: most of its time is memory's, and the disk's: others can run."""
        if offset == -1:
            request = Request(self.kernel, Operation.CALL, originals.read, fd, size)
        else:
            request = Request(self.kernel, Operation.CALL, originals.pread, fd, size, offset)
        request.local = self.is_local(fd)
        found: bytes = self.carry_out(request)
        return found

    def _read_chunk(self, fd: int, view: memoryview, offset: int, asked: bool) -> int:
        """Read at most CHUNK bytes, less only at the end of the file or of what is in memory."""
        if not asked and fd not in self.synchronous:
            count = self._read_now(fd, view, offset)
            if count >= 0:
                self.kernel.yield_if_due()
                return count
        request = Request(
            self.kernel, Operation.READ, read_owned, fd, len(view), offset, fd=fd, offset=offset
        )
        data = self.carry_out(request)
        count = len(data)
        view[:count] = data
        return count

    def _copy(self, data: Any) -> Any:
        """Memory for a request to write from; a piece at a time, so that others can run."""
        copy = memory(len(data))
        with memoryview(data) as source, memoryview(copy) as target:
            for start in range(0, len(data), CHUNK):
                target[start : start + CHUNK] = source[start : start + CHUNK]
                self.kernel.yield_if_due()
        return copy


def _after(offset: int, count: int) -> int:
    return offset if offset == -1 else offset + count
