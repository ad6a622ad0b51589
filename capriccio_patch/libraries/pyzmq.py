"""pyzmq: ``send``, ``recv`` and ``poll`` of sockets wait for libzmq's own descriptor.

Facts.  A socket of libzmq has a descriptor (``ZMQ_FD``) that is readable while there are commands
of its I/O threads to look at.  Reading ``ZMQ_EVENTS`` looks at them, and says whether a receive or
a send would succeed now.  What is made known to one who looks is not made known again, so each wait
looks first.

Decision.  A call is tried with ``NOBLOCK``; if that would wait: look, and park until the descriptor
is readable.  ``zmq_poll`` is tried with a timeout of 0, and then waits for the descriptors of all
its sockets.

Cost.  A call that need not wait costs a call in Python more; one that waits no OS thread.

1. ``RCVTIMEO`` and ``SNDTIMEO`` hold, and end in the ``zmq.Again`` that libzmq raises.
2. An interrupt takes effect at once, as in stock, where pyzmq asks for signals while it waits.
3. OS threads other than the scheduler's have the original.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from ..contracts.descriptor import PRI, READ, WRITE
from ..cpython import originals
from ..wrappers.base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_BACKEND = "zmq.backend.cython._zmq"


def patches(runtime: Runtime, zmq: Any) -> list[Patch]:
    """The rows for pyzmq, whose package is `zmq`; none for a backend that is not its own."""
    backend = sys.modules.get(_BACKEND)
    if backend is None:
        return []
    sockets = _Sockets(runtime, zmq, backend)
    rows = [
        Patch("pyzmq", _BACKEND, f"Socket.{name}", make(vars(backend.Socket)[name]))
        for name, make in (
            ("recv", sockets.recv),
            ("recv_into", sockets.recv_into),
            ("send", sockets.send),
        )
        if name in vars(backend.Socket)
    ]
    original = backend.zmq_poll
    poll = sockets.poll(original)
    holders = [
        name
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "zmq" and vars(module).get("zmq_poll") is original
    ]
    return rows + [Patch("pyzmq", name, "zmq_poll", poll) for name in holders]


class _Sockets:
    """How sockets of libzmq wait."""

    def __init__(self, runtime: Runtime, zmq: Any, backend: Any) -> None:
        self._kernel = runtime.kernel
        self._observe = runtime.descriptors.observe
        self._zmq = zmq
        self._socket = backend.Socket
        self._get = vars(backend.Socket)["get"]
        self._get_ident = originals.get_ident

    def _must_wait(self, flags: int) -> bool:
        """Whether a call with `flags` may wait, and for this green thread."""
        return not flags & self._zmq.NOBLOCK and self._get_ident() == self._kernel.os_ident

    def _until_ready(self, attempt: Callable[[], Any], socket: Any, event: int, limit: int) -> Any:
        """What `attempt` returns once it does not raise Again, or that at the end of the time."""
        zmq = self._zmq
        milliseconds: int | None = None
        deadline: float | None = None
        while True:
            try:
                return attempt()
            except zmq.Again:
                if milliseconds is None:
                    milliseconds = self._get(socket, limit)
                    if milliseconds >= 0:
                        deadline = self._kernel.clock() + milliseconds / 1000
                if deadline is not None and self._kernel.clock() >= deadline:
                    raise
            if not self._get(socket, zmq.EVENTS) & event:
                self._observe({self._get(socket, zmq.FD): READ}, deadline)

    def recv(self, original: Any) -> Callable[..., Any]:
        """``Socket.recv``."""

        def recv(self_: Any, flags: int = 0, copy: bool = True, track: bool = False) -> Any:
            if not self._must_wait(flags):
                return original(self_, flags, copy, track)
            flags |= self._zmq.NOBLOCK
            return self._until_ready(
                lambda: original(self_, flags, copy, track),
                *(self_, self._zmq.POLLIN, self._zmq.RCVTIMEO),
            )

        return recv

    def recv_into(self, original: Any) -> Callable[..., Any]:
        """``Socket.recv_into``."""

        def recv_into(self_: Any, buffer: Any, /, *, nbytes: int = 0, flags: int = 0) -> Any:
            if not self._must_wait(flags):
                return original(self_, buffer, nbytes=nbytes, flags=flags)
            flags |= self._zmq.NOBLOCK
            return self._until_ready(
                lambda: original(self_, buffer, nbytes=nbytes, flags=flags),
                *(self_, self._zmq.POLLIN, self._zmq.RCVTIMEO),
            )

        return recv_into

    def send(self, original: Any) -> Callable[..., Any]:
        """``Socket.send``."""

        def send(
            self_: Any, data: Any, flags: int = 0, copy: bool = True, track: bool = False
        ) -> Any:
            if not self._must_wait(flags):
                return original(self_, data, flags, copy, track)
            flags |= self._zmq.NOBLOCK
            return self._until_ready(
                lambda: original(self_, data, flags, copy, track),
                *(self_, self._zmq.POLLOUT, self._zmq.SNDTIMEO),
            )

        return send

    def poll(self, original: Any) -> Callable[..., Any]:
        """``zmq_poll``."""
        kernel = self._kernel

        def zmq_poll(sockets: Any, timeout: int = -1) -> Any:
            if self._get_ident() != kernel.os_ident:
                return original(sockets, timeout)
            timeout = int(timeout)
            deadline = kernel.clock() + timeout / 1000 if timeout >= 0 else None
            while True:
                found = original(sockets, 0)
                if found or not timeout or not sockets:
                    if not found:
                        kernel.yield_()
                    return found
                if not self._observe(self._wanted(sockets), deadline):
                    return original(sockets, 0)

        return zmq_poll

    def _wanted(self, sockets: Any) -> dict[int, int]:
        """What to wait for, for items that `zmq_poll` has accepted: {number: events}."""
        zmq = self._zmq
        wanted: dict[int, int] = {}
        for item, flags in sockets:
            if isinstance(item, self._socket):
                if flags:
                    wanted[self._get(item, zmq.FD)] = READ
                continue
            fd = item if isinstance(item, int) else item.fileno()
            events = READ if flags & zmq.POLLIN else 0
            events |= WRITE if flags & zmq.POLLOUT else 0
            events |= PRI if flags & zmq.POLLPRI else 0
            wanted[fd] = wanted.get(fd, 0) | events
        return wanted
