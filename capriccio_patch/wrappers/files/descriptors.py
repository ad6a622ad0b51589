"""``os``: the calls on descriptors that may block, and those that close them.

What a call does about a descriptor that can be waited for is in `streams`; it answers None for a
file on a disk, which is `io.disk`'s.

The runtime's own descriptors are not the program's, and can't be closed; a number that the program
wants for something else they leave (`io.reserved`).
Closing tells whoever waits: they get EBADF.  Stock leaves a thread in read(2) on a closed
descriptor, with a file that nobody else can reach.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable
from functools import partial
from operator import index
from typing import Any

from ...contracts.descriptor import READ, WRITE
from ...cpython import originals
from ...io.disk import CHUNK
from ...io.reserved import RESERVED
from ...io.wait_ready import wait_ready
from ..base import Patch, Runtime
from ..caller import as_caller
from .pollable import Streams, is_stream

__all__ = ["patches"]

_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
_PATIENCE = 5.0
_NOT_A_BUFFER = (TypeError, BufferError, ValueError)


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    streams = Streams(runtime)
    rows = [*_transfer_patches(runtime, streams), *_close_patches(runtime)]
    if originals.readv is not None:
        rows += _vector_patches(runtime, streams)
    if originals.preadv is not None:
        rows += _positioned_vector_patches(runtime, streams)
    if originals.eventfd_read is not None:
        rows += _eventfd_patches(runtime, streams)
    if originals.sendfile is not None:
        rows.append(_sendfile_patch(runtime, streams))
    if originals.splice is not None:
        rows.append(_splice_patch(runtime))
    return rows


def _row(name: str, replacement: Callable[..., Any]) -> Patch:
    return Patch("os", "posix", name, replacement)


def _transfer_patches(runtime: Runtime, streams: Streams) -> list[Patch]:
    kernel = runtime.kernel
    get_ident = originals.get_ident
    original_read = originals.read
    original_write = originals.write
    stream_read = streams.read
    stream_write = streams.write
    disk = runtime.disk

    def read(fd: Any, length: Any, /) -> Any:
        if get_ident() != kernel.os_ident:
            return original_read(fd, length)
        if type(fd) is not int or type(length) is not int:
            if type(fd) is bool:
                return as_caller(original_read, fd, length)
            fd, length = index(fd), index(length)
        if not 0 < length <= sys.maxsize:
            return original_read(fd, length)
        data = stream_read(fd, length)
        return disk.read(fd, length) if data is None else data

    def write(fd: Any, data: Any, /) -> Any:
        if get_ident() != kernel.os_ident or not _is_buffer(data):
            return original_write(fd, data)
        if type(fd) is not int:
            if type(fd) is bool:
                return as_caller(original_write, fd, data)
            fd = index(fd)
        count = stream_write(fd, data)
        return disk.write(fd, _as_bytes(data)) if count is None else count

    return [_row("read", read), _row("write", write)]


def _is_buffer(data: Any) -> bool:
    """Whether `data` is what write(2) can be given, and not empty."""
    if type(data) is bytes:
        return bool(data)
    try:
        view = memoryview(data)
    except TypeError:
        return False
    return view.c_contiguous and view.nbytes > 0


def _as_bytes(data: Any) -> Any:
    return data if type(data) is bytes else memoryview(data).cast("B")


def _vector_patches(runtime: Runtime, streams: Streams) -> list[Patch]:
    kernel = runtime.kernel
    original_readv = originals.readv
    original_writev = originals.writev
    read_vector = runtime.disk.readv
    write_vector = runtime.disk.writev

    def readv(fd: Any, buffers: Any, /) -> Any:
        if not kernel.is_mine() or not buffers:
            return original_readv(fd, buffers)
        try:
            count = streams.readv(index(fd), buffers)
            return read_vector(fd, buffers) if count is None else count
        except _NOT_A_BUFFER:
            return original_readv(fd, buffers)

    def writev(fd: Any, buffers: Any, /) -> Any:
        if not kernel.is_mine() or not buffers:
            return original_writev(fd, buffers)
        try:
            count = streams.writev(index(fd), buffers)
            return write_vector(fd, buffers) if count is None else count
        except _NOT_A_BUFFER:
            return original_writev(fd, buffers)

    return [_row("readv", readv), _row("writev", writev)]


def _positioned_vector_patches(runtime: Runtime, streams: Streams) -> list[Patch]:
    """Offset -1 is the current position, so also what has none (preadv2(2))."""
    kernel = runtime.kernel
    original_preadv = originals.preadv
    original_pwritev = originals.pwritev
    disk = runtime.disk

    def preadv(fd: Any, buffers: Any, offset: Any, flags: Any = 0, /) -> Any:
        if not kernel.is_mine() or index(offset) < -1 or flags & _NOWAIT:
            return original_preadv(fd, buffers, offset, flags)
        try:
            count = streams.readv(index(fd), buffers, flags) if offset == -1 else None
            if count is not None:
                return count
            if not flags:
                return disk.readv(fd, buffers, offset)
        except _NOT_A_BUFFER:
            return original_preadv(fd, buffers, offset, flags)
        return disk.call(original_preadv, fd, buffers, offset, flags)

    def pwritev(fd: Any, buffers: Any, offset: Any, flags: Any = 0, /) -> Any:
        if not kernel.is_mine() or index(offset) < -1 or flags & _NOWAIT:
            return original_pwritev(fd, buffers, offset, flags)
        try:
            count = streams.writev(index(fd), buffers, flags) if offset == -1 else None
            if count is not None:
                return count
            if not flags:
                return disk.writev(fd, buffers, offset)
        except _NOT_A_BUFFER:
            return original_pwritev(fd, buffers, offset, flags)
        return disk.call(original_pwritev, fd, buffers, offset, flags)

    return [_row("preadv", preadv), _row("pwritev", pwritev)]


def _eventfd_patches(runtime: Runtime, streams: Streams) -> list[Patch]:
    kernel = runtime.kernel
    original_read = originals.eventfd_read
    original_write = originals.eventfd_write

    def number(fd: Any) -> int | None:
        """The descriptor that `fd` stands for, of which the originals take objects too; None if
        they refuse it."""
        found = fd.fileno() if hasattr(fd, "fileno") else fd
        return found if isinstance(found, int) and found >= 0 else None

    def eventfd_read(fd: Any) -> int:
        source = number(fd) if kernel.is_mine() else None
        data = None if source is None else streams.read(source, 8)
        if data is None or len(data) != 8:
            return int(original_read(fd))
        return int.from_bytes(data, sys.byteorder)

    def eventfd_write(fd: Any, value: Any) -> None:
        target = number(fd) if kernel.is_mine() else None
        written = None
        if target is not None and isinstance(value, int) and 0 <= value < 1 << 64:
            written = streams.write(target, value.to_bytes(8, sys.byteorder))
        if written is None:
            original_write(fd, value)

    return [_row("eventfd_read", eventfd_read), _row("eventfd_write", eventfd_write)]


# -- closing -------------------------------------------------------------------------------------


def _close_patches(runtime: Runtime) -> list[Patch]:
    kernel = runtime.kernel
    descriptors = runtime.descriptors
    table = descriptors.table
    original_close = originals.close
    original_closerange = originals.closerange
    original_dup2 = originals.dup2
    disk = runtime.disk
    alone = disk.alone

    def close(fd: Any) -> None:
        number = index(fd)
        if number in table and number not in RESERVED:
            descriptors.close(number, original_close, fd)
        elif number in RESERVED:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        elif alone():
            original_close(fd)
        else:
            disk.close(number, original_close, fd)

    def closerange(fd_low: Any, fd_high: Any, /) -> None:
        low, high = index(fd_low), index(fd_high)
        kept = sorted(fd for fd in RESERVED if low <= fd < high)
        for fd in kept:
            closerange(low, fd)
            low = fd + 1
        closing = [descriptors.closing(fd) for fd in list(table) if low <= fd < high]
        original_closerange(low, high)
        for descriptor in closing:
            descriptors.closed(descriptor)

    def dup2(fd: Any, fd2: Any, inheritable: Any = True) -> Any:
        if _is_reserved(fd2) and fd != fd2:
            made = take_over(fd, index(fd2), inheritable)
        else:
            made = original_dup2(fd, fd2, inheritable)
        if made in table and made != index(fd):
            descriptors.close(made, _nothing)
        return made

    def take_over(fd: Any, fd2: int, inheritable: Any) -> Any:
        """`original_dup2` onto a number that the runtime has to leave."""
        if kernel.is_mine():
            RESERVED[fd2].move()
        else:
            move_there(fd2)
        try:
            return original_dup2(fd, fd2, inheritable)
        except BaseException:
            original_close(fd2)
            raise

    def move_there(fd: int) -> None:
        """Have it moved by the scheduler; EBUSY, which dup2(2) knows, if that does not do it."""
        over = originals.allocate_lock()
        originals.lock_acquire(over)

        def move() -> None:
            try:
                RESERVED[fd].move()
            except (KeyError, OSError):
                pass
            finally:
                originals.lock_release(over)

        kernel.call_soon(move)
        originals.lock_acquire(over, True, _PATIENCE)
        if fd in RESERVED:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    return [_row("close", close), _row("closerange", closerange), _row("dup2", dup2)]


def _is_reserved(fd: Any) -> bool:
    """Whether a call that takes `fd` would take a descriptor of the runtime's."""
    try:
        return index(fd) in RESERVED
    except TypeError:
        return False  # the original has an error for it


