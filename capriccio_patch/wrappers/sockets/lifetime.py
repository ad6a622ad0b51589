"""``_socket.socket``: from the making of a socket to its end.

1. The C object that comes to stand for a descriptor voids what was known of that number.
2. All who wait for a descriptor learn that it is closed (`Descriptors.close`).
3. A close that waits until what was sent has arrived (SO_LINGER) is made on an OS thread.
"""

from __future__ import annotations

from ...cpython import originals
from ..base import Patch, Runtime
from .mode import SocketMode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]


def patches(runtime: Runtime, mode: SocketMode) -> list[Patch]:
    """The rows of this module."""
    kernel = runtime.kernel
    descriptors = runtime.descriptors
    timeouts = mode.timeouts
    lingers = mode.kernel_timeouts.lingers
    original_init = originals.socket_init
    original_close = originals.socket_close
    original_detach = originals.socket_detach
    fileno = originals.socket_fileno

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original_init(self, *args, **kwargs)
        timeouts.pop(id(self), None)
        if originals.socket_gettimeout(self):
            mode.emulate(self)  # the default timeout
        d = mode.opened(self)
        number = args[3] if len(args) > 3 else kwargs.get("fileno")
        if number is None:
            if d is not None:
                d.private = True
        elif number != mode.accepted:
            mode.kernel_timeouts.look(self)

    def close(self: Any) -> None:
        timeouts.pop(id(self), None)
        descriptors.close(fileno(self), close_now, self)

    def close_now(sock: Any) -> None:
        if lingers(sock) and len(kernel.threads) > 1 and kernel.is_mine():
            number = original_detach(sock)
            runtime.workers.call_alone(originals.close, number)
        else:
            original_close(sock)

    def detach(self: Any) -> int:
        mode.release(self)
        return int(original_detach(self))

    def close_number(fd: Any, /) -> None:
        number = fd if isinstance(fd, int) else -1
        descriptors.close(number, originals.socket_close_number, fd)

    return [
        Patch("socket", "_socket", "socket.__init__", init),
        Patch("socket", "_socket", "socket.close", close),
        Patch("socket", "_socket", "socket.detach", detach),
        Patch("socket", "_socket", "close", close_number),
    ]
