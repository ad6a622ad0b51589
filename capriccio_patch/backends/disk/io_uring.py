"""io_uring(7) for files; ``backends.ring`` has the ring.

Facts, measured with Linux 6.18:

* Submitting one operation and reaping it costs 2 us by ctypes, where a worker costs 25 to 35 us and
  the GIL.  With O_DIRECT and 64 readers it is 1.1 to 2 times as fast as a pool of 16.
* An operation at a file's current position is not serialised with read(2) and write(2) of those who
  share the position.
* A file is emptied in 10 us; where the file system discards blocks at once (ext4 with ``discard``
  and without a journal) in 100, of which 80 are the device's.

Decision: one ring of the scheduler's OS thread, watched by the socket scheme.  It carries out reads
and writes at an offset, fsync and fdatasync, and empties files that are opened for that.  A read at
the current position brings the pages into memory by the ring and is then made by
preadv2(RWF_NOWAIT), which the kernel does serialise.  Writes at the current position and everything
else go to workers.

Cost: one descriptor.  What fails is done again by a worker, for stock's own error.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections import deque

from ...contracts.disk_backend import DiskBackend, Services
from ...contracts.request import Operation, Request
from ...cpython import interpose, originals
from ...io.buffers import memory
from ...io.reserved import standard_kept_free
from ..ring import Ring, unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["IoUringBackend"]

_ENTRIES = 256
_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)

# linux/io_uring.h
_FSYNC, _READ, _WRITE, _FTRUNCATE = 3, 22, 23, 55
_FSYNC_DATASYNC = 1


class IoUringBackend(DiskBackend):
    """Completions from the kernel, without OS threads of ours."""

    kind = "io_uring"

    def __init__(self) -> None:
        self._ring: Ring | None = None
        self._under_way: dict[int, tuple[Request, Any]] = {}
        """By key: the request, and the memory that the kernel reads or writes."""
        self._waiting: deque[Request] = deque()
        self._key = 0
        self._empties = True

    @classmethod
    def is_available(cls) -> str | None:
        """Linux 5.6 and later, where it is not forbidden."""
        if not _NOWAIT or originals.preadv is None:
            return "there is no RWF_NOWAIT here"
        return unavailable()

    def init(self, services: Services) -> None:
        """One ring."""
        super().init(services)
        self._open()

    def _open(self) -> None:
        with standard_kept_free():
            self._ring = ring = Ring(_ENTRIES, moved=self._ring_moved)
        self.services.watch(ring.fd, self.poll)

    def _ring_moved(self, old: int) -> None:
        assert self._ring is not None
        self.services.unwatch(old)
        self.services.watch(self._ring.fd, self.poll)

    @property
    def empties(self) -> bool:
        """Linux 6.9 and later, as far as is known."""
        return self._empties

    def add_request(self, request: Request) -> bool:
        """Hand it to the ring if that can do it; queue it when the ring is full."""
        operation = request.operation
        if (
            operation is Operation.CALL
            or (operation is Operation.WRITE and request.offset == -1)
            or self._ring is None
            or not self.services.is_local(request.fd)
        ):
            self.services.submit(request)
        elif len(self._under_way) < self._ring.room:
            self._begin(self._ring, request)
        else:
            self._waiting.append(request)
        return False

    def _begin(self, ring: Ring, request: Request) -> None:
        operation = request.operation
        offset = request.offset
        buffer = None
        address = length = flags = 0
        self._key = key = self._key + 1
        try:
            if operation is Operation.READ:
                opcode = _READ
                buffer = memory(request.args[1])
                if offset == -1:
                    offset = originals.lseek(request.fd, 0, os.SEEK_CUR)
            elif operation is Operation.WRITE:
                opcode = _WRITE
                buffer = request.args[1]
            elif operation is Operation.EMPTY:
                opcode = _FTRUNCATE
                offset = 0
            else:
                opcode = _FSYNC
                offset = 0
                flags = _FSYNC_DATASYNC if operation is Operation.DATASYNC else 0
            if buffer is not None:
                address, length = _location(buffer), len(buffer)
            self._under_way[key] = (request, buffer)
            ring.push(opcode, request.fd, offset, address, length, flags, key)
            ring.enter()
        except (OSError, struct.error):  # a number that is no descriptor's can't be packed
            self._under_way.pop(key, None)
            self.services.submit(request)

    def poll(self) -> None:
        """Reap, complete, and begin what was waiting for room."""
        ring = self._ring
        if ring is None:
            return
        for key, result in ring.reap():
            request, buffer = self._under_way.pop(key)
            if result < 0:
                if result == -errno.EINVAL and request.operation is Operation.EMPTY:
                    self._empties = False  # unknown to this kernel
                self.services.submit(request)
            elif request.operation is Operation.READ:
                self._complete_read(request, buffer, result)
            else:
                request.result = result if request.operation is Operation.WRITE else None
                request.complete()
        while self._waiting and len(self._under_way) < ring.room:
            self._begin(ring, self._waiting.popleft())

    def _complete_read(self, request: Request, buffer: Any, count: int) -> None:
        if request.offset == -1:
            try:
                count = originals.preadv(request.fd, (buffer,), -1, _NOWAIT)
            except OSError:
                self.services.submit(request)
                return
        request.result = memoryview(buffer)[:count]
        request.complete()

    def after_fork(self) -> None:
        """The parent's ring is not ours: another one, or workers if there can't be one."""
        interpose.leak(self._under_way)
        self._under_way = {}
        self._waiting.clear()
        ring, self._ring = self._ring, None
        try:
            if ring is not None:
                ring.close()
            self._open()
        except OSError:
            self._ring = None

    def close(self) -> None:
        """Give the ring back; what the kernel may still write to is kept."""
        if self._under_way:
            interpose.leak(self._under_way)
        ring, self._ring = self._ring, None
        if ring is not None:
            self.services.unwatch(ring.fd)
            ring.close()


def _location(buffer: Any) -> int:
    if type(buffer) is bytes:
        return ctypes.cast(ctypes.c_char_p(buffer), ctypes.c_void_p).value or 0
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
