"""io_uring(7), by ctypes.

Facts, measured with Linux 6.18:

* Submitting one operation and reaping it costs 2 us by ctypes, where a worker costs 25 to 35 us and
  the GIL.  With O_DIRECT and 64 readers it is 1.1 to 2 times as fast as a pool of 16.
* DEFER_TASKRUN loses wake-ups when the ring's descriptor is in an epoll set; SINGLE_ISSUER with
  COOP_TASKRUN, or no flags, does not.
* An operation at a file's current position is not serialised with read(2) and write(2) of those who
  share the position.
* Many containers forbid io_uring, by seccomp or ``kernel.io_uring_disabled``.

Decision: one ring of the scheduler's OS thread, watched by the socket scheme.  It carries out reads
and writes at an offset, fsync and fdatasync.  A read at the current position brings the pages into
memory by the ring and is then made by preadv2(RWF_NOWAIT), which the kernel does serialise.  Writes
at the current position and everything else go to workers.

Cost: three descriptors.  What fails is done again by a worker, for stock's own error.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
from collections import deque
from typing import Any

from ... import interpose, originals
from ...runtime.disk import Operation, Request, memory
from .base import DiskBackend, Services

__all__ = ["IoUringBackend"]

_ENTRIES = 256

# linux/io_uring.h; the numbers of the system calls are the same everywhere but on Alpha.
_SETUP, _ENTER = 425, 426
_COOP_TASKRUN, _SINGLE_ISSUER = 1 << 8, 1 << 12
_FEAT_SINGLE_MMAP, _FEAT_NODROP = 1 << 0, 1 << 1
_OFFSET_SQES = 0x10000000
_FSYNC, _READ, _WRITE = 3, 22, 23
_FSYNC_DATASYNC = 1
_SQE = struct.Struct("=BBHiQQIIQ24x")
_CQE = struct.Struct("=QiI")

_syscall = ctypes.PyDLL(None, use_errno=True).syscall


class _SubmissionOffsets(ctypes.Structure):
    """``io_sqring_offsets``."""

    _fields_ = [
        ("head", ctypes.c_uint32),
        ("tail", ctypes.c_uint32),
        ("unused", ctypes.c_uint32 * 4),
        ("array", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
    ]


class _CompletionOffsets(ctypes.Structure):
    """``io_cqring_offsets``."""

    _fields_ = [
        ("head", ctypes.c_uint32),
        ("tail", ctypes.c_uint32),
        ("unused", ctypes.c_uint32 * 3),
        ("cqes", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 4),
    ]


class _Params(ctypes.Structure):
    """``io_uring_params``."""

    _fields_ = [
        ("sq_entries", ctypes.c_uint32),
        ("cq_entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("sq_thread_cpu", ctypes.c_uint32),
        ("sq_thread_idle", ctypes.c_uint32),
        ("features", ctypes.c_uint32),
        ("wq_fd", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
        ("sq", _SubmissionOffsets),
        ("cq", _CompletionOffsets),
    ]


def _call(number: int, *args: Any) -> int:
    result = int(_syscall(ctypes.c_long(number), *args))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


class _Ring:
    """The two queues that are shared with the kernel."""

    def __init__(self) -> None:
        params = _Params(flags=_COOP_TASKRUN | _SINGLE_ISSUER)
        try:
            self.fd = _call(_SETUP, ctypes.c_uint(_ENTRIES), ctypes.byref(params))
        except OSError:  # a kernel before 6.0 does not know the flags
            params = _Params()
            self.fd = _call(_SETUP, ctypes.c_uint(_ENTRIES), ctypes.byref(params))
        try:
            if ~params.features & (_FEAT_SINGLE_MMAP | _FEAT_NODROP):
                raise OSError("its kernel is too old")
            submissions = params.sq.array + 4 * params.sq_entries
            completions = params.cq.cqes + 16 * params.cq_entries
            size = max(submissions, completions)
            self._rings = _map(self.fd, size, 0)
            self._entries = _map(self.fd, 64 * params.sq_entries, _OFFSET_SQES)
        except BaseException:
            originals.close(self.fd)
            raise
        self._words = memoryview(self._rings)[: size // 4 * 4].cast("I")
        self._sq_tail = params.sq.tail // 4
        self._sq_array = params.sq.array // 4
        self._sq_mask = params.sq_entries - 1
        self._cq_head = params.cq.head // 4
        self._cq_tail = params.cq.tail // 4
        self._cq_mask = params.cq_entries - 1
        self._cqes = params.cq.cqes
        self.room = params.sq_entries
        """Operations that may be under way at once, so that no completion finds its queue full."""

    def submit(
        self, opcode: int, fd: int, offset: int, address: int, length: int, flags: int, key: int
    ) -> None:
        """Hand one operation to the kernel.  The caller sees to it that there is room."""
        words = self._words
        tail = words[self._sq_tail]
        index = tail & self._sq_mask
        _SQE.pack_into(
            self._entries, 64 * index, opcode, 0, 0, fd, offset, address, length, flags, key
        )
        words[self._sq_array + index] = index
        words[self._sq_tail] = (tail + 1) & 0xFFFFFFFF
        _call(_ENTER, self.fd, 1, 0, 0, None, ctypes.c_size_t(0))

    def reap(self) -> list[tuple[int, int]]:
        """Take what is complete: (key, result) pairs."""
        words = self._words
        head, tail = words[self._cq_head], words[self._cq_tail]
        found = []
        while head != tail:
            at = self._cqes + 16 * (head & self._cq_mask)
            key, result, _ = _CQE.unpack_from(self._rings, at)
            found.append((key, result))
            head = (head + 1) & 0xFFFFFFFF
        words[self._cq_head] = head
        return found

    def close(self) -> None:
        """Unmap and close."""
        self._words.release()
        self._rings.close()
        self._entries.close()
        originals.close(self.fd)


def _map(fd: int, size: int, offset: int) -> mmap.mmap:
    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
    return mmap.mmap(fd, size, flags, mmap.PROT_READ | mmap.PROT_WRITE, offset=offset)


class IoUringBackend(DiskBackend):
    """Completions from the kernel, without OS threads of ours."""

    kind = "io_uring"

    def __init__(self) -> None:
        self._ring: _Ring | None = None
        self._under_way: dict[int, tuple[Request, Any]] = {}
        """By key: the request, and the memory that the kernel reads or writes."""
        self._waiting: deque[Request] = deque()
        self._key = 0

    @classmethod
    def is_available(cls) -> str | None:
        """Linux 5.6 and later, where it is not forbidden."""
        if not sys.platform.startswith("linux"):
            return "this system has no io_uring"
        try:
            _Ring().close()
        except OSError as error:
            return f"no ring could be set up: {error}"
        return None

    def init(self, services: Services) -> None:
        """One ring."""
        super().init(services)
        self._open()

    def _open(self) -> None:
        self._ring = ring = _Ring()
        self.services.watch(ring.fd, self.poll)

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

    def _begin(self, ring: _Ring, request: Request) -> None:
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
            else:
                opcode = _FSYNC
                offset = 0
                flags = _FSYNC_DATASYNC if operation is Operation.DATASYNC else 0
            if buffer is not None:
                address, length = _location(buffer), len(buffer)
            self._under_way[key] = (request, buffer)
            ring.submit(opcode, request.fd, offset, address, length, flags, key)
        except OSError:
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
                count = originals.preadv(request.fd, (buffer,), -1, os.RWF_NOWAIT)
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
