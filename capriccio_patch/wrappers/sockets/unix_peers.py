"""Room at the peer of a UNIX datagram socket.

Facts: the queue of such a socket is short (net.unix.max_dgram_qlen), and a sendto(2) to one that is
full waits for its reader.  poll(2) counts that queue for the peer that a socket is connected to,
and for no other: a socket that is not connected is writable although the next datagram would wait.

Decision: a socket of our own is connected to the address, and polled for room.

Cost: five system calls for a wait, while there is nothing else to do.
"""

from __future__ import annotations

import _socket

from ...contracts.descriptor import WRITE
from ...cpython import originals
from ..base import Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["AF_UNIX", "UnixPeers"]

AF_UNIX = getattr(_socket, "AF_UNIX", None)


class UnixPeers:
    """Waits for room at addresses."""

    def __init__(self, runtime: Runtime) -> None:
        self._descriptors = runtime.descriptors
        self._kernel = runtime.kernel

    def wait_for_room(self, address: Any, deadline: float | None) -> bool:
        """Park until the socket at `address` may have room, or is gone; False when `deadline`
        passed.  OSError when there are no descriptors left.  Green threads only.
        """
        probe = originals.SocketType.__new__(originals.SocketType)
        originals.socket_init(probe, AF_UNIX, _socket.SOCK_DGRAM)
        fd = originals.socket_fileno(probe)
        try:
            if originals.socket_connect_ex(probe, address):
                return True  # the next try meets the error
            return self._descriptors.observe({fd: WRITE}, deadline)
        finally:
            self._descriptors.close(fd, originals.socket_close, probe)
