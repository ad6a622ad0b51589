"""The two queues that io_uring(7) shares with the kernel, by ctypes and mmap.

Facts, measured with Linux 6.18 unless said otherwise:

* Submitting one operation and reaping it costs 2 us by ctypes, and 0.6 us in batches.
* DEFER_TASKRUN loses wake-ups when the ring's descriptor is in an epoll set; SINGLE_ISSUER with
  COOP_TASKRUN, or no flags, does not.
* Many containers forbid io_uring, by seccomp or ``kernel.io_uring_disabled``.
* A request holds the file that its descriptor stood for: close(2) does not end it.  So does the
  ring of a forked child, until that is closed.

1. `push` makes no system call; what was pushed is submitted with the next `enter`.
2. The ring belongs to the OS thread that made it, and is not for a forked child, but to close.
3. A finalizer or signal handler that runs in the middle of `push` or `reap` may use the ring
   itself: between reading a queue's index and writing it there is neither a call nor an allocation
   that the collector counts.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Callable
from sys import platform

from ..cpython import originals
from ..io.reserved import Own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["FEAT_EXT_ARG", "FOREVER", "Ring", "unavailable"]

# linux/io_uring.h; the numbers of the system calls are the same everywhere but on Alpha.
_SETUP, _ENTER = 425, 426
_CQSIZE, _COOP_TASKRUN, _SINGLE_ISSUER = 1 << 3, 1 << 8, 1 << 12
_GETEVENTS, _EXT_ARG = 1 << 0, 1 << 3
_FEAT_SINGLE_MMAP, _FEAT_NODROP, FEAT_EXT_ARG = 1 << 0, 1 << 1, 1 << 8
_OFFSET_SQES = 0x10000000
_SQE = struct.Struct("=BBHiQQIIQ24x")
_WAIT = struct.Struct("=QIIQ")  # io_uring_getevents_arg
_TIMESPEC = struct.Struct("=qq")

_AGAIN = (0, errno.EINTR, errno.ETIME, errno.EBUSY, errno.EAGAIN)
_DISABLED = "/proc/sys/kernel/io_uring_disabled"

FOREVER = -1.0
"""As a timeout: none."""

# The one keeps the GIL for the call, the other gives it away.
_syscall = ctypes.PyDLL(None, use_errno=True).syscall
_waiting_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = _waiting_syscall.restype = ctypes.c_long
_mmap = ctypes.PyDLL(None, use_errno=True).mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
_munmap = ctypes.PyDLL(None).munmap
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_FAILED = ctypes.c_void_p(-1).value


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


def unavailable(features: int = 0) -> str | None:
    """Why there can't be a ring with `features` here; None when there can."""
    if platform != "linux":
        return "this system has no io_uring"
    try:
        ring = Ring(1)
    except OSError as error:
        return _reason(error)
    ring.close()
    if features & ~ring.features:
        return "this kernel's io_uring is too old"
    return None


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSYS:
        return "this kernel has no io_uring"
    if error.errno == errno.EPERM:
        try:
            with open(_DISABLED) as file:
                level = file.read().strip()
        except OSError:
            level = "0"
        if level != "0":
            return f"io_uring is forbidden here: the sysctl kernel.io_uring_disabled is {level}"
        return "io_uring is forbidden here: EPERM, as from a container's seccomp filter"
    return f"no io_uring could be set up: {error}"


