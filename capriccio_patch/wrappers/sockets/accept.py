"""``_socket.socket``: accepting.

accept(2) has no flag for not waiting, so for the length of that call a blocking listener is made
non-blocking (`SocketMode.without_waiting`).
"""

from __future__ import annotations

from typing import Any

from ...contracts.descriptor import READ
from ...cpython import originals
from ..base import Patch, Runtime
from .mode import SocketMode
from .receive import DONTWAIT, Receiver

__all__ = ["patches"]


def patches(runtime: Runtime, mode: SocketMode, receiver: Receiver) -> list[Patch]:
    """The row of this module."""
    kernel = runtime.kernel
    record_of = runtime.descriptors.get
    original = originals.socket_accept

    def accept_now(sock: Any, flags: int) -> Any:
        return mode.without_waiting(sock, original) if flags & DONTWAIT else original(sock)

    def accept(self: Any) -> Any:
        if not kernel.is_mine():
            return mode.outside(self, original, (self,), READ)
        d = record_of(originals.socket_fileno(self)) or mode.opened(self)
        if d is None or mode.timeout(self) == 0:
            try:
                return original(self)
            finally:
                kernel.yield_after_calls()
        d.listens = True
        accepted = receiver.take(self, d, accept_now, (self, DONTWAIT), 0)
        mode.accepted = accepted[0]
        return accepted

    return [Patch("socket", "_socket", "socket._accept", accept)]
