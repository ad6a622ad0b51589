"""Receiving and sending.

A call is tried first, with MSG_DONTWAIT; what would block parks the thread in the queue of the
descriptor and is tried again when it is first there and the descriptor is ready.  After a read that
emptied a TCP socket (`io.descriptors`) the next one parks without trying.

A blocking send sends everything, as the kernel's does; where an error ends it half-way it returns
what was sent, and the next call meets the error.
"""

from __future__ import annotations

import _socket
from collections.abc import Callable
from typing import Any

from ...contracts.descriptor import READ, WRITE, Descriptor
from ...cpython import originals
from ..base import Patch, Runtime
from .mode import SocketMode

__all__ = ["patches"]

_DONTWAIT = _socket.MSG_DONTWAIT
_WAITALL = getattr(_socket, "MSG_WAITALL", 0)
# Answered at once, whatever the mode of the socket.
_IMMEDIATE = _DONTWAIT | getattr(_socket, "MSG_OOB", 0) | getattr(_socket, "MSG_ERRQUEUE", 0)


def patches(runtime: Runtime, mode: SocketMode, resolve: Callable[[Any, Any], Any]) -> list[Patch]:
    """The rows for transfers; ``resolve(sock, address)`` looks the host name up."""
    return [*_receive_patches(runtime, mode), *_send_patches(runtime, mode, resolve)]


def _receive_patches(runtime: Runtime, mode: SocketMode) -> list[Patch]:
    kernel = runtime.kernel
    get_ident = originals.get_ident
    record_of = runtime.descriptors.get
    wait_read = runtime.descriptors.wait_read
    pass_on = runtime.descriptors.pass_on
    fileno = originals.socket_fileno
    original_gettimeout = originals.socket_gettimeout
    original_recv = originals.socket_recv
    original_recv_into = originals.socket_recv_into
    original_recvfrom = originals.socket_recvfrom
    original_recvfrom_into = originals.socket_recvfrom_into
    original_recvmsg = originals.socket_recvmsg
    original_recvmsg_into = originals.socket_recvmsg_into

    def recv(self: Any, bufsize: Any, flags: Any = 0, /) -> Any:
        if flags or get_ident() != kernel.os_ident:
            return read(self, original_recv, (self, bufsize), flags)
        d = record_of(fileno(self)) or mode.opened(self)
        if d is None:
            return original_recv(self, bufsize)
        if d.can_read:
            d.can_read = False
            try:
                data = original_recv(self, bufsize, _DONTWAIT)
            except BlockingIOError:
                pass
            except BaseException:
                pass_on(d)
                raise
            else:
                if not d.exact or not data or len(data) == bufsize:
                    pass_on(d)
                return data
        if original_gettimeout(self) is not None:
            return read_later(self, d, original_recv, (self, bufsize, _DONTWAIT), bufsize)
        # What most threads of a server do, so without a further call between it and the wait.
        again = False
        while True:
            wait_read(d, None, again)
            d.can_read = False
            try:
                data = original_recv(self, bufsize, _DONTWAIT)
            except BlockingIOError:
                again = True
                continue
            except BaseException:
                pass_on(d)
                raise
            if not d.exact or not data or len(data) == bufsize:
                pass_on(d)
            return data

    def recv_into(self: Any, buffer: Any, nbytes: Any = 0, flags: Any = 0) -> Any:
        if flags or get_ident() != kernel.os_ident:
            return read(self, original_recv_into, (self, buffer, nbytes), flags)
        d = record_of(fileno(self)) or mode.opened(self)
        if d is None:
            return original_recv_into(self, buffer, nbytes)
        if d.can_read:
            d.can_read = False
            try:
                count = original_recv_into(self, buffer, nbytes, _DONTWAIT)
            except BlockingIOError:
                pass
            except BaseException:
                pass_on(d)
                raise
            else:
                if not d.exact or not count or count == (nbytes or memoryview(buffer).nbytes):
                    pass_on(d)
                return count
        size = nbytes or memoryview(buffer).nbytes
        return read_later(self, d, original_recv_into, (self, buffer, nbytes, _DONTWAIT), size)

    def read_later(
        sock: Any, d: Descriptor, call: Callable[..., Any], args: tuple[Any, ...], size: int
    ) -> Any:
        """Wait for the turn and for data, then ``call(*args)``.

        `size` is how much is asked for; 0 where a short answer tells nothing.
        """
        timeout = mode.timeout(sock)
        if timeout == 0:
            try:
                return call(*args)
            finally:
                pass_on(d)
        deadline = mode.deadline(timeout)
        again = False
        while True:
            if not wait_read(d, deadline, again):
                raise TimeoutError("timed out")
            d.can_read = False
            try:
                result = call(*args)
            except BlockingIOError:
                again = True
                continue
            except BaseException:
                pass_on(d)
                raise
            if size and d.exact and result:
                if (result if type(result) is int else len(result)) == size:
                    pass_on(d)
            else:
                pass_on(d)
            return result

    def read(sock: Any, call: Callable[..., Any], args: tuple[Any, ...], flags: Any) -> Any:
        """A receiving call of any kind, whose last argument are its flags."""
        if get_ident() != kernel.os_ident:
            return mode.outside(sock, call, (*args, flags), READ)
        d = record_of(fileno(sock)) or mode.opened(sock)
        if d is None or flags & _IMMEDIATE:
            return call(*args, flags)
        if flags & _WAITALL and mode.timeout(sock) is None and id(sock) not in mode.timeouts:
            return runtime.workers.call_alone(call, *args, flags)
        args = (*args, flags | _DONTWAIT)
        if d.can_read:
            d.can_read = False
            try:
                result = call(*args)
            except BlockingIOError:
                pass
            except BaseException:
                pass_on(d)
                raise
            else:
                pass_on(d)
                return result
        return read_later(sock, d, call, args, 0)

    def recvfrom(self: Any, bufsize: Any, flags: Any = 0, /) -> Any:
        return read(self, original_recvfrom, (self, bufsize), flags)

    def recvfrom_into(self: Any, buffer: Any, nbytes: Any = 0, flags: Any = 0) -> Any:
        return read(self, original_recvfrom_into, (self, buffer, nbytes), flags)

    def recvmsg(self: Any, bufsize: Any, ancbufsize: Any = 0, flags: Any = 0, /) -> Any:
        return read(self, original_recvmsg, (self, bufsize, ancbufsize), flags)

    def recvmsg_into(self: Any, buffers: Any, ancbufsize: Any = 0, flags: Any = 0, /) -> Any:
        return read(self, original_recvmsg_into, (self, buffers, ancbufsize), flags)

    rows = [recv, recv_into, recvfrom, recvfrom_into, recvmsg, recvmsg_into]
    return [Patch("socket", "_socket", f"socket.{row.__name__}", row) for row in rows]


