"""What C is told of sockets and files: the objects it looks into, and what Python keeps of them.

A subject whose parts C does not know stays Python's; the reason is returned.  Main OS thread.
"""

from __future__ import annotations

import os
from io import FileIO
from types import FunctionType

from ..contracts.descriptor import Descriptor
from ..cpython import originals
from ..cpython.modules import standard
from ..io.buffers import as_bytes
from ..io.waits import Waits
from ..wrappers.base import Runtime
from ..wrappers.files.pollable import Streams
from ..wrappers.sockets.mode import SocketMode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["SUBJECTS", "bind", "bind_listeners", "bind_waits"]

SUBJECTS = {"socket": "sockets", "file": "files", "os": "files", "opening": "opening"}
"""Which subject a function of C belongs to, by the first word of its name."""

_TIMEOUT = 1.5
_INIT = (
    ("AF_INET", "SOCK_STREAM", "_socket", "socket", "__init__", "_io_refs", "_closed"),
    (-1, -1, -1, None),
)
_REAL_CLOSE = ("close",), (originals.SocketType,)
"""Methods of ``socket.socket``, as the standard library has them: the names in their code, and the
defaults of their arguments."""


def bind_waits(core: Any, waits: Waits) -> None:
    """Have C wait for descriptors as `waits` does."""
    slow = {
        "wait_read": waits.wait_read,
        "wait_write": waits.wait_write,
        "arm": waits.arm,
        "left": waits.left,
    }
    core.bind("waits", {"Descriptor": Descriptor, "table": waits.table}, slow)


def bind(core: Any, runtime: Runtime, mode: SocketMode) -> dict[str, str]:
    """Have C work on sockets and files; returns by subject why one of them stays Python's."""
    left = {}
    try:
        _bind_sockets(core, mode)
        _bind_connections(core, runtime, mode)
    except (OSError, SystemError) as error:
        left["sockets"] = str(error)
    if not runtime.disk.backend.try_flags:
        left["files"] = left["opening"] = "the disk scheme wants to be asked"
        return left
    try:
        _bind_files(core, runtime)
    except (OSError, SystemError) as error:
        left["files"] = left["opening"] = str(error)
        return left
    try:
        _bind_opening(core)
    except SystemError as error:
        left["opening"] = str(error)
    return left


def _bind_sockets(core: Any, mode: SocketMode) -> None:
    """C looks at two sockets, and what their objects must say."""
    import _socket  # `socket` may be the program's own

    objects: dict[str, Any] = {"timeouts": mode.timeouts, "kernel_timeouts": mode.kernel_timeouts}
    kinds = ((_socket.AF_INET, _socket.SOCK_STREAM), (_socket.AF_UNIX, _socket.SOCK_DGRAM))
    made = []
    try:
        for (family, kind), timeout in zip(kinds, (_TIMEOUT, None), strict=True):
            sock = originals.SocketType.__new__(originals.SocketType)
            originals.socket_init(sock, family, kind, 0)
            made.append(sock)
            originals.socket_settimeout(sock, timeout)
        objects["samples"] = tuple(
            (sock, originals.socket_fileno(sock), family, kind, 0, nanoseconds)
            for sock, (family, kind), nanoseconds in zip(
                made, kinds, (int(_TIMEOUT * 1e9), -(10**9)), strict=True
            )
        )
        core.bind("sockets", objects, {})
    finally:
        for sock in made:
            originals.socket_close(sock)


def _bind_connections(core: Any, runtime: Runtime, mode: SocketMode) -> None:
    def look(sock: Any) -> None:
        if originals.socket_fileno(sock) != mode.accepted:
            mode.kernel_timeouts.look(sock)

    objects = {
        "Descriptor": Descriptor,
        "sample": Descriptor(-1, owned=True),
        "init": originals.socket_init,
        "close": originals.socket_close,
    }
    slow = {
        "opened": mode.opened,
        "emulate": mode.emulate,
        "look": look,
        "closed": runtime.descriptors.closed,
    }
    core.bind("connections", objects, slow)


def bind_listeners(core: Any) -> None:
    """``socket`` was imported."""
    module = standard("socket")
    cls: Any = module.socket
    objects = {
        "socket": cls,
        "base": originals.SocketType,
        "globals": vars(module),
        "getdefaulttimeout": module.getdefaulttimeout,
        "init": _as_known(cls.__init__, _INIT),
        "real_close": _as_known(cls._real_close, _REAL_CLOSE),
    }
    core.bind("listeners", objects, {})


def _as_known(function: Any, known: tuple[Any, ...]) -> Any:
    """A function of ``socket.socket``; None if it is not the one that C knows."""
    if type(function) is not FunctionType:
        return None
    return function if (function.__code__.co_names, function.__defaults__) == known else None


def _bind_files(core: Any, runtime: Runtime) -> None:
    disk = runtime.disk
    streams = Streams(runtime)
    sample: Any = FileIO.__new__(FileIO)
    fd, other = os.pipe()

    def fill(fd: int, buffer: Any, count: int) -> int:
        return disk.fill(fd, as_bytes(buffer), count)

    def write_rest(fd: int, data: Any, done: int) -> int:
        return streams.write_rest(fd, memoryview(data).cast("B"), done)

    try:
        originals.fileio_init(sample, fd, "rb", False)
        methods = (originals.fileio_readable, originals.fileio_seekable)
        objects = {
            "sample": (sample, fd, *methods),
            "synchronous": disk.synchronous,
            "mounts": disk.mounts.known,
            "read": originals.fileio_read,
        }
        slow = {
            "record": runtime.descriptors.record,
            "read_elsewhere": disk.read_elsewhere,
            "fill": fill,
            "write_rest": write_rest,
        }
        core.bind("files", objects, slow)
        core.bind("descriptors", objects, slow)
    finally:
        originals.close(fd)
        originals.close(other)


def _bind_opening(core: Any) -> None:
    objects = {
        "init": originals.fileio_init,
        "close": originals.fileio_close,
        "writable": originals.fileio_writable,
    }
    core.bind("opening", objects, {})