class Ring:
    """A ring with room for `entries` operations in one submission."""

    def __init__(
        self, entries: int, completions: int = 0, moved: Callable[[int], None] | None = None
    ) -> None:
        """OSError when there can't be one.  `completions`: room for them, twice `entries` if 0.
        ``moved(old)`` is called when `fd` has become another number (`Own`)."""
        params = _Params(flags=_COOP_TASKRUN | _SINGLE_ISSUER)
        try:
            self.fd = _set_up(params, entries, completions)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            params = _Params()  # a kernel before 6.0 does not know the flags
            self.fd = _set_up(params, entries, completions)
        self._memory: list[_Memory] = []
        try:
            if ~params.features & (_FEAT_SINGLE_MMAP | _FEAT_NODROP):
                raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
            size = max(
                params.sq.array + 4 * params.sq_entries, params.cq.cqes + 16 * params.cq_entries
            )
            self._memory.append(_Memory(self.fd, size, 0))
            self._memory.append(_Memory(self.fd, 64 * params.sq_entries, _OFFSET_SQES))
        except BaseException:
            self._unmap()
            originals.close(self.fd)
            raise
        self._own = Own(self.fd, self._follow)
        self._moved = moved
        self.features: int = params.features
        self._words = words = self._memory[0].bytes[: size // 4 * 4].cast("I")
        self._entries = self._memory[1].bytes
        self._sq_head = params.sq.head // 4
        self._sq_tail = params.sq.tail // 4
        self._sq_mask = params.sq_entries - 1
        self._cq_head = params.cq.head // 4
        self._cq_tail = params.cq.tail // 4
        self._cq_mask = params.cq_entries - 1
        self._cqes = params.cq.cqes // 4
        for index in range(params.sq_entries):
            words[params.sq.array // 4 + index] = index
        self.room: int = params.sq_entries
        """Operations that fit into one submission."""
        self._places = [slice(64 * n, 64 * n + _SQE.size) for n in range(params.sq_entries)]
        self._timespec = ctypes.create_string_buffer(_TIMESPEC.size)
        self._wait = ctypes.create_string_buffer(
            _WAIT.pack(0, 8, 0, ctypes.addressof(self._timespec))
        )

    def _follow(self, old: int) -> None:
        self.fd = self._own.fd
        if self._moved is not None:
            self._moved(old)

    def push(
        self, opcode: int, fd: int, offset: int, address: int, length: int, flags: int, key: int
    ) -> None:
        """Queue one operation; submits what is there when the queue is full."""
        words = self._words
        if words[self._sq_tail] - words[self._sq_head] & 0xFFFFFFFF >= self.room:
            self.enter()
        entry = _SQE.pack(opcode, 0, 0, fd, offset, address, length, flags, key)
        tail = words[self._sq_tail]
        self._entries[self._places[tail & self._sq_mask]] = entry
        words[self._sq_tail] = tail + 1 & 0xFFFFFFFF

    def enter(self) -> None:
        """Submit what was pushed, and have the kernel say what is complete."""
        self._enter(_syscall, 0, _GETEVENTS, None, 0)

    def wait(self, timeout: float) -> None:
        """As `enter`, and wait until an operation is complete, or for `timeout` seconds.

        May return early.  Signals are CPython's to take when it has returned.
        """
        if timeout == FOREVER:
            self._enter(_waiting_syscall, 1, _GETEVENTS, None, 0)
            return
        seconds = int(timeout)
        _TIMESPEC.pack_into(self._timespec, 0, seconds, int((timeout - seconds) * 1e9))
        self._enter(_waiting_syscall, 1, _GETEVENTS | _EXT_ARG, self._wait, _WAIT.size)

    def _enter(self, call: Any, least: int, flags: int, argument: Any, size: int) -> None:
        words = self._words
        pushed = words[self._sq_tail] - words[self._sq_head] & 0xFFFFFFFF
        kept = ctypes.get_errno()  # the program's
        if call(_ENTER, self.fd, pushed, least, flags, argument, ctypes.c_size_t(size)) < 0:
            error = ctypes.set_errno(kept)
            # 0: a finalizer has come, and others have entered the kernel and taken the error.
            # EBUSY, EAGAIN: completions have to be taken first.  What the kernel has not taken from
            # the queue of submissions goes with the next call.
            if error not in _AGAIN:
                raise OSError(error, os.strerror(error))

    def has_completions(self) -> bool:
        """Whether something is known to be complete."""
        words = self._words
        return bool(words[self._cq_head] != words[self._cq_tail])

    def has_submissions(self) -> bool:
        """Whether something waits for submission."""
        words = self._words
        return bool(words[self._sq_head] != words[self._sq_tail])

    def reap(self) -> list[tuple[int, int]]:
        """Take what is complete: (key, result) pairs."""
        words = self._words
        found: list[tuple[int, int]] = []
        while True:
            head = words[self._cq_head]
            if head == words[self._cq_tail]:
                return found
            at = self._cqes + 4 * (head & self._cq_mask)
            key = words[at] | words[at + 1] << 32
            result = words[at + 2]
            words[self._cq_head] = head + 1 & 0xFFFFFFFF
            found.append((key, result - (result >> 31 << 32)))

    def close(self) -> None:
        """Unmap and close."""
        self._words.release()
        self._unmap()
        originals.close(self._own.release())

    def _unmap(self) -> None:
        while self._memory:
            self._memory.pop().close()


def _set_up(params: _Params, entries: int, completions: int) -> int:
    if completions:
        params.flags |= _CQSIZE
        params.cq_entries = completions
    kept = ctypes.get_errno()
    fd = int(_syscall(_SETUP, ctypes.c_uint(entries), ctypes.byref(params)))
    if fd < 0:
        error = ctypes.set_errno(kept)
        raise OSError(error, os.strerror(error))
    return fd


class _Memory:
    """A part of the ring's memory, as bytes.

    `mmap.mmap` would keep a copy of the descriptor, which a program that closes all that it does
    not know takes from it.
    """

    __slots__ = ("_address", "_size", "bytes")

    def __init__(self, fd: int, size: int, offset: int) -> None:
        """OSError when there is not enough of it."""
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        kept = ctypes.get_errno()
        address = _mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, fd, offset)
        if address in (None, _FAILED):
            error = ctypes.set_errno(kept)
            raise OSError(error, os.strerror(error))
        self._address = address
        self._size = size
        self.bytes = memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B")

    def close(self) -> None:
        """Unmap it: nobody uses it after this."""
        self.bytes.release()
        _munmap(self._address, self._size)
