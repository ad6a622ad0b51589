"""``os``: the calls on paths, and those on regular files that are not transfers of bytes.

Facts, measured on ext4 with Linux 6.18 (a worker's hop is 25 to 35 us):

* Looking up a cached path costs 2 us and waits for nothing; one that is not cached waits for a
  disk.
* What changes a directory (create and unlink 14 us, mkdir and rmdir 80 to 100) writes to the
  file system's journal, and waits while that is being committed: milliseconds, when somebody syncs.
* fsync of a clean file costs 40 us, of a dirty one what the device takes.

Decision: look-ups go to the kernel's cache of names first (`lookup`); the disk scheme decides about
changes, and about syncs and what else takes long.  While there is one thread only all are direct.

1. A path-like object is asked for its path on the caller's OS thread, once.
2. A descriptor that an abandoned open has brought is closed.

Cost: audit hooks of what a worker does run on the worker's OS thread.  The entries of a directory
that scandir has opened are read by its iterator, directly, unless a worker has opened it.
"""

from __future__ import annotations

import os
import posix
import sys
from collections.abc import Callable
from functools import partial

from ...cpython import originals
from ...cpython.interpose import clone
from ...io.buffers import as_bytes
from ...io.disk import CHUNK
from ...io.name_cache import WAIT, Lookup, parent
from ..base import Patch, Runtime, is_path
from ..caller import as_caller, has_flag_for_descriptor
from . import scandir
from .opening import Opening, Way

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

# By name: whether the call takes `follow_symlinks`, or None if it never follows the last link.
_LOOK_UPS = {
    "stat": True,
    "lstat": None,
    "statx": True,
    "access": True,
    "readlink": None,
    "listdir": True,
    "scandir": True,
    "statvfs": True,
    "pathconf": True,
    "getxattr": True,
    "listxattr": True,
    "chdir": True,
}

# By name: how many paths the call takes, before everything else.
_CHANGES = {
    **dict.fromkeys(("mkdir", "rmdir", "unlink", "remove", "mkfifo", "mknod"), 1),
    **dict.fromkeys(("chmod", "lchmod", "chown", "lchown", "chflags", "lchflags", "utime"), 1),
    **dict.fromkeys(("truncate", "setxattr", "removexattr"), 1),
    **dict.fromkeys(("rename", "replace", "link", "symlink"), 2),
    **dict.fromkeys(("ftruncate", "fchmod", "fchown", "posix_fallocate", "copy_file_range"), 0),
    **dict.fromkeys(("sync", "fstatvfs"), 0),
}
_LONG = frozenset({"ftruncate", "truncate", "posix_fallocate", "copy_file_range", "sync"})
"""They take as long as the file is large."""
_OF_DIRECTORIES = frozenset(
    (
        "mkdir",
        "rmdir",
        "unlink",
        "remove",
        "mkfifo",
        "mknod",
        "rename",
        "replace",
        "link",
        "symlink",
    )
)
"""What they change is the directory."""
_EVERY_TIME = getattr(os, "O_DIRECT", 0) | getattr(os, "O_SYNC", 0) | getattr(os, "O_DSYNC", 0)
_NEW = os.O_TRUNC | os.O_EXCL | (getattr(os, "O_TMPFILE", 0) & ~os.O_DIRECTORY)
_NEVER_ENDLESS = os.O_NONBLOCK | getattr(os, "O_PATH", 0)


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    lookup = Lookup(runtime.disk.mounts)
    makers: dict[str, Callable[[Runtime, Any], Any]] = {
        **{name: partial(_look_up, lookup=lookup, follows=f) for name, f in _LOOK_UPS.items()},
        **{name: partial(_change, lookup=lookup, paths=n) for name, n in _CHANGES.items()},
        "fstat": _fstat,
        "fsync": _sync,
        "fdatasync": _sync,
        "pread": _pread,
        "pwrite": _pwrite,
        "open": _open,
    }
    rows = scandir.patches(runtime, lookup)
    for name, make in makers.items():
        if hasattr(posix, name):
            made = make(runtime, clone(getattr(posix, name)))
            made.__name__ = made.__qualname__ = name  # what a TypeError tells
            rows.append(Patch("os", "posix", name, made))
    return rows