def _nothing() -> None:
    """dup2(2) has closed the descriptor already."""


# -- from one descriptor to another --------------------------------------------------------------


def _sendfile_patch(runtime: Runtime, streams: Streams) -> Patch:
    """sendfile(2) has no flag for not waiting: to a blocking descriptor the file is copied.

    The files on both sides and the count are as the original leaves them.
    """
    kernel = runtime.kernel
    original = originals.sendfile
    call_alone = runtime.workers.call_alone

    def sendfile(out_fd: Any, in_fd: Any, offset: Any, count: Any, *more: Any, **named: Any) -> Any:
        if type(out_fd) is bool or type(in_fd) is bool:
            return as_caller(original, out_fd, in_fd, offset, count, *more, **named)
        block = partial(original, out_fd, in_fd, offset, count, *more, **named)
        if not kernel.is_mine():
            return block()
        if not waits(out_fd):
            return block() if is_prompt(out_fd, in_fd) else runtime.disk.call(block)
        copied = sys.platform == "linux" and stat.S_ISREG(originals.fstat(in_fd).st_mode)
        if copied and (offset is None or offset >= 0) and count >= 0:
            return copy(index(out_fd), index(in_fd), offset, count)
        return call_alone(block)

    def waits(out_fd: Any) -> bool:
        try:
            return is_stream(out_fd) and bool(originals.get_blocking(out_fd))
        except (OSError, TypeError):
            return False  # the original has an error of its own for it

    def is_prompt(out_fd: Any, in_fd: Any) -> bool:
        try:
            return is_stream(out_fd) and runtime.disk.is_local(index(in_fd))
        except (OSError, TypeError):
            return True

    def copy(out_fd: int, in_fd: int, offset: int | None, count: int) -> int:
        sent = 0
        while sent < count:
            size = min(count - sent, CHUNK)
            data = os.read(in_fd, size) if offset is None else os.pread(in_fd, size, offset + sent)
            if not data:
                break
            written = 0
            try:
                written = streams.write(out_fd, data) or 0
            except OSError:
                if not sent:
                    raise
            finally:
                if offset is None and written < len(data):
                    os.lseek(in_fd, written - len(data), os.SEEK_CUR)
            sent += written
            if written < len(data):
                break
        return sent

    return _row("sendfile", sendfile)


