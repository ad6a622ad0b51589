"""``_socket.socket``: accept, connect and bind; modes and transfers are in two files of their own.

accept(2) and connect(2) have no flag for not waiting, so for the length of that call a blocking
socket is made non-blocking.  Nobody in this process runs meanwhile but OS threads of the program.

Names are resolved on worker threads, because the C methods would do it themselves and block.
"""

from __future__ import annotations

import _socket
import errno
from collections.abc import Callable
from os import strerror
from typing import Any

from ...contracts.descriptor import READ, WRITE
from ...cpython import originals
from ...io.wait_ready import wait_ready
from ..base import Patch, Runtime
from . import transfer
from .mode import SocketMode

__all__ = ["patches"]


def patches(runtime: Runtime, mode: SocketMode, resolve: Callable[[Any, Any], Any]) -> list[Patch]:
    """The rows of this module; ``resolve(sock, address)`` looks the host name up."""
    return [
        *mode.patches(),
        *transfer.patches(runtime, mode, resolve),
        *_accept_patches(runtime, mode),
        *_connect_patches(runtime, mode, resolve),
    ]


def _accept_patches(runtime: Runtime, mode: SocketMode) -> list[Patch]:
    kernel = runtime.kernel
    record_of = runtime.descriptors.get
    wait_read = runtime.descriptors.wait_read
    pass_on = runtime.descriptors.pass_on
    original = originals.socket_accept

    def accept(self: Any) -> Any:
        if not kernel.is_mine():
            return mode.outside(self, original, (self,), READ)
        timeout = mode.timeout(self)
        d = record_of(originals.socket_fileno(self)) or mode.opened(self)
        if timeout == 0 or d is None:
            return original(self)
        d.listens = True
        deadline = mode.deadline(timeout)
        again = False
        while True:
            if (not d.can_read or again) and not wait_read(d, deadline, again):
                raise TimeoutError("timed out")
            d.can_read = False
            try:
                accepted = _call_without_waiting(mode, self, original)
            except BlockingIOError:
                again = True
                continue
            except BaseException:
                pass_on(d)
                raise
            pass_on(d)
            return accepted

    return [Patch("socket", "_socket", "socket._accept", accept)]


def _connect_patches(
    runtime: Runtime, mode: SocketMode, resolve: Callable[[Any, Any], Any]
) -> list[Patch]:
    kernel = runtime.kernel
    record_of = runtime.descriptors.get
    original_connect = originals.socket_connect
    original_connect_ex = originals.socket_connect_ex
    original_bind = originals.socket_bind

    def connect(self: Any, address: Any, /) -> None:
        if not kernel.is_mine():
            return connect_outside(self, original_connect, address)  # type: ignore[no-any-return]
        address = resolve(self, address)
        if mode.timeout(self) == 0:
            return original_connect(self, address)  # type: ignore[no-any-return]
        error: int | None
        try:
            error = connect_waiting(self, address)
        except (OverflowError, TypeError):
            error = None
        if error is None:
            # An address that it refuses, naming the method in its message.
            return original_connect(self, address)  # type: ignore[no-any-return]
        if error:
            raise OSError(error, strerror(error))
        return None

    def connect_ex(self: Any, address: Any, /) -> int:
        if not kernel.is_mine():
            return int(connect_outside(self, original_connect_ex, address))
        address = resolve(self, address)
        if mode.timeout(self) == 0:
            return int(original_connect_ex(self, address))
        try:
            return connect_waiting(self, address)
        except TimeoutError:
            return errno.EWOULDBLOCK

    def connect_waiting(sock: Any, address: Any) -> int:
        """The error number of a connect that may wait; TimeoutError when its time is up."""
        timeout = mode.timeout(sock)
        error = int(_call_without_waiting(mode, sock, original_connect_ex, address))
        if error == errno.EAGAIN and timeout is None:
            # A UNIX socket whose peer's queue is full can't be polled for room.
            return int(
                runtime.workers.call_alone(connect_outside, sock, original_connect_ex, address)
            )
        if error not in (errno.EINPROGRESS, errno.EINTR):
            return error
        d = record_of(originals.socket_fileno(sock)) or mode.opened(sock)
        if d is None:
            return errno.EBADF
        deadline = mode.deadline(timeout)
        again = False
        while True:
            if not runtime.descriptors.wait_write(d, deadline, again):
                raise TimeoutError("timed out")
            again = True
            fd = originals.socket_fileno(sock)
            if fd < 0:
                return errno.EBADF
            if wait_ready(fd, WRITE, 0):
                break
        runtime.descriptors.pass_on_write(d)
        error = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if not error and timeout is None:
            # The second call of an asynchronous connect makes the state that of a blocking one.
            error = int(original_connect_ex(sock, address))
        return 0 if error == errno.EISCONN else error

    def connect_outside(sock: Any, call: Callable[..., Any], address: Any) -> Any:
        """With the program's timeout given back to C for the length of the call."""
        if id(sock) not in mode.timeouts:
            return call(sock, address)
        originals.socket_settimeout(sock, mode.timeouts[id(sock)])
        try:
            return call(sock, address)
        finally:
            originals.socket_settimeout(sock, 0.0)

    def bind(self: Any, address: Any, /) -> None:
        if kernel.is_mine():
            address = resolve(self, address)
        original_bind(self, address)

    return [
        Patch("socket", "_socket", "socket.connect", connect),
        Patch("socket", "_socket", "socket.connect_ex", connect_ex),
        Patch("socket", "_socket", "socket.bind", bind),
    ]


def _call_without_waiting(mode: SocketMode, sock: Any, call: Callable[..., Any], *args: Any) -> Any:
    """``call(sock, *args)`` with O_NONBLOCK set for that moment."""
    if id(sock) in mode.timeouts:
        return call(sock, *args)
    originals.socket_settimeout(sock, 0.0)
    try:
        return call(sock, *args)
    finally:
        if originals.socket_fileno(sock) >= 0:
            originals.socket_settimeout(sock, None)