def _look_up(runtime: Runtime, original: Any, lookup: Lookup, follows: bool | None) -> Any:
    kernel = runtime.kernel
    get_ident = originals.get_ident
    disk = runtime.disk
    alone = disk.alone
    is_local = disk.is_local
    cache_first = disk.backend.asks_cache
    away = partial(scandir.Entries, original) if original.__name__ == "scandir" else original

    def look_up(*args: Any, **named: Any) -> Any:
        if has_flag_for_descriptor(args, named):
            return as_caller(original, *args, **named)
        if get_ident() != kernel.os_ident or alone():
            return original(*args, **named)
        path = args[0] if args else named.get("path")
        if type(path) is int and not is_local(path):
            return disk.call(partial(away, *args, **named))
        if not is_path(path):
            return original(*args, **named)
        follow = follows is not None and named.get("follow_symlinks", True)
        if cache_first and lookup.is_cached(path, named.get("dir_fd"), follow):
            return original(*args, **named)
        return disk.call(partial(away, *_with_paths(args, 1), **named))

    return look_up


def _fstat(runtime: Runtime, original: Any) -> Any:
    kernel = runtime.kernel
    disk = runtime.disk

    def fstat(fd: Any) -> os.stat_result:
        if type(fd) is not int:
            return as_caller(original, fd)  # type: ignore[no-any-return]
        if not kernel.is_mine() or disk.alone() or disk.is_local(fd):
            return original(fd)  # type: ignore[no-any-return]
        return disk.call(original, fd)  # type: ignore[no-any-return]

    return fstat


def _change(runtime: Runtime, original: Any, lookup: Lookup, paths: int) -> Any:
    kernel = runtime.kernel
    disk = runtime.disk
    takes_long = original.__name__ in _LONG or not disk.backend.is_prompt()
    of_directory = original.__name__ in _OF_DIRECTORIES

    def is_local(args: tuple[Any, ...], named: dict[str, Any]) -> bool:
        """Whether what the call changes is on local file systems, as far as can be told."""
        names = ("dir_fd",) if paths < 2 else ("src_dir_fd", "dst_dir_fd")
        for path, name in zip(args[: paths or 1], names, strict=False):
            if type(path) is int:
                if not disk.is_local(path):
                    return False
            elif isinstance(path, (str, bytes)):
                dir_fd = named.get(name, named.get("dir_fd"))
                if not lookup.is_cached(parent(path) if of_directory else path, dir_fd):
                    return False
        return True

    def change(*args: Any, **named: Any) -> Any:
        if has_flag_for_descriptor(args, named):
            return as_caller(original, *args, **named)
        if not kernel.is_mine() or disk.alone():
            return original(*args, **named)
        args = _with_paths(args, paths)
        call = partial(original, *args, **named)
        if takes_long or not is_local(args, named):
            return disk.call(call)
        return disk.change(call)

    return change


