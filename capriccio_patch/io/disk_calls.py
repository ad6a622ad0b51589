"""Calls that may wait for a disk, and how a green thread waits for the scheme that makes them.

While there is one thread only everything is called directly: nobody minds if it blocks.  Green
threads only, where nothing else is said.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable

from ..contracts.disk_backend import DiskBackend
from ..contracts.request import Operation, Request
from ..cpython import originals
from ..kernel.core import Kernel
from ..kernel.loans import if_audited
from . import off_thread
from .mounts import Mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

__all__ = ["DiskCalls"]

_libc: Any = ctypes.CDLL(None, use_errno=True)
_ftruncate = getattr(_libc, "ftruncate64", None) or _libc.ftruncate
_NO_BYTES = ctypes.c_int64(0)


class DiskCalls:
    """Calls of functions, by the scheme or directly."""

    __slots__ = ("backend", "is_local", "kernel", "mounts")

    def __init__(self, kernel: Kernel, backend: DiskBackend, mounts: Mounts) -> None:
        self.kernel = kernel
        self.backend = backend
        self.mounts = mounts
        self.is_local = mounts.is_local
        """Whether a descriptor's file waits for no other process; else only workers touch it."""
        kernel.on_fork(backend.after_fork)

    def alone(self) -> bool:
        """Whether the calling thread is the only one, so that nobody minds if it blocks."""
        return len(self.kernel.threads) == 1

    def carry_out(self, request: Request) -> Any:
        """What `request` returns or raises, made by the scheme while the caller parks."""
        if self.alone():
            request.perform()
        elif not self.backend.add_request(request) and not request.done:
            self.kernel.poll_if_due()
            return off_thread.wait(self.kernel, request, "disk", request)
        request.done = True
        return request.outcome()

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """What ``function(*args)`` returns or raises; it may wait for a disk, but not for ever."""
        return self._call(False, function, args)

    def call_local(self, function: Callable[..., T], *args: Any) -> T:
        """As `call`, for what is known to wait for no server."""
        return self._call(True, function, args)

    def _call(self, local: bool, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        if not self.kernel.is_mine() or self.alone():
            return function(*args)
        request = Request(self.kernel, Operation.CALL, function, *args)
        request.local = local
        request.loan = if_audited(self.kernel)
        result: T = self.carry_out(request)
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
            backend.note_time(clock() - start)
            self.kernel.yield_if_due()

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

    def empty(self, fd: int) -> None:
        """Truncate a file to nothing whose descriptor is the caller's own, opened just now.

        OSError when that fails, and for EMFILE.
        """
        size = originals.lseek(fd, 0, os.SEEK_END)
        if not size or self.alone() or not (self.backend.empties and self.is_local(fd)):
            self.change(_truncate, fd)
        else:
            # Of its own: a caller who is interrupted may close the other, and open another file.
            own = originals.dup(fd)
            request = Request(self.kernel, Operation.EMPTY, _truncate, own, fd=own)
            try:
                self.carry_out(request)
            finally:
                if request.done:
                    originals.close(own)
                else:
                    request.closes = True
        if size:
            originals.lseek(fd, 0, os.SEEK_SET)


def _truncate(fd: int) -> None:
    """Truncate to nothing, without an audit event: the one of open(2) stands for it."""
    kept = ctypes.get_errno()  # the program's
    if _ftruncate(fd, _NO_BYTES):
        number = ctypes.set_errno(kept)
        raise OSError(number, os.strerror(number))
