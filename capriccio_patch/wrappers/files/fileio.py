"""``_io.FileIO``: the file object below every ``open()``, so below standard streams and logging.

The buffered and text layers above stay as they are; they reach a FileIO by attribute.  How several
threads share a buffered object is in ``io_buffered``.

1. Every FileIO is served, whenever it was made: standard input, output and error too.
2. Arguments that the C method would refuse are given to it, for its own exception.
3. ``None`` is what a raw read or write of a non-blocking descriptor returns instead of waiting.
4. close(2) is left to a worker where the file is not a local one: network file systems write back
   then.  A local file is closed directly: 0.3 us where a worker costs a hundred times that.
"""

from __future__ import annotations

import _io
import os
import stat
from operator import index
from typing import Any

from ...cpython import originals
from ...io.disk import CHUNK
from ..base import Patch, Runtime, is_path
from . import buffered
from .any_kind import Transfer
from .opening import Opening, Way
from .pollable import is_stream

__all__ = ["patches"]

_PIECE = 1 << 16
_LARGE = 1 << 20
_BLOCK = 1 << 12
_FIRST_OWN = 3
"""Standard descriptors are often replaced by dup2 below the objects that stand for them."""


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    return [
        Patch("io", "_io", "FileIO.__init__", _make_init(runtime)),
        Patch("io", "_io", "FileIO.close", _make_close(runtime)),
        Patch("io", "_io", "FileIO.truncate", _make_truncate(runtime)),
        Patch("io", "_io", "FileIO.write", _make_write(runtime)),
        *_read_patches(runtime),
        *buffered.patches(runtime),
    ]


def _read_patches(runtime: Runtime) -> list[Patch]:
    kernel = runtime.kernel
    get_ident = originals.get_ident
    fileno = originals.fileio_fileno
    readable = originals.fileio_readable
    seekable = originals.fileio_seekable
    original_readinto = originals.fileio_readinto
    original_read = originals.fileio_read
    original_readall = originals.fileio_readall
    preadv = originals.preadv
    flags = runtime.disk.backend.try_flags
    synchronous = runtime.disk.synchronous
    is_local = runtime.disk.is_local
    asks_cache = runtime.disk.backend.asks_cache
    yield_if_due = kernel.yield_if_due
    transfer = Transfer(runtime)

    def at_end(fd: int, buffer: Any, count: int) -> int:
        """How much more there is at once, up to a block, and read; -1 if that is not known."""
        block = bytearray(min(len(buffer) - count, _BLOCK))
        try:
            more: int = preadv(fd, (block,), -1, flags)
        except OSError:
            return -1
        if more:
            del block[more:]
            buffer[count : count + more] = block
        return more

    def fill(self: Any, buffer: Any) -> Any:
        """Read into `buffer`; `Transfer.readinto`, but this object knows what it stands for."""
        fd = fileno(self)
        size = len(buffer)
        count = -1
        if flags and size <= CHUNK and fd not in synchronous:
            try:
                count = preadv(fd, (buffer,), -1, flags)
            except OSError:
                return transfer.read_later(fd, buffer)
            if count == size or count == 0:
                yield_if_due()
                return count
        if count < 0:
            return transfer.read_later(fd, buffer)
        # C remembers the answer of `seekable`, so it costs no system call.
        if fd < _FIRST_OWN or not seekable(self):
            return count
        more = at_end(fd, buffer, count)
        if more == 0:
            yield_if_due()
            return count
        return transfer.read_file(fd, buffer, count + max(more, 0))

    def readinto(self: Any, buffer: Any, /) -> Any:
        if get_ident() != kernel.os_ident or not readable(self):
            return original_readinto(self, buffer)
        data = as_bytes(buffer)
        if type(data) is not bytearray and (type(data) is not memoryview or data.readonly):
            return original_readinto(self, buffer)
        try:
            return fill(self, data)
        except BlockingIOError:
            return None

    def read(self: Any, size: Any = -1, /) -> Any:
        if get_ident() != kernel.os_ident or not readable(self):
            return original_read(self, size)
        if type(size) is not int:
            if size is None:
                return self.readall()
            try:
                size = index(size)
            except TypeError:
                return original_read(self, size)
        if size < 0:
            return self.readall()
        if asks_cache and size <= _PIECE and len(kernel.threads) == 1 and seekable(self):
            return original_read(self, size)  # nobody minds if it waits for the disk
        try:
            return read_bytes(self, size)
        except BlockingIOError:
            return None

    def on_disk(self: Any) -> bool:
        fd = fileno(self)
        return not is_stream(fd) if fd < _FIRST_OWN else bool(seekable(self))

    def read_bytes(self: Any, size: int) -> bytes:
        if size > CHUNK:
            if on_disk(self):
                return runtime.disk.read(fileno(self), size)
            size = _LARGE
        data = bytearray(size)
        count = fill(self, data)
        # Not by resizing: somebody may hold what `gc.get_objects` has found.
        return bytes(data) if count == size else bytes(memoryview(data)[:count])

    def readall(self: Any, /) -> Any:
        if get_ident() != kernel.os_ident:
            return original_readall(self)
        whole = on_disk(self)
        is_known = whole and is_local(fileno(self))
        size = _size_left(fileno(self)) if is_known else _PIECE
        pieces: list[bytes] | None = None
        while True:
            try:
                piece = read_bytes(self, size)
            except BlockingIOError:
                return b"".join(pieces) if pieces else None
            if not piece or (whole and len(piece) < size):
                return b"".join((*pieces, piece)) if pieces else piece
            pieces = pieces or []
            pieces.append(piece)
            size = _LARGE

    return [
        Patch("io", "_io", "FileIO.readinto", readinto),
        Patch("io", "_io", "FileIO.read", read),
        Patch("io", "_io", "FileIO.readall", readall),
    ]


