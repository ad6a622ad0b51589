"""``_socket.socket``: all that is taken over of it, each part made with what it needs."""

from __future__ import annotations

from collections.abc import Callable

from ..base import Patch, Runtime
from . import accept, connect, lifetime, mode, receive, send, sharing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]


def patches(
    runtime: Runtime, modes: mode.SocketMode, resolve: Callable[[Any, Any], Any]
) -> list[Patch]:
    """The rows of the class; ``resolve(sock, address)`` looks a socket's host name up."""
    receiver = receive.Receiver(runtime, modes)
    return [
        *mode.patches(modes),
        *sharing.patches(modes.sharing),
        *lifetime.patches(runtime, modes),
        *accept.patches(runtime, modes, receiver),
        *connect.patches(runtime, modes, resolve),
        *receive.patches(receiver),
        *send.patches(runtime, modes, resolve),
    ]
