"""``_socket.socket``: accepting.

accept(2) has no flag for not waiting.  From a blocking listener that is private (`sharing`) it is
called where poll(2) tells of a connection: nobody else can take that.  Where the system takes back
a connection that is reset, or may, the listener is made non-blocking for the length of the call
instead.  From any other listener an OS thread accepts:

1. It begins when there is a connection, and one at a time for each listener.  If another process
   takes that connection it waits for the next one, as a thread of stock does.
2. A connection that it accepts when nobody waits any longer is kept for the next call.

Where there are several kernels each has threads that may accept from one listener: one of them at a
time asks poll(2) and accepts, and what an OS thread has accepted is for whoever comes first.
"""

from __future__ import annotations

import _socket
import sys
from collections.abc import Callable
from functools import partial

from ...contracts.descriptor import READ, Descriptor
from ...contracts.request import Call
from ...cpython import originals
from ...io.wait_ready import events_of, wait_ready
from ...io.workers import Workers
from ..base import Patch, Runtime
from .mode import SocketMode
from .receive import DONTWAIT, Receiver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_KEEP_THEIRS = frozenset(
    getattr(_socket, name)
    for name in ("AF_INET", "AF_INET6", "AF_UNIX")
    if sys.platform == "linux" and hasattr(_socket, name)
)
"""Families whose listeners keep each connection until it is accepted, also one that was reset."""
_PATIENCE = 0.001
"""Seconds for which a kernel waits for another's accept(2), before it lets other threads run."""
_LISTENERS = 4096
"""How many OS threads may accept: each may wait for long."""


class _Acceptance(Call):
    """An accept(2) on an OS thread."""

    __slots__ = ("_pass_on", "listener")

    def __init__(self, runtime: Runtime, listener: Descriptor, sock: Any) -> None:
        super().__init__(runtime.kernel, originals.socket_accept, sock)
        self.listener = listener
        self._pass_on = runtime.descriptors.pass_on_everywhere

    def complete(self) -> None:
        """The outcome is for who is first in the queue of the listener."""
        super().complete()
        if not self.listener.closed:
            self._pass_on(self.listener)
        elif self.error is None:
            originals.close(self.result[0])


class _Shared:
    """Listeners that other processes may hold too."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._pool = Workers(runtime.kernel, _LISTENERS)
        self._calls: dict[int, _Acceptance] = runtime.kernel.shared("acceptances", {})
        """By number of the listener."""
        runtime.kernel.on_fork(self._pool.after_fork)
        runtime.kernel.on_fork(self._calls.clear)

    def accept(self, sock: Any, d: Descriptor) -> Any:
        """What an OS thread has accepted; BlockingIOError if that is yet to come."""
        calls = self._calls
        call = calls.get(d.fd)
        if call is None or call.listener.closed:
            if not wait_ready(d.fd, READ, 0):
                raise BlockingIOError
            made = _Acceptance(self._runtime, d, sock)
            if call is not None:
                calls.pop(d.fd, None)
            call = calls.setdefault(d.fd, made)
            if call is made:
                self._pool.submit(call)
        if not call.done or calls.pop(d.fd, None) is not call:
            raise BlockingIOError
        return call.outcome()


class _Alone:
    """Where there are several kernels: accepting while no other does."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = runtime.kernel.shared("accepting", originals.allocate_lock())

    def call(self, accept: Callable[[Any, Descriptor], Any], sock: Any, d: Descriptor) -> Any:
        """``accept(sock, d)``; BlockingIOError if that would have to wait."""
        if not originals.lock_acquire(self._lock, True, _PATIENCE):
            self._runtime.kernel.call_soon(self._runtime.descriptors.pass_on, d)  # tries again
            raise BlockingIOError
        try:
            return accept(sock, d)
        finally:
            originals.lock_release(self._lock)


def patches(runtime: Runtime, mode: SocketMode, receiver: Receiver) -> list[Patch]:
    """The row of this module."""
    kernel = runtime.kernel
    record_of = runtime.descriptors.get
    is_private = mode.sharing.is_private
    shared = _Shared(runtime)
    original = originals.socket_accept

    def accept_private(sock: Any, d: Descriptor) -> Any:
        if originals.socket_family(sock) not in _KEEP_THEIRS or id(sock) in mode.timeouts:
            return mode.without_waiting(sock, original)
        if not events_of(d.fd, READ):
            raise BlockingIOError
        return original(sock)

    accept_one = accept_private
    if len(kernel.all()) > 1:
        accept_one = partial(_Alone(runtime).call, accept_private)

    def accept_now(sock: Any, flags: int) -> Any:
        d = record_of(originals.socket_fileno(sock))
        if d is None or not flags & DONTWAIT:
            return original(sock)
        if is_private(d):
            return accept_one(sock, d)
        return shared.accept(sock, d)

    def accept(self: Any) -> Any:
        if not kernel.is_mine():
            mode.sharing.share_listener(originals.socket_fileno(self))
            return mode.outside(self, original, (self,), READ)
        d = record_of(originals.socket_fileno(self)) or mode.found(self)
        if d is None or mode.timeout(self) == 0:
            try:
                return original(self)
            finally:
                kernel.yield_after_calls()
        if not d.listens:
            d.listens = True
            if not d.private:
                mode.sharing.share_listener(d.fd)
        accepted = receiver.take(self, d, accept_now, (self, DONTWAIT), 0)
        mode.accepted = accepted[0]
        return accepted

    return [Patch("socket", "_socket", "socket._accept", accept)]
