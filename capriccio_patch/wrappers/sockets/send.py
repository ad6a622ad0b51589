"""``_socket.socket``: sending.

A call is tried first, with MSG_DONTWAIT; what would block parks the thread in the queue of the
descriptor and is tried again when it is first there and there is room.

A blocking send sends everything, as the kernel's does; where an error ends it half-way it returns
what was sent, and the next call meets the error.
"""

from __future__ import annotations

import _socket
import functools
from collections.abc import Callable

from ...contracts.descriptor import WRITE, Descriptor
from ...cpython import originals
from ...io import retry
from ...io.wait_ready import wait_ready
from ..base import Patch, Runtime
from .mode import SocketMode
from .receive import DONTWAIT, IMMEDIATE
from .unix_peers import AF_UNIX, UnixPeers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Sender", "patches"]


class Sender:
    """Try, wait, retry: once for all that puts something into a socket."""

    def __init__(self, runtime: Runtime, mode: SocketMode) -> None:
        self._kernel = runtime.kernel
        self._mode = mode
        self._record_of = runtime.descriptors.get
        self._descriptors = runtime.descriptors
        self._wait_write = runtime.descriptors.wait_write
        self._pass_on_write = runtime.descriptors.pass_on_write
        self._yield_after_calls = runtime.kernel.yield_after_calls
        self._peers = UnixPeers(runtime)

    def send(
        self, sock: Any, call: Callable[..., Any], args: tuple[Any, ...], flags: Any, data: Any
    ) -> Any:
        """``call(*args)``, parking where it would block.

        `args` contain `flags`, and the `data`: a buffer, or a sequence of buffers.  Any OS thread.
        """
        mode = self._mode
        if not self._kernel.is_mine():
            return mode.outside(sock, call, args, WRITE)
        d = self._record_of(originals.socket_fileno(sock)) or mode.found(sock)
        if d is None or flags & IMMEDIATE:
            return self._send_now(call, args)
        args = _without_waiting(call, args, flags)
        sent = -1
        if d.writers is None:
            try:
                sent = call(*args)
            except BlockingIOError:
                pass
        if sent < 0:
            if mode.timeout(sock) == 0:
                return self._send_now(call, args)
            sent = self._send_later(sock, d, call, args)
        # A blocking stream takes everything before it returns.
        if sent < _size(data) and mode.timeout(sock) is None and _is_stream(sock):
            return sent + self.send_rest(sock, d, _flat(data)[sent:], flags, partial=True)
        self._yield_after_calls()
        return sent

    def _send_now(self, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        try:
            return call(*args)
        finally:
            self._yield_after_calls()

    def _send_later(
        self, sock: Any, d: Descriptor, call: Callable[..., Any], args: tuple[Any, ...]
    ) -> int:
        """Wait for the turn and for room, then ``call(*args)``."""
        deadline = self._mode.deadline_of(sock, WRITE)
        peer = _unix_peer(sock, call, args)
        again = False
        while True:
            if peer is not None and wait_ready(d.fd, WRITE, 0):
                in_time = self._peers.wait_for_room(peer, deadline)
            else:
                in_time = self._wait_write(d, deadline, again)
            if not in_time:
                self._mode.expire(sock)
            try:
                sent = int(call(*args))
            except BlockingIOError:
                again = True
                continue
            except BaseException:
                self._pass_on_write(d)
                raise
            self._pass_on_write(d)
            return sent

    def send_rest(
        self, sock: Any, d: Descriptor, rest: memoryview, flags: int, partial: bool = False
    ) -> int:
        """Send all of `rest`, one thread after the other; the number of bytes.

        `partial`: this ends one send(2), of which something was sent, so an error ends the call
        with what has been.  Otherwise there is one for each part that the kernel takes in time.
        Green threads only.
        """
        mode = self._mode
        deadline = mode.deadline_of(sock, WRITE)
        total = counted = 0
        again = d.writers is None
        while rest:
            attempt = functools.partial(originals.socket_send, sock, rest, flags | DONTWAIT)
            try:
                sent = retry.write(self._descriptors, d, deadline, attempt, again=again)
            except OSError:
                if partial:
                    return total
                raise
            if sent is retry.EXPIRED:
                if partial:
                    return total
                if total == counted or mode.timeout(sock) is not None:
                    mode.expire(sock)
                counted = total
                deadline = mode.deadline_of(sock, WRITE)
                continue
            again = True
            total += sent
            rest = rest[sent:]
        self._pass_on_write(d)
        return total

    def sendall_outside(self, sock: Any, data: Any, flags: Any) -> None:
        """``sendall`` on an OS thread of the program's own."""
        mode = self._mode
        if id(sock) not in mode.timeouts:
            return originals.socket_sendall(sock, data, flags)  # type: ignore[no-any-return]
        deadline = mode.deadline(mode.timeouts[id(sock)])
        rest = memoryview(data).cast("B")
        while rest:
            try:
                rest = rest[originals.socket_send(sock, rest, flags) :]
            except BlockingIOError:
                if not mode.wait_outside(sock, WRITE, deadline):
                    raise TimeoutError("timed out") from None
        return None


def patches(runtime: Runtime, mode: SocketMode, resolve: Callable[[Any, Any], Any]) -> list[Patch]:
    """The rows of this module; ``resolve(sock, address)`` looks the host name up."""
    sender = Sender(runtime, mode)
    rows = [_make_sendall(runtime, mode, sender), *_make_others(runtime, mode, sender, resolve)]
    return [Patch("socket", "_socket", f"socket.{row.__name__}", row) for row in rows]


def _make_sendall(runtime: Runtime, mode: SocketMode, sender: Sender) -> Callable[..., Any]:
    """The first try is written out: most of what a server answers needs no other."""
    kernel = runtime.kernel
    get_ident = originals.get_ident
    record_of = runtime.descriptors.get
    yield_after_calls = kernel.yield_after_calls
    fileno = originals.socket_fileno
    original_send = originals.socket_send
    original_sendall = originals.socket_sendall

    def sendall(self: Any, data: Any, flags: Any = 0, /) -> None:
        if get_ident() != kernel.os_ident:
            return sender.sendall_outside(self, data, flags)
        d = record_of(fileno(self)) or mode.found(self)
        if d is None:
            return original_sendall(self, data, flags)  # type: ignore[no-any-return]
        sent = 0
        if d.writers is None:
            try:
                sent = original_send(self, data, flags | DONTWAIT)
                if type(data) is bytes and sent == len(data):
                    yield_after_calls()
                    return None
            except BlockingIOError:
                pass
        rest = memoryview(data).cast("B")[sent:]
        if not rest:
            yield_after_calls()
        elif mode.timeout(self) != 0:
            sender.send_rest(self, d, rest, flags)
        else:
            try:
                # What the original does with a socket that must not wait.
                original_sendall(self, rest, flags)
            finally:
                yield_after_calls()
        return None

    return sendall


def _make_others(
    runtime: Runtime, mode: SocketMode, sender: Sender, resolve: Callable[[Any, Any], Any]
) -> list[Callable[..., Any]]:
    kernel = runtime.kernel
    original_send = originals.socket_send
    original_sendto = originals.socket_sendto
    original_sendmsg = originals.socket_sendmsg
    sharing = mode.sharing

    def send(self: Any, data: Any, flags: Any = 0, /) -> Any:
        return sender.send(self, original_send, (self, data, flags), flags, data)

    def sendto(self: Any, data: Any, *rest: Any) -> Any:
        if len(rest) == 1:
            flags, address = 0, rest[0]
        elif len(rest) == 2:
            flags, address = rest
        else:
            return original_sendto(self, data, *rest)  # raises
        if kernel.is_mine():
            address = resolve(self, address)
        return sender.send(self, original_sendto, (self, data, flags, address), flags, data)

    def sendmsg(
        self: Any, buffers: Any, ancdata: Any = (), flags: Any = 0, address: Any = None, /
    ) -> Any:
        if not isinstance(buffers, (list, tuple)):
            buffers = list(buffers)
        if ancdata:
            ancdata = list(ancdata)
            sharing.send(ancdata)
        args = (self, buffers, ancdata, flags, address)
        return sender.send(self, original_sendmsg, args, flags, buffers)

    return [send, sendto, sendmsg]


def _without_waiting(
    call: Callable[..., Any], args: tuple[Any, ...], flags: int
) -> tuple[Any, ...]:
    """The arguments of a sending call, with MSG_DONTWAIT among its flags."""
    position = 3 if call is originals.socket_sendmsg else 2
    return (*args[:position], flags | DONTWAIT, *args[position + 1 :])


def _unix_peer(sock: Any, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """The address that a UNIX datagram is sent to, where the call names one."""
    address = None if call is originals.socket_send else args[-1]
    if address is None or originals.socket_family(sock) != AF_UNIX:
        return None
    return None if _is_stream(sock) else address


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
