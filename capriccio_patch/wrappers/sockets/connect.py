"""``_socket.socket``: connecting and binding.

connect(2) has no flag for not waiting, so for the length of that call a blocking socket that is
private (`sharing`) is made non-blocking.  Any other is connected on an OS thread.

A connect(2) to a listener of this machine is complete when it returns, and what it came to is
looked at before anybody else runs: the listener may accept and reset the connection, which is for
the next call to tell.  A listener of this process has yet to run, and its queue is short: so those
whom descriptors wake run before the next one connects (`Kernel.poll_before_next`).  One that is
another kernel's may have reset it by then: TCP tells whether the peer has ever answered.

Names are resolved on worker threads, because the C methods would do it themselves and block.
"""

from __future__ import annotations

import _socket
import errno
import sys
from collections.abc import Callable
from os import strerror

from ...contracts.descriptor import ERR, WRITE, Descriptor
from ...cpython import originals
from ...io.wait_ready import events_of, wait_ready
from ..base import Patch, Runtime
from .mode import SocketMode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_TCP_INFO = getattr(_socket, "TCP_INFO", -1) if sys.platform == "linux" else -1
_ANSWERED = slice(120, 128)
"""``tcpi_bytes_acked`` of Linux: how much the peer has acknowledged, of which the SYN is one."""


class Connector:
    """Connects, parking where connect(2) would block."""

    def __init__(
        self, runtime: Runtime, mode: SocketMode, resolve: Callable[[Any, Any], Any]
    ) -> None:
        self._kernel = runtime.kernel
        self._mode = mode
        self._resolve = resolve
        self._call_alone = runtime.workers.call_alone
        self._descriptors = runtime.descriptors
        self._is_only = len(runtime.kernel.all()) == 1

    def connect(self, sock: Any, address: Any) -> None:
        """As the method ``connect``."""
        original = originals.socket_connect
        if not self._kernel.is_mine():
            return self._mode.with_timeout(sock, original, address)  # type: ignore[no-any-return]
        address = self._resolve(sock, address)
        if self._mode.timeout(sock) == 0:
            return self._connect_now(original, sock, address)  # type: ignore[no-any-return]
        error: int | None
        try:
            error = self._connect(sock, address)
        except (OverflowError, TypeError):
            error = None
        if error is None:
            # An address that it refuses, naming the method in its message.
            return original(sock, address)  # type: ignore[no-any-return]
        if error:
            raise OSError(error, strerror(error))
        return None

    def connect_ex(self, sock: Any, address: Any) -> int:
        """As the method ``connect_ex``."""
        original = originals.socket_connect_ex
        if not self._kernel.is_mine():
            return int(self._mode.with_timeout(sock, original, address))
        address = self._resolve(sock, address)
        if self._mode.timeout(sock) == 0:
            return int(self._connect_now(original, sock, address))
        try:
            return self._connect(sock, address)
        except TimeoutError:
            return errno.EWOULDBLOCK

    def bind(self, sock: Any, address: Any) -> None:
        """As the method ``bind``."""
        if self._kernel.is_mine():
            address = self._resolve(sock, address)
        originals.socket_bind(sock, address)

    def _connect_now(self, original: Callable[..., Any], sock: Any, address: Any) -> Any:
        try:
            return original(sock, address)
        finally:
            self._kernel.yield_after_calls()

    def _connect(self, sock: Any, address: Any) -> int:
        """The error number of a connect that may wait; TimeoutError when its time is up."""
        mode = self._mode
        original = originals.socket_connect_ex
        timeout = mode.timeout(sock)
        d = self._descriptors.get(originals.socket_fileno(sock)) or mode.found(sock)
        if d is None or not mode.sharing.is_private(d):
            error = int(self._call_alone(mode.with_timeout, sock, original, address))
            if error == errno.EWOULDBLOCK and timeout is not None:
                raise TimeoutError("timed out")
            return error
        error = int(mode.without_waiting(sock, original, address))
        if error == errno.EAGAIN and timeout is None:
            # A UNIX socket whose peer's queue is full can't be polled for room.
            return int(self._call_alone(mode.with_timeout, sock, original, address))
        if error not in (errno.EINPROGRESS, errno.EINTR):
            self._kernel.yield_after_calls()
            return error
        is_over = wait_ready(originals.socket_fileno(sock), WRITE, 0)
        if is_over:
            error = self._outcome(sock, address)
        self._kernel.poll_before_next()
        try:
            if not self._wait(sock, d, mode.deadline_of(sock, WRITE)) and not is_over:
                return errno.EBADF
        except BlockingIOError:
            return errno.EINPROGRESS
        return error if is_over else self._outcome(sock, address)

    def _outcome(self, sock: Any, address: Any) -> int:
        """The error number of a connect that is over."""
        if not self._is_only and _was_made(sock):
            return 0
        error = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if not error and self._mode.timeout(sock) is None:
            # The second call of an asynchronous connect makes the state that of a blocking one.
            error = int(originals.socket_connect_ex(sock, address))
        return 0 if error == errno.EISCONN else int(error)

    def _wait(self, sock: Any, d: Descriptor, deadline: float | None) -> bool:
        """Until the connection is made or refused; False if the socket is closed meanwhile.

        Raises as `SocketMode.expire` when `deadline` has passed.
        """
        descriptors = self._descriptors
        again = False
        while True:
            if not descriptors.wait_write(d, deadline, again):
                self._mode.expire(sock)
            again = True
            fd = originals.socket_fileno(sock)
            if fd < 0:
                return False
            if wait_ready(fd, WRITE, 0):
                descriptors.pass_on_write(d)
                return True


def _was_made(sock: Any) -> bool:
    """Whether a connection has been reset that was made: its error is not asked for, which would
    take it from the next call."""
    if not events_of(originals.socket_fileno(sock), WRITE) & ERR:
        return False
    try:
        told = sock.getsockopt(_socket.IPPROTO_TCP, _TCP_INFO, _ANSWERED.stop)
    except OSError:
        return False
    return any(told[_ANSWERED])


def patches(runtime: Runtime, mode: SocketMode, resolve: Callable[[Any, Any], Any]) -> list[Patch]:
    """The rows of this module; ``resolve(sock, address)`` looks the host name up."""
    connector = Connector(runtime, mode, resolve)

    def connect(self: Any, address: Any, /) -> None:
        return connector.connect(self, address)

    def connect_ex(self: Any, address: Any, /) -> int:
        return connector.connect_ex(self, address)

    def bind(self: Any, address: Any, /) -> None:
        return connector.bind(self, address)

    rows = [connect, connect_ex, bind]
    return [Patch("socket", "_socket", f"socket.{row.__name__}", row) for row in rows]