def _with_paths(args: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """`args`, the first `count` of which are paths, with what path-like objects stand for."""
    if all(isinstance(path, (str, bytes, int)) for path in args[:count]):
        return args
    return (*(_path(each) for each in args[:count]), *args[count:])


def _path(path: Any) -> Any:
    return os.fspath(path) if is_path(path) else path


def _sync(runtime: Runtime, original: Any) -> Any:
    kernel = runtime.kernel
    disk = runtime.disk
    sync = disk.fdatasync if original.__name__ == "fdatasync" else disk.fsync

    def fsync(fd: Any) -> None:
        if not kernel.is_mine():
            return original(fd)  # type: ignore[no-any-return]
        if type(fd) is not int:
            fd = fd.fileno() if hasattr(fd, "fileno") else fd
            if type(fd) is not int:
                return as_caller(original, fd)  # type: ignore[no-any-return]
        sync(fd)
        return None

    return fsync


def _pread(runtime: Runtime, original: Any) -> Any:
    kernel = runtime.kernel
    get_ident = originals.get_ident
    preadv = originals.preadv
    flags = runtime.disk.backend.try_flags
    synchronous = runtime.disk.synchronous
    read = runtime.disk.pread

    def pread(fd: Any, length: Any, offset: Any, /) -> Any:
        if get_ident() != kernel.os_ident or not type(fd) is type(length) is type(offset) is int:
            return original(fd, length, offset)
        if length < 0 or offset < 0:
            return original(fd, length, offset)
        if flags and length <= CHUNK and fd not in synchronous:
            data = bytearray(length)
            try:
                if preadv(fd, (data,), offset, flags) == length:
                    return bytes(data)
            except OSError:
                pass  # found again below
        return read(fd, length, offset)

    return pread


def _pwrite(runtime: Runtime, original: Any) -> Any:
    kernel = runtime.kernel
    write = runtime.disk.write

    def pwrite(fd: Any, buffer: Any, offset: Any, /) -> Any:
        if not kernel.is_mine() or not type(fd) is type(offset) is int or offset < 0:
            return original(fd, buffer, offset)
        data = as_bytes(buffer)
        if data is None:
            return original(fd, buffer, offset)
        return write(fd, data, offset)

    return pwrite


def _open(runtime: Runtime, original: Any) -> Any:
    kernel = runtime.kernel
    opening = Opening(runtime)
    synchronous = runtime.disk.synchronous

    def open_now(path: Any, dir_fd: Any, flags: int) -> int:
        sys.audit("open", path, None, flags | os.O_CLOEXEC)
        fd = opening.lookup.open_now(path, dir_fd, flags)
        if fd >= 0:
            try:
                if flags & os.O_TRUNC and not opening.empty(fd):
                    originals.close(fd)
                    return WAIT - 1
                kernel.yield_if_due()
            except BaseException:
                originals.close(fd)
                raise
        return fd

    def open(path: Any, flags: Any, mode: Any = 0o777, *, dir_fd: Any = None) -> Any:  # noqa: A001
        if (
            not kernel.is_mine()
            or type(flags) is not int
            or not is_path(path)
            or not (dir_fd is None or isinstance(dir_fd, int))
        ):
            return original(path, flags, mode, dir_fd=dir_fd)
        if type(dir_fd) is bool:
            return as_caller(original, path, flags, mode, dir_fd=dir_fd)
        path = os.fspath(path)
        endless = not flags & _NEVER_ENDLESS
        creates, empties = bool(flags & os.O_CREAT), bool(flags & _NEW)
        way = opening.way(path, dir_fd, creates, empties, endless)
        fd = -1
        if way is Way.NOW and type(mode) is int:
            fd = open_now(path, dir_fd, flags)
            if fd < 0:
                way = opening.after(fd, empties)
        if fd < 0:
            opened = _Opened(partial(original, path, flags, mode, dir_fd=dir_fd))
            try:
                opening.call(way, path, dir_fd, opened.open)
            except BaseException:
                opened.abandon()
                raise
            fd = opened.take()
        if flags & _EVERY_TIME:
            synchronous.add(fd)
        elif synchronous:
            synchronous.discard(fd)
        return fd

    return open


class _Opened:
    """The descriptor that an open brings, whether or not somebody still waits for it."""

    __slots__ = ("_abandoned", "_call", "_found")

    def __init__(self, call: partial[int]) -> None:
        self._call = call
        self._found: list[int] = []
        self._abandoned = False

    def open(self) -> None:
        """Any OS thread."""
        self._found.append(self._call())
        if self._abandoned:
            self._drop()

    def take(self) -> int:
        """The descriptor, now the caller's."""
        return self._found.pop()

    def abandon(self) -> None:
        """Nobody will take it."""
        self._abandoned = True
        self._drop()

    def _drop(self) -> None:
        try:
            fd = self._found.pop()  # one of two OS threads gets it
        except IndexError:
            return
        originals.close(fd)
