"""``os.sendfile`` and ``os.splice``: from one descriptor to another."""

from __future__ import annotations

import os
import stat
import sys
from functools import partial
from operator import index

from ...contracts.descriptor import READ, WRITE
from ...cpython import originals
from ...io.disk import CHUNK
from ...io.wait_ready import wait_ready
from ..base import Patch, Runtime
from ..caller import as_caller
from .pollable import Streams, is_stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]


def patches(runtime: Runtime, streams: Streams) -> list[Patch]:
    """The rows of this module."""
    rows = []
    if originals.sendfile is not None:
        rows.append(Patch("os", "posix", "sendfile", _make_sendfile(runtime, streams)))
    if originals.splice is not None:
        rows.append(Patch("os", "posix", "splice", _make_splice(runtime)))
    return rows


def _make_sendfile(runtime: Runtime, streams: Streams) -> Any:
    """sendfile(2) has no flag for not waiting: to a blocking descriptor the file is copied.

    The files on both sides and the count are as the original leaves them.
    """
    kernel = runtime.kernel
    original = originals.sendfile
    disk = runtime.disk
    call_alone = runtime.workers.call_alone

    def sendfile(out_fd: Any, in_fd: Any, offset: Any, count: Any, *more: Any, **named: Any) -> Any:
        if type(out_fd) is bool or type(in_fd) is bool:
            return as_caller(original, out_fd, in_fd, offset, count, *more, **named)
        block = partial(original, out_fd, in_fd, offset, count, *more, **named)
        if not kernel.is_mine():
            return block()
        if not _waits(out_fd):
            return block() if is_prompt(out_fd, in_fd) else disk.call(block)
        copied = sys.platform == "linux" and stat.S_ISREG(originals.fstat(in_fd).st_mode)
        if copied and (offset is None or offset >= 0) and count >= 0:
            return _copy(streams, index(out_fd), index(in_fd), offset, count)
        return call_alone(block)

    def is_prompt(out_fd: Any, in_fd: Any) -> bool:
        try:
            return is_stream(out_fd) and disk.is_local(index(in_fd))
        except (OSError, TypeError):
            return True

    return sendfile


def _waits(out_fd: Any) -> bool:
    try:
        return is_stream(out_fd) and bool(originals.get_blocking(out_fd))
    except (OSError, TypeError):
        return False  # the original has an error of its own for it


def _copy(streams: Streams, out_fd: int, in_fd: int, offset: int | None, count: int) -> int:
    """What sendfile(2) does, and how many bytes it was."""
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


def _make_splice(runtime: Runtime) -> Any:
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

    return splice


def _both_block(src: int, dst: int) -> bool:
    return bool(originals.get_blocking(src) and originals.get_blocking(dst))
