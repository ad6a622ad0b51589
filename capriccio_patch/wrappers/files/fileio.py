"""``_io.FileIO``: the file object below every ``open()``, so below standard streams and logging.

The buffered and text layers above stay as they are; they reach a FileIO by attribute.  How several
threads share a buffered object is in `buffered`.

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
from collections.abc import Callable
from operator import index

from ...cpython import originals
from ...io.buffers import as_bytes
from ...io.disk import CHUNK
from ...kernel.core import Kernel
from ..base import Patch, Runtime, is_path
from ..caller import as_caller
from . import buffered
from .opening import Opening, Way
from .pollable import is_stream
from .transfer import Transfer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_PIECE = 1 << 16
_LARGE = 1 << 20
_BLOCK = 1 << 12
_FIRST_OWN = 3
"""Standard descriptors are often replaced by dup2 below the objects that stand for them."""


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    kernel = runtime.kernel
    transfer = Transfer(runtime)
    reading = _Reading(runtime, transfer)
    methods = {
        "__init__": _make_init(runtime),
        "close": _make_close(runtime),
        "read": _make_read(runtime, reading),
        "readall": _make_readall(kernel, reading.all),
        "readinto": _make_readinto(kernel, reading.fill),
        "truncate": _make_truncate(runtime),
        "write": _make_write(runtime, transfer),
    }
    rows = [Patch("io", "_io", f"FileIO.{name}", method) for name, method in methods.items()]
    return [*rows, *buffered.patches(runtime)]


class _Reading:
    """What reads a FileIO, by what is known of its descriptor."""

    def __init__(self, runtime: Runtime, transfer: Transfer) -> None:
        self._disk = runtime.disk
        self._yield_if_due = runtime.kernel.yield_if_due
        self._flags = runtime.disk.backend.try_flags
        self._read = transfer.read
        self.fill = _make_fill(runtime, self)

    def wait(self, file: Any, fd: int, buffer: Any) -> int:
        """Fill `buffer` with what is not there at once."""
        # C remembers the answer of `seekable`, so it costs no system call.
        if fd < _FIRST_OWN or not originals.fileio_seekable(file):
            return self._read(fd, buffer)
        return self._disk.fill(fd, buffer, 0, asked=True)

    def go_on(self, file: Any, fd: int, buffer: Any, count: int) -> int:
        """Fill what is left of a file's `buffer` after its first `count` bytes; how many it has."""
        if not self.is_on_disk(file):
            return count
        more = self._at_end(fd, buffer, count)
        if more == 0:
            self._yield_if_due()
            return count
        return self._disk.fill(fd, buffer, count + max(more, 0))

    def _at_end(self, fd: int, buffer: Any, count: int) -> int:
        """How much more there is at once, up to a block, and read; -1 if that is not known."""
        block = bytearray(min(len(buffer) - count, _BLOCK))
        try:
            more: int = originals.preadv(fd, (block,), -1, self._flags)
        except OSError:
            return -1
        if more:
            del block[more:]
            buffer[count : count + more] = block
        return more

    def up_to(self, file: Any, size: int) -> bytes:
        """Up to `size` bytes, less at the end of a file or from what is no file."""
        if size > CHUNK:
            if self.is_on_disk(file):
                return self._disk.read(originals.fileio_fileno(file), size)
            size = _LARGE
        data = bytearray(size)
        count = self.fill(file, data)
        # Not by resizing: somebody may hold what `gc.get_objects` has found.
        return bytes(data) if count == size else bytes(memoryview(data)[:count])

    def all(self, file: Any) -> bytes | None:
        """Everything up to the end; None where that would have to be waited for, and must not."""
        fd = originals.fileio_fileno(file)
        whole = self.is_on_disk(file)
        size = _size_left(fd) if whole and self._disk.is_local(fd) else _PIECE
        pieces: list[bytes] = []
        while True:
            try:
                piece = self.up_to(file, size)
            except BlockingIOError:
                return b"".join(pieces) if pieces else None
            if not piece or (whole and len(piece) < size):
                return b"".join((*pieces, piece)) if pieces else piece
            pieces.append(piece)
            size = _LARGE

    def is_on_disk(self, file: Any) -> bool:
        """Whether a read gets all that it asks for, up to the end."""
        fd = originals.fileio_fileno(file)
        return not is_stream(fd) if fd < _FIRST_OWN else bool(originals.fileio_seekable(file))