def _make_write(runtime: Runtime) -> Any:
    kernel = runtime.kernel
    get_ident = originals.get_ident
    fileno = originals.fileio_fileno
    writable = originals.fileio_writable
    seekable = originals.fileio_seekable
    original = originals.fileio_write
    write_file = runtime.disk.write
    transfer = Transfer(runtime)

    def write(self: Any, b: Any, /) -> Any:
        if get_ident() != kernel.os_ident or not writable(self):
            return original(self, b)
        data = as_bytes(b)
        if data is None:
            return original(self, b)
        fd = fileno(self)
        if fd >= _FIRST_OWN and seekable(self):
            return write_file(fd, data)
        count = transfer.write_now(fd, data)
        if count == len(data):
            return count
        try:
            rest = transfer.write(fd, data[max(count, 0) :])
        except BlockingIOError:
            return count if count > 0 else None
        except OSError:
            if count > 0:
                return count  # the next call meets it
            raise
        return max(count, 0) + rest

    return write


class _NotOpened(Exception):
    """An open could not be made at once; the argument is what `Lookup.open_now` returned."""


def _make_init(runtime: Runtime) -> Any:
    kernel = runtime.kernel
    original = originals.fileio_init
    fileno = originals.fileio_fileno
    opening = Opening(runtime)
    open_now = opening.lookup.open_now

    def opener(path: Any, flags: int) -> int:
        fd = open_now(path, None, flags)
        if fd < 0:
            raise _NotOpened(fd)
        return fd

    def init_now(self: Any, file: Any, mode: Any, closefd: Any) -> int:
        try:
            original(self, file, mode, closefd, opener)
        except _NotOpened as error:
            return int(error.args[0])
        return 0

    def init(
        self: Any, file: Any, mode: Any = "r", closefd: Any = True, opener: Any = None
    ) -> None:
        if is_path(file) and opener is None and kernel.is_mine():
            # As C does when it is called for an object that is open: no descriptor is lost.
            creates = isinstance(mode, str) and not {"w", "x", "a"}.isdisjoint(mode)
            empties = creates and "a" not in mode
            way = opening.way(file, None, creates, empties, True)
            if way is Way.NOW:
                found = init_now(self, file, mode, closefd)
                if found >= 0 and (not empties or opening.empty(fileno(self))):
                    return  # its first use takes the breath
                way = opening.after(found, empties)
            opening.call(way, file, None, original, self, file, mode, closefd)
        elif isinstance(file, bool):
            _call_warning_of_caller(original, self, file, mode, closefd, opener)
        else:
            original(self, file, mode, closefd, opener)

    return init


def _call_warning_of_caller(function: Any, *args: Any) -> None:
    """Call `function`, whose warnings are about the caller's caller."""
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*args)
    for each in caught:
        warnings.warn(each.message, each.category, stacklevel=3)


def _make_close(runtime: Runtime) -> Any:
    descriptors = runtime.descriptors
    table = descriptors.table
    fileno = originals.fileio_fileno
    is_closed = originals.fileio_closed
    closes = originals.fileio_closefd
    original = originals.fileio_close
    disk = runtime.disk
    alone = disk.alone
    FileIO: Any = _io.FileIO
    finalizing = FileIO.__dict__["_finalizing"].__get__

    def close(self: Any, /) -> Any:
        if is_closed(self) or not closes(self):
            return original(self)
        fd = fileno(self)
        if fd in table:
            return descriptors.close(fd, original, self)
        if alone() or type(self) is not FileIO or finalizing(self):
            return original(self)
        return disk.close(fd, original, self)

    return close


def _make_truncate(runtime: Runtime) -> Any:
    kernel = runtime.kernel
    call = runtime.disk.call
    original = originals.fileio_truncate

    def truncate(self: Any, size: Any = None, /) -> Any:
        if not kernel.is_mine():
            return original(self, size)
        return call(original, self, size)

    return truncate


def as_bytes(buffer: Any) -> Any:
    """`buffer` as an object whose items are bytes; None if it is no contiguous buffer."""
    kind = type(buffer)
    if kind is bytes or kind is bytearray:
        return buffer
    try:
        view = memoryview(buffer)
        return view if view.format == "B" and view.ndim == 1 else view.cast("B")
    except (TypeError, ValueError):
        return None


def _size_left(fd: int) -> int:
    """How much to ask for first: one byte more than there is, so that the end is seen at once."""
    try:
        found = originals.fstat(fd)
        if stat.S_ISREG(found.st_mode):
            left = found.st_size - originals.lseek(fd, 0, os.SEEK_CUR)
            if left >= 0:
                return int(left) + 1
    except OSError:
        pass
    return 1 << 16
