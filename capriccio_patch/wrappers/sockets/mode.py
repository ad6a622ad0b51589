"""What a socket is to the program: its timeout, its lifetime, the record of its descriptor.

1. The descriptor's O_NONBLOCK is what stock would have set: off for a blocking socket, on for one
   with a timeout.  Blocking sockets are tried with MSG_DONTWAIT, so nothing is ever flipped behind
   the back of a child process or of ``os.get_blocking``.
2. With a timeout set the C object would wait in poll(2) itself, so its own timeout is 0 and the
   program's is kept in ``timeouts`` (by the object's address; each socket object passes through
   ``__init__``, which clears what an earlier object left at that address).
3. Whatever C object comes to stand for a descriptor voids what was known of that number.

An OS thread that is not the scheduler's may use the same sockets: where the C timeout is not the
program's, `outside` waits in poll(2) in its stead.
"""

from __future__ import annotations

import _socket
import struct
from collections.abc import Callable
from typing import Any

from ...contracts.descriptor import Descriptor
from ...cpython import originals
from ...io.wait_ready import wait_ready
from ..base import Existing, Patch, Runtime

__all__ = ["SocketMode"]

_MISSING: Any = object()
_STREAMS = (getattr(_socket, "AF_INET", None), getattr(_socket, "AF_INET6", None))
_TCP = (0, getattr(_socket, "IPPROTO_TCP", 6))
_LINGER = (_socket.SOL_SOCKET, _socket.SO_LINGER, 8)
_AT_ONCE = (struct.pack("ii", 0, 0), struct.pack("ii", 1, 0))


class SocketMode:
    """The program's timeouts and the descriptors' records, for `connect` and `transfer`."""

    def __init__(self, runtime: Runtime) -> None:
        self._kernel = runtime.kernel
        self._descriptors = runtime.descriptors
        self._call_alone = runtime.workers.call_alone
        self.timeouts: dict[int, float | None] = {}
        """By id of a socket whose C timeout is 0: the program's (None: it blocks)."""

    def timeout(self, sock: Any) -> float | None:
        """The program's timeout in seconds: None blocks for ever, 0 never."""
        value = self.timeouts.get(id(sock), _MISSING)
        if value is _MISSING:
            value = originals.socket_gettimeout(sock)
        return value  # type: ignore[no-any-return]

    def deadline(self, timeout: float | None) -> float | None:
        """When a wait that begins now has to end, in seconds of the kernel's clock."""
        return None if timeout is None else self._kernel.clock() + timeout

    @property
    def existing(self) -> Existing:
        """What is done with sockets that exist already."""
        return Existing(originals.SocketType, self.emulate, self.release)

    def emulate(self, sock: Any) -> None:
        """Take a timeout that was set in C over from there."""
        timeout = originals.socket_gettimeout(sock)
        if timeout and originals.socket_fileno(sock) >= 0:
            originals.socket_settimeout(sock, 0.0)
            self.timeouts[id(sock)] = timeout
        else:
            self.timeouts.pop(id(sock), None)

    def release(self, sock: Any) -> None:
        """Give the timeout back to C, as far as it is emulated."""
        timeout = self.timeouts.pop(id(sock), _MISSING)
        if timeout is not _MISSING and originals.socket_fileno(sock) >= 0:
            originals.socket_settimeout(sock, timeout)

    def opened(self, sock: Any) -> Descriptor | None:
        """The record of a socket whose descriptor is new to us; None for a closed one."""
        fd = originals.socket_fileno(sock)
        if fd < 0:
            return None
        exact = (
            originals.socket_family(sock) in _STREAMS
            and originals.socket_type(sock) == _socket.SOCK_STREAM
            and originals.socket_proto(sock) in _TCP
        )
        return self._descriptors.opened(fd, owned=True, exact=exact)

    def outside(
        self, sock: Any, call: Callable[..., Any], args: tuple[Any, ...], event: int
    ) -> Any:
        """``call(*args)`` on an OS thread of the program's own, waiting as the C object would."""
        timeout = self.timeouts.get(id(sock), _MISSING)
        if timeout is _MISSING:
            return call(*args)
        deadline = self.deadline(timeout)
        while True:
            try:
                return call(*args)
            except BlockingIOError:
                if not self.wait_outside(sock, event, deadline):
                    raise TimeoutError("timed out") from None

    def wait_outside(self, sock: Any, event: int, deadline: float | None) -> bool:
        """Block this OS thread until the socket is ready; False when `deadline` has passed."""
        left = None if deadline is None else max(0.0, deadline - self._kernel.clock())
        return wait_ready(originals.socket_fileno(sock), event, left)

    def patches(self) -> list[Patch]:
        """The rows for modes and lifetime."""
        mode = self
        kernel = self._kernel
        descriptors = self._descriptors
        timeouts = self.timeouts
        original_init = originals.socket_init
        original_close = originals.socket_close
        original_detach = originals.socket_detach
        fileno = originals.socket_fileno

        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            original_init(self, *args, **kwargs)
            timeouts.pop(id(self), None)
            if originals.socket_gettimeout(self):
                mode.emulate(self)  # the default timeout
            mode.opened(self)

        def settimeout(self: Any, value: Any, /) -> None:
            originals.socket_settimeout(self, value)
            mode.emulate(self)

        def setblocking(self: Any, flag: Any, /) -> None:
            originals.socket_setblocking(self, flag)
            timeouts.pop(id(self), None)

        def gettimeout(self: Any) -> float | None:
            return mode.timeout(self)

        def getblocking(self: Any) -> bool:
            return mode.timeout(self) != 0

        def close(self: Any) -> None:
            timeouts.pop(id(self), None)
            descriptors.close(fileno(self), close_now, self)

        def close_now(sock: Any) -> None:
            if len(kernel.threads) > 1 and lingers(sock) and kernel.is_mine():
                number = original_detach(sock)
                mode._call_alone(originals.close, number)
            else:
                original_close(sock)

        def lingers(sock: Any) -> bool:
            """Whether closing waits until what was sent has arrived (SO_LINGER)."""
            try:
                return originals.socket_getsockopt(sock, *_LINGER) not in _AT_ONCE
            except OSError:
                return False

        def detach(self: Any) -> int:
            mode.release(self)
            return int(original_detach(self))

        def close_number(fd: Any, /) -> None:
            number = fd if isinstance(fd, int) else -1
            descriptors.close(number, originals.socket_close_number, fd)

        return [
            Patch("socket", "_socket", "socket.__init__", init),
            Patch("socket", "_socket", "socket.settimeout", settimeout),
            Patch("socket", "_socket", "socket.setblocking", setblocking),
            Patch("socket", "_socket", "socket.gettimeout", gettimeout),
            Patch("socket", "_socket", "socket.getblocking", getblocking),
            Patch("socket", "_socket", "socket.timeout", property(gettimeout)),
            Patch("socket", "_socket", "socket.close", close),
            Patch("socket", "_socket", "socket.detach", detach),
            Patch("socket", "_socket", "close", close_number),
        ]