def _make_fill(runtime: Runtime, reading: _Reading) -> Callable[[Any, Any], int]:
    """``fill(file, buffer)``: BlockingIOError from a descriptor that does not wait.

    Where the page cache, or a pipe, can be asked, and has it all, that is one call.
    """
    fileno = originals.fileio_fileno
    preadv = originals.preadv
    flags = runtime.disk.backend.try_flags
    synchronous = runtime.disk.synchronous
    yield_if_due = runtime.kernel.yield_if_due
    read = reading._read

    def fill(file: Any, buffer: Any) -> int:
        fd = fileno(file)
        size = len(buffer)
        if not flags or size > CHUNK or fd in synchronous:
            return read(fd, buffer)
        try:
            count: int = preadv(fd, (buffer,), -1, flags)
        except BlockingIOError:
            return reading.wait(file, fd, buffer)
        except OSError:
            return read(fd, buffer)
        if count == size or count == 0:
            yield_if_due()
            return count
        return reading.go_on(file, fd, buffer, count)

    return fill


def _make_readinto(kernel: Kernel, fill: Callable[[Any, Any], int]) -> Any:
    get_ident = originals.get_ident
    readable = originals.fileio_readable
    original = originals.fileio_readinto

    def readinto(self: Any, buffer: Any, /) -> Any:
        if get_ident() != kernel.os_ident or not readable(self):
            return original(self, buffer)
        data = as_bytes(buffer)
        if type(data) is not bytearray and (type(data) is not memoryview or data.readonly):
            return original(self, buffer)
        try:
            return fill(self, data)
        except BlockingIOError:
            return None

    return readinto


def _make_read(runtime: Runtime, reading: _Reading) -> Any:
    kernel = runtime.kernel
    get_ident = originals.get_ident
    readable = originals.fileio_readable
    seekable = originals.fileio_seekable
    original = originals.fileio_read
    asks_cache = runtime.disk.backend.asks_cache
    fill = reading.fill
    up_to = reading.up_to

    def read(self: Any, size: Any = -1, /) -> Any:
        if get_ident() != kernel.os_ident or not readable(self):
            return original(self, size)
        if type(size) is not int:
            if size is None:
                return self.readall()
            try:
                size = index(size)
            except TypeError:
                return original(self, size)
        if size < 0:
            return self.readall()
        if asks_cache and size <= _PIECE and len(kernel.threads) == 1 and seekable(self):
            return original(self, size)  # nobody minds if it waits for the disk
        try:
            if size > CHUNK:
                return up_to(self, size)
            data = bytearray(size)  # `_Reading.up_to`, without its call
            count = fill(self, data)
        except BlockingIOError:
            return None
        return bytes(data) if count == size else bytes(memoryview(data)[:count])

    return read


def _make_readall(kernel: Kernel, read_all: Callable[[Any], bytes | None]) -> Any:
    original = originals.fileio_readall
    readable = originals.fileio_readable

    def readall(self: Any, /) -> Any:
        if not kernel.is_mine() or not readable(self):
            return original(self)
        return read_all(self)

    return readall


def _make_write(runtime: Runtime, transfer: Transfer) -> Any:
    kernel = runtime.kernel
    get_ident = originals.get_ident
    fileno = originals.fileio_fileno
    writable = originals.fileio_writable
    seekable = originals.fileio_seekable
    original = originals.fileio_write
    write_file = runtime.disk.write

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
                    return  # its first use lets others run
                way = opening.after(found, empties)
            opening.call(way, file, None, original, self, file, mode, closefd)
        elif isinstance(file, bool):
            as_caller(original, self, file, mode, closefd, opener)  # it warns
        else:
            original(self, file, mode, closefd, opener)

    return init


def _make_close(runtime: Runtime) -> Any:
    descriptors = runtime.descriptors
    table = descriptors.known
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
    return _PIECE