def _splice_patch(runtime: Runtime) -> Patch:
    """SPLICE_F_NONBLOCK is for the pipe; what is at the other end is asked whether it is ready."""
    kernel = runtime.kernel
    original = originals.splice
    call_alone = runtime.workers.call_alone
    nonblock = getattr(os, "SPLICE_F_NONBLOCK", 0)

    def splice(
        src: Any,
        dst: Any,
        count: Any,
        offset_src: Any = None,
        offset_dst: Any = None,
        flags: Any = 0,
    ) -> Any:
        rest = (src, dst, count, offset_src, offset_dst)
        if not kernel.is_mine() or flags & nonblock or not _both_block(src, dst):
            return original(*rest, flags)
        if stat.S_ISSOCK(originals.fstat(dst).st_mode):
            return call_alone(original, *rest, flags)
        waits = is_stream(src)
        while True:
            if not waits or wait_ready(src, READ, 0):
                try:
                    return original(*rest, flags | nonblock)
                except BlockingIOError:
                    wanted = {dst: WRITE}
            else:
                wanted = {src: READ}
            runtime.descriptors.observe(wanted, None)

    return _row("splice", splice)


def _both_block(src: int, dst: int) -> bool:
    return bool(originals.get_blocking(src) and originals.get_blocking(dst))
