"""``_socket.socket``: receiving.

A call is tried first, with MSG_DONTWAIT; what would block parks the thread in the queue of the
descriptor and is tried again when it is first there and the descriptor is ready.  After a read that
emptied a TCP socket (`io.descriptors`) the next one parks without trying.  A call that did not park
lets others run if they have not for some time: programs poll in loops.
"""

from __future__ import annotations

import _socket
from collections.abc import Callable
from functools import partial

from ...contracts.descriptor import RDHUP, READ, Descriptor
from ...cpython import originals
from ...io import retry
from ...io.wait_ready import events_of
from ..base import Patch, Runtime
from .mode import SocketMode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["DONTWAIT", "IMMEDIATE", "Receiver", "patches"]

DONTWAIT = _socket.MSG_DONTWAIT
IMMEDIATE = DONTWAIT | getattr(_socket, "MSG_OOB", 0) | getattr(_socket, "MSG_ERRQUEUE", 0)
"""Flags with which a call is answered at once, whatever the mode of the socket."""
_WAITALL = getattr(_socket, "MSG_WAITALL", 0)


class Receiver:
    """Try, wait, retry: once for all that takes something out of a socket."""

    def __init__(self, runtime: Runtime, mode: SocketMode) -> None:
        self._kernel = runtime.kernel
        self._mode = mode
        self._call_alone = runtime.workers.call_alone
        self._record_of = runtime.descriptors.get
        self._descriptors = runtime.descriptors
        self._pass_on = runtime.descriptors.pass_on
        self._yield_after_calls = runtime.kernel.yield_after_calls

    def receive(
        self, sock: Any, call: Callable[..., Any], args: tuple[Any, ...], flags: Any, size: int = 0
    ) -> Any:
        """``call(*args, flags)``, parking where it would block.

        `size` is how much is asked for; 0 where a short answer tells nothing.  Any OS thread; the
        other methods are for green threads.
        """
        mode = self._mode
        if not self._kernel.is_mine():
            return mode.outside(sock, call, (*args, flags), READ)
        d = self._record_of(originals.socket_fileno(sock)) or mode.found(sock)
        if d is None or flags & IMMEDIATE:
            try:
                return call(*args, flags)
            finally:
                self._yield_after_calls()
        if flags & _WAITALL and mode.timeout(sock) is None and id(sock) not in mode.timeouts:
            return self._call_alone(call, *args, flags)
        # With flags a short answer tells nothing: MSG_PEEK leaves what it returns.
        return self.take(sock, d, call, (*args, flags | DONTWAIT), 0 if flags else size)

    def take(
        self, sock: Any, d: Descriptor, call: Callable[..., Any], args: tuple[Any, ...], size: int
    ) -> Any:
        """``call(*args)``, parking where it would block.

        The last of `args` are flags, with `DONTWAIT`.
        """
        if d.can_read:
            d.can_read = False
            try:
                result = call(*args)
            except BlockingIOError:
                pass
            except BaseException:
                self._pass_on(d)
                raise
            else:
                self._received(d, result, size)
                self._yield_after_calls()
                return result
        return self._take_later(sock, d, call, args, size)

    def _take_later(
        self, sock: Any, d: Descriptor, call: Callable[..., Any], args: tuple[Any, ...], size: int
    ) -> Any:
        """As `take`, where a try has failed or would fail."""
        if self._mode.timeout(sock) == 0:
            try:
                return call(*args)
            finally:
                self._pass_on(d)
                self._yield_after_calls()
        deadline = self._mode.deadline_of(sock, READ)
        attempt = partial(self._try_woken, d, call, args)
        result = retry.read(self._descriptors, d, deadline, attempt, woken=d.ended)
        if result is retry.EXPIRED:
            self._mode.expire(sock)
        self._received(d, result, size)
        return result

    @staticmethod
    def _try_woken(d: Descriptor, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """``call(*args)`` for a thread that has had its turn.

        Of the end of datagrams and of UNIX listeners, after a shutdown(2), the kernel tells only
        those who would wait; others get EAGAIN for ever.
        """
        try:
            return call(*args)
        except BlockingIOError:
            if not events_of(d.fd, RDHUP) & RDHUP:
                raise
        return call(*args[:-1], args[-1] & ~DONTWAIT)  # ends at once

    def _received(self, d: Descriptor, result: Any, size: int) -> None:
        """The next reader's turn, unless `result` proves that nothing is left for it."""
        if not (size and d.exact and result) or _count(result) == size:
            self._pass_on(d)


def _count(result: Any) -> int:
    """How many bytes were received."""
    return result if type(result) is int else len(result)


def patches(receiver: Receiver) -> list[Patch]:
    """The rows of this module."""
    return [
        Patch("socket", "_socket", f"socket.{row.__name__}", row) for row in _make_rows(receiver)
    ]


def _make_rows(receiver: Receiver) -> list[Callable[..., Any]]:
    receive = receiver.receive
    original_recv = originals.socket_recv
    original_recv_into = originals.socket_recv_into
    original_recvfrom = originals.socket_recvfrom
    original_recvfrom_into = originals.socket_recvfrom_into
    original_recvmsg = originals.socket_recvmsg
    original_recvmsg_into = originals.socket_recvmsg_into

    def recv(self: Any, bufsize: Any, flags: Any = 0, /) -> Any:
        return receive(self, original_recv, (self, bufsize), flags, bufsize)

    def recv_into(self: Any, buffer: Any, nbytes: Any = 0, flags: Any = 0) -> Any:
        size = nbytes or memoryview(buffer).nbytes
        return receive(self, original_recv_into, (self, buffer, nbytes), flags, size)

    def recvfrom(self: Any, bufsize: Any, flags: Any = 0, /) -> Any:
        return receive(self, original_recvfrom, (self, bufsize), flags)

    def recvfrom_into(self: Any, buffer: Any, nbytes: Any = 0, flags: Any = 0) -> Any:
        return receive(self, original_recvfrom_into, (self, buffer, nbytes), flags)

    def recvmsg(self: Any, bufsize: Any, ancbufsize: Any = 0, flags: Any = 0, /) -> Any:
        return receive(self, original_recvmsg, (self, bufsize, ancbufsize), flags)

    def recvmsg_into(self: Any, buffers: Any, ancbufsize: Any = 0, flags: Any = 0, /) -> Any:
        return receive(self, original_recvmsg_into, (self, buffers, ancbufsize), flags)

    return [recv, recv_into, recvfrom, recvfrom_into, recvmsg, recvmsg_into]
