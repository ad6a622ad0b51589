"""The socket at which a program answers `ps`: where it lies, who may ask, what is said.

A request is one line, the answer is everything until the end: JSON, or a line that begins with
``error``.  One asker at a time, and none for longer than `_PATIENCE` seconds.

1. The directory is made with mode 0700; one that is somebody else's, or open to others, is refused.
2. A socket of a process that has gone is replaced; anything else in its place is left alone, and an
   error.

`directory` and `path_of` may be called anywhere; a `Listener` belongs to the service's OS thread.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable

from ..cpython import originals
from ..io.reserved import Own, above_standard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Listener", "directory", "path_of", "peer_uid", "write_all"]

_PATIENCE = 5.0
_LONGEST = 256
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1


def directory() -> str:
    """Where the sockets of this user's programs lie."""
    parent = os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/capriccio_patch-{os.getuid()}"
    return parent if parent.startswith("/tmp/capriccio") else f"{parent}/capriccio_patch"


def path_of(pid: int) -> str:
    """Where the socket of a process lies."""
    return f"{directory()}/{pid}"


def _made_directory() -> str:
    """The directory, safe to open a socket in.  OSError if there can be none."""
    path = directory()
    try:
        originals.mkdir(path, 0o700)
    except FileExistsError:
        pass
    found = originals.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "not a directory of this user's alone", path)
    return path


def peer_uid(connection: Any) -> int | None:
    """The user at the other end of a UNIX socket; None where the system does not tell."""
    import _socket

    try:
        if hasattr(_socket, "SO_PEERCRED"):
            found = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
            return int(struct.unpack("3i", found)[1])
        found = connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 76)
        return int(struct.unpack_from("II", found)[1])
    except (OSError, struct.error):
        return None


class Listener:
    """A socket at which questions come in."""

    __slots__ = ("_answer", "_own", "_path", "_pid")

    def __init__(self, answer: Callable[[str], str]) -> None:
        """``answer(request)`` returns what is sent; it may take a while."""
        self._answer = answer
        self._own: Own | None = None
        self._path = ""
        self._pid = 0

    @property
    def fd(self) -> int:
        """The listening descriptor."""
        assert self._own is not None
        return self._own.fd

    def open(self) -> None:
        """Listen.  OSError if that can't be done."""
        import _socket

        _made_directory()
        self._pid = os.getpid()
        self._path = path_of(self._pid)
        listener: Any = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            try:
                listener.bind(self._path)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or not _is_socket(self._path):
                    raise
                # A process that had this number has gone without a word: it is this one's now.
                originals.unlink(self._path)
                listener.bind(self._path)
            listener.listen(8)
            self._own = Own(above_standard(listener.detach()))
        except BaseException:
            listener.close()
            raise

    def close(self) -> None:
        """Listen no more."""
        if self._own is not None:
            originals.close(self._own.release())
            self._own = None
            if self._pid == os.getpid():
                try:
                    originals.unlink(self._path)
                except OSError:
                    pass  # somebody has cleaned up

    def forked(self) -> None:
        """In a child: the socket is the parent's."""
        if self._own is not None:
            originals.close(self._own.release())
            self._own = None

    def answer(self) -> None:
        """Take one question, and answer it."""
        import _socket

        listener: Any = _socket.socket(fileno=self.fd)
        try:
            fd, _ = originals.socket_accept(listener)
        except OSError:
            return
        finally:
            listener.detach()
        connection: Any = _socket.socket(fileno=fd)
        try:
            self._answer_at(connection)
        except OSError:
            pass  # the asker has gone
        finally:
            connection.close()

    def _answer_at(self, connection: Any) -> None:
        connection.settimeout(_PATIENCE)
        request = b""
        while not request.endswith(b"\n") and len(request) < _LONGEST:
            part = connection.recv(_LONGEST)
            if not part:
                break
            request += part
        # Not earlier: what is sent before all is read would be lost when the socket is closed.
        if peer_uid(connection) not in (None, 0, os.getuid()):
            connection.sendall(b"error: this program is another user's\n")
            return
        try:
            text = self._answer(request.decode("utf-8", "replace").strip())
        except Exception as error:
            text = f"error: {error!r}\n"
        connection.sendall(text.encode("utf-8", "replace"))


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(originals.lstat(path).st_mode)
    except OSError:
        return False


def write_all(fd: int, text: str) -> None:
    """Write a text to a descriptor, as far as it takes it.  Any OS thread but the scheduler's."""
    data = text.encode("utf-8", "replace")
    while data:
        try:
            data = data[originals.write(fd, data) :]
        except BlockingIOError:
            assert originals.poll is not None  # else nobody would write here
            poller = originals.poll()
            poller.register(fd, 4)
            originals.poll_poll(poller, _PATIENCE * 1000)
        except OSError:
            return  # closed: nobody is left to be told