def _send_patches(
    runtime: Runtime, mode: SocketMode, resolve: Callable[[Any, Any], Any]
) -> list[Patch]:
    kernel = runtime.kernel
    get_ident = originals.get_ident
    record_of = runtime.descriptors.get
    wait_write = runtime.descriptors.wait_write
    pass_on_write = runtime.descriptors.pass_on_write
    fileno = originals.socket_fileno
    original_send = originals.socket_send
    original_sendall = originals.socket_sendall
    original_sendto = originals.socket_sendto
    original_sendmsg = originals.socket_sendmsg

    def send(self: Any, data: Any, flags: Any = 0, /) -> Any:
        return write(self, original_send, (self, data, flags), flags, data)

    def sendto(self: Any, data: Any, *rest: Any) -> Any:
        if len(rest) == 1:
            flags, address = 0, rest[0]
        elif len(rest) == 2:
            flags, address = rest
        else:
            return original_sendto(self, data, *rest)  # raises
        if kernel.is_mine():
            address = resolve(self, address)
        return write(self, original_sendto, (self, data, flags, address), flags, data)

    def sendmsg(
        self: Any, buffers: Any, ancdata: Any = (), flags: Any = 0, address: Any = None, /
    ) -> Any:
        if not isinstance(buffers, (list, tuple)):
            buffers = list(buffers)
        args = (self, buffers, ancdata, flags, address)
        return write(self, original_sendmsg, args, flags, buffers)

    def write(
        sock: Any, call: Callable[..., Any], args: tuple[Any, ...], flags: Any, data: Any
    ) -> Any:
        """A sending call of any kind."""
        if get_ident() != kernel.os_ident:
            return mode.outside(sock, call, args, WRITE)
        d = record_of(fileno(sock)) or mode.opened(sock)
        if d is None or flags & _IMMEDIATE:
            return call(*args)
        args = _without_waiting(call, args, flags)
        timeout: float | None = 0
        if d.writers is None:
            try:
                sent = call(*args)
            except BlockingIOError:
                timeout = mode.timeout(sock)
                if timeout == 0:
                    raise
            else:
                # A blocking stream takes everything before it returns.
                if sent < _size(data) and mode.timeout(sock) is None and _is_stream(sock):
                    return sent + send_rest(sock, d, _flat(data)[sent:], flags, None, partial=True)
                return sent
        else:
            timeout = mode.timeout(sock)
            if timeout == 0:
                return call(*args)
        sent = write_later(d, call, args, mode.deadline(timeout))
        if timeout is None and sent < _size(data) and _is_stream(sock):
            return sent + send_rest(sock, d, _flat(data)[sent:], flags, None, partial=True)
        return sent

    def write_later(
        d: Descriptor, call: Callable[..., Any], args: tuple[Any, ...], deadline: float | None
    ) -> int:
        """Wait for the turn and for room, then ``call(*args)``."""
        again = False
        while True:
            if not wait_write(d, deadline, again):
                raise TimeoutError("timed out")
            try:
                sent = int(call(*args))
            except BlockingIOError:
                again = True
                continue
            except BaseException:
                pass_on_write(d)
                raise
            pass_on_write(d)
            return sent

    def sendall(self: Any, data: Any, flags: Any = 0, /) -> None:
        if get_ident() != kernel.os_ident:
            return sendall_outside(self, data, flags)
        d = record_of(fileno(self)) or mode.opened(self)
        if d is None:
            return original_sendall(self, data, flags)  # type: ignore[no-any-return]
        sent = 0
        if d.writers is None:
            try:
                sent = original_send(self, data, flags | _DONTWAIT)
                if type(data) is bytes and sent == len(data):
                    return None
            except BlockingIOError:
                pass
        rest = memoryview(data).cast("B")[sent:]
        if rest:
            timeout = mode.timeout(self)
            if timeout == 0:
                # What the original does with a socket that must not wait.
                return original_sendall(self, rest, flags)  # type: ignore[no-any-return]
            send_rest(self, d, rest, flags, mode.deadline(timeout))
        return None

    def send_rest(
        sock: Any,
        d: Descriptor,
        rest: memoryview,
        flags: int,
        deadline: float | None,
        partial: bool = False,
    ) -> int:
        """Send all of `rest`, one thread after the other.

        `partial`: something was sent, so an error ends the call with what has been.
        """
        total = 0
        again = d.writers is None
        while rest:
            if not wait_write(d, deadline, again):
                raise TimeoutError("timed out")
            again = True
            try:
                sent = original_send(sock, rest, flags | _DONTWAIT)
            except BlockingIOError:
                continue
            except OSError:
                pass_on_write(d)
                if partial:
                    return total
                raise
            except BaseException:
                pass_on_write(d)
                raise
            total += sent
            rest = rest[sent:]
        pass_on_write(d)
        return total

    def sendall_outside(sock: Any, data: Any, flags: Any) -> None:
        if id(sock) not in mode.timeouts:
            return original_sendall(sock, data, flags)  # type: ignore[no-any-return]
        deadline = mode.deadline(mode.timeouts[id(sock)])
        rest = memoryview(data).cast("B")
        while rest:
            try:
                rest = rest[original_send(sock, rest, flags) :]
            except BlockingIOError:
                if not mode.wait_outside(sock, WRITE, deadline):
                    raise TimeoutError("timed out") from None
        return None

    rows = [send, sendall, sendto, sendmsg]
    return [Patch("socket", "_socket", f"socket.{row.__name__}", row) for row in rows]


def _without_waiting(
    call: Callable[..., Any], args: tuple[Any, ...], flags: int
) -> tuple[Any, ...]:
    """The arguments of a sending call, with MSG_DONTWAIT among its flags."""
    position = 3 if call is originals.socket_sendmsg else 2
    return (*args[:position], flags | _DONTWAIT, *args[position + 1 :])


def _is_stream(sock: Any) -> bool:
    return bool(originals.socket_type(sock) == _socket.SOCK_STREAM)


def _size(data: Any) -> int:
    """How many bytes a buffer, or a sequence of buffers, holds."""
    if type(data) is bytes:
        return len(data)
    if isinstance(data, (list, tuple)):
        return sum(memoryview(each).nbytes for each in data)
    return memoryview(data).nbytes


def _flat(data: Any) -> memoryview:
    if isinstance(data, (list, tuple)):
        return memoryview(b"".join(memoryview(each).cast("B") for each in data))
    return memoryview(data).cast("B")
