"""What a socket is to the program: its timeout, and the record of its descriptor.

1. The descriptor's O_NONBLOCK is what stock would have set: off for a blocking socket, on for one
   with a timeout.  Blocking sockets are tried with MSG_DONTWAIT, so nothing is ever flipped behind
   the back of another process or of ``os.get_blocking``; but for the length of an accept(2) or a
   connect(2) while the socket is private (`sharing`).
2. With a timeout set the C object would wait in poll(2) itself, so its own timeout is 0 and the
   program's is kept in ``timeouts`` (by the object's address; each socket object passes through
   ``__init__``, which clears what an earlier object left at that address).

An OS thread that is not the scheduler's may use the same sockets: where the C timeout is not the
program's, `outside` waits in poll(2) in its stead.
"""

from __future__ import annotations

import _socket
import errno
from collections.abc import Callable
from os import strerror

from ...contracts.descriptor import Descriptor
from ...cpython import originals
from ...io.wait_ready import wait_ready
from ..base import Existing, Patch, Runtime
from .kernel_timeouts import KernelTimeouts
from .sharing import Sharing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = ["SocketMode", "patches"]

_MISSING: Any = object()
_STREAMS = (getattr(_socket, "AF_INET", None), getattr(_socket, "AF_INET6", None))
_TCP = (0, getattr(_socket, "IPPROTO_TCP", 6))


class SocketMode:
    """The program's timeouts and the descriptors' records, for all that waits for sockets."""

    def __init__(self, runtime: Runtime) -> None:
        self._kernel = runtime.kernel
        self._descriptors = runtime.descriptors
        self.timeouts: dict[int, float | None] = runtime.kernel.shared("timeouts", {})
        """By id of a socket whose C timeout is 0: the program's (None: it blocks)."""
        self.sharing = Sharing(runtime)
        self.accepted = -1
        """The descriptor that was accepted last, about which nothing is unknown."""
        self.kernel_timeouts: KernelTimeouts
        self.kernel_timeouts = runtime.kernel.shared("kernel timeouts", KernelTimeouts())
        runtime.descriptors.limit_of = self.kernel_timeouts.of_number

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
        return Existing(originals.SocketType, self._adopt, self.release)

    def _adopt(self, sock: Any) -> None:
        self.emulate(sock)
        self.kernel_timeouts.look(sock)

    def deadline_of(self, sock: Any, event: int) -> float | None:
        """When a wait for `event` that begins now has to end: by the program's timeout, or by the
        kernel's where that is None."""
        timeout = self.timeout(sock)
        if timeout is None:
            timeout = self.kernel_timeouts.of(sock, event)
        return self.deadline(timeout)

    def expire(self, sock: Any) -> NoReturn:
        """Raise what stock raises when the time of a wait is up."""
        if self.timeout(sock) is None:
            raise BlockingIOError(errno.EAGAIN, strerror(errno.EAGAIN))
        raise TimeoutError("timed out")

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
        """The record of a socket that is made; None for a closed one."""
        return self._record(sock, self._descriptors.opened)

    def found(self, sock: Any) -> Descriptor | None:
        """The record of a socket whose descriptor is new to this kernel; None for a closed one."""
        return self._record(sock, self._descriptors.found)

    def _record(self, sock: Any, made: Callable[..., Descriptor]) -> Descriptor | None:
        fd = originals.socket_fileno(sock)
        if fd < 0:
            return None
        exact = (
            originals.socket_family(sock) in _STREAMS
            and originals.socket_type(sock) == _socket.SOCK_STREAM
            and originals.socket_proto(sock) in _TCP
        )
        return made(fd, owned=True, exact=exact)

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

    def without_waiting(self, sock: Any, call: Callable[..., Any], *args: Any) -> Any:
        """``call(sock, *args)`` with O_NONBLOCK set for that moment; for private sockets.

        Nobody in this process runs meanwhile but OS threads of the program.
        """
        if id(sock) in self.timeouts or originals.socket_fileno(sock) < 0:
            return call(sock, *args)
        originals.socket_settimeout(sock, 0.0)
        try:
            return call(sock, *args)
        finally:
            if originals.socket_fileno(sock) >= 0:
                originals.socket_settimeout(sock, None)

    def with_timeout(self, sock: Any, call: Callable[..., Any], *args: Any) -> Any:
        """``call(sock, *args)`` with the program's timeout given back to C for that moment, on an
        OS thread that may wait."""
        if id(sock) not in self.timeouts:
            return call(sock, *args)
        originals.socket_settimeout(sock, self.timeouts[id(sock)])
        try:
            return call(sock, *args)
        finally:
            originals.socket_settimeout(sock, 0.0)


def patches(mode: SocketMode) -> list[Patch]:
    """The rows for modes."""
    timeouts = mode.timeouts

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

    def setsockopt(self: Any, *args: Any) -> None:
        originals.socket_setsockopt(self, *args)
        mode.kernel_timeouts.was_set(*args[:2])

    rows = [settimeout, setblocking, gettimeout, getblocking, setsockopt]
    return [
        *(Patch("socket", "_socket", f"socket.{row.__name__}", row) for row in rows),
        Patch("socket", "_socket", "socket.timeout", property(gettimeout)),
    ]
