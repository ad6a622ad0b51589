"""SO_RCVTIMEO, SO_SNDTIMEO and SO_LINGER: how long the kernel lets a blocking call, or close, wait.

They belong to the socket, which other descriptors and processes may stand for too, so the kernel is
asked at each wait, and at each close; but only once something in the process has set one, or a
socket has come from elsewhere with one.  A call that waits ends with EAGAIN then.
"""

from __future__ import annotations

import _socket
import struct
import sys

from ...contracts.descriptor import READ, WRITE
from ...cpython import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["KernelTimeouts"]

_OF_EVENT = {READ: _socket.SO_RCVTIMEO, WRITE: _socket.SO_SNDTIMEO}
_OPTIONS = {*_OF_EVENT.values(), *((66, 67) if sys.platform == "linux" else ())}
"""With those of Linux for a time of 64 bits on any machine."""
_LINGER = (_socket.SOL_SOCKET, _socket.SO_LINGER)
_AT_ONCE = (struct.pack("ii", 0, 0), struct.pack("ii", 1, 0))
_TIMEVAL = struct.Struct("@ll" if sys.platform == "linux" else "@li")


class KernelTimeouts:
    """What is known of these options in this process."""

    __slots__ = ("in_use", "some_linger")

    def __init__(self) -> None:
        self.in_use = False
        """Whether any socket may have one of the first two."""
        self.some_linger = False
        """Whether any socket may have the third."""

    def was_set(self, level: Any, option: Any) -> None:
        """The program has set an option of a socket."""
        if level != _socket.SOL_SOCKET:
            return
        if option in _OPTIONS:
            self.in_use = True
        elif option == _socket.SO_LINGER:
            self.some_linger = True

    def look(self, sock: Any) -> None:
        """A socket has come from elsewhere.  Any OS thread."""
        if not self.in_use and any(self._read(sock, event) for event in _OF_EVENT):
            self.in_use = True
        if not self.some_linger:
            self.some_linger = _lingers(sock)

    def lingers(self, sock: Any) -> bool:
        """Whether closing it waits until what was sent has arrived (SO_LINGER)."""
        return self.some_linger and _lingers(sock)

    def of(self, sock: Any, event: int) -> float | None:
        """Seconds that the kernel would let a call wait for `event`; None: for ever."""
        return (self._read(sock, event) or None) if self.in_use else None

    def of_number(self, fd: int, event: int) -> float | None:
        """As `of`, for a descriptor that may be no socket."""
        if not self.in_use:
            return None
        sock = originals.SocketType.__new__(originals.SocketType)
        try:
            originals.socket_init(sock, -1, -1, -1, fd)
        except OSError:
            return None
        try:
            return self.of(sock, event)
        finally:
            originals.socket_detach(sock)

    @staticmethod
    def _read(sock: Any, event: int) -> float:
        try:
            value = originals.socket_getsockopt(sock, _socket.SOL_SOCKET, _OF_EVENT[event], 16)
        except OSError:
            return 0.0  # closed, or of a family that has none
        seconds, microseconds = _TIMEVAL.unpack_from(value)
        return float(seconds + microseconds / 1e6)


def _lingers(sock: Any) -> bool:
    try:
        return originals.socket_getsockopt(sock, *_LINGER, 8) not in _AT_ONCE
    except OSError:
        return False
