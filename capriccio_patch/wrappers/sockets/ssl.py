"""``_ssl._SSLSocket``: TLS over a socket, beneath ``ssl.SSLSocket``.

OpenSSL reads and writes the descriptor itself, so no flag of a call can keep it from waiting: the
descriptor has to be non-blocking.

1. From its first transfer on, the C timeout of a socket under TLS is 0, and the program's, None
   included, is kept in ``SocketMode.timeouts``.  It is the one place where a descriptor's
   O_NONBLOCK is not what stock would have set.  Nobody else can use such a descriptor, for lack of
   the session's keys; it is put back by ``unwrap()``, ``detach()``, ``settimeout()`` and
   the undoing of the patch.
2. Readers queue as those of plain sockets do.  Whatever else wants to read or to write looks for
   itself at each event (`Descriptors.observe`): a handshake may be completed by another thread's
   read.  A parked reader holds up no writer.
3. What a write has begun OpenSSL wants finished with the same data: other writers wait until it is
   (`_Turns`).
4. Objects over a ``MemoryBIO`` never wait and are left alone.  They are told by their ``owner``,
   which is no socket.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from os import strerror
from typing import Any

from ...contracts.descriptor import READ, WRITE, Descriptor
from ...cpython import originals
from ...kernel.core import Kernel
from ...kernel.parking import Lot
from ..base import Patch, Runtime
from .mode import SocketMode

__all__ = ["patches"]

_MISSING: Any = object()
_SHORTEST = 1e-9
"""Seconds: a timeout that has passed when C looks for the first time."""


def patches(runtime: Runtime, mode: SocketMode) -> list[Patch]:
    """The rows of this module.  Imports ``_ssl``."""
    import _ssl

    kernel = runtime.kernel
    timeouts = mode.timeouts
    turns = _Turns(kernel)
    get_ident = originals.get_ident
    record_of = runtime.descriptors.get
    wait_read = runtime.descriptors.wait_read
    observe = runtime.descriptors.observe
    pass_on = runtime.descriptors.pass_on
    SocketType = originals.SocketType
    fileno = originals.socket_fileno
    settimeout = originals.socket_settimeout
    WantRead = _ssl.SSLWantReadError
    WantWrite = _ssl.SSLWantWriteError
    methods = vars(_ssl)["_SSLSocket"].__dict__
    owner_of = methods["owner"].__get__
    original_handshake = methods["do_handshake"]
    original_read = methods["read"]
    original_write = methods["write"]
    original_shutdown = methods["shutdown"]

    def timeout_of(sock: Any) -> float | None:
        """The program's timeout, after which that of C is 0; 0: call the original and no more."""
        timeout = timeouts.get(id(sock), _MISSING)
        if timeout is _MISSING:
            timeout = originals.socket_gettimeout(sock)
            if timeout == 0:
                return 0
            if fileno(sock) < 0 or SocketType.settimeout is originals.socket_settimeout:
                return 0  # closed; or sockets are not taken over, and wait in C
            settimeout(sock, 0.0)
            timeouts[id(sock)] = timeout
        return timeout  # type: ignore[no-any-return]

    def open_record(sock: Any) -> Descriptor:
        """The record of a socket; raises if another thread has closed it.

        OpenSSL knows the number alone, which may be somebody else's by now.
        """
        d = record_of(fileno(sock)) or mode.opened(sock)
        if d is None:
            raise OSError(errno.EBADF, strerror(errno.EBADF))
        return d

    def do_handshake(self: Any) -> None:
        sock = owner_of(self)
        if not isinstance(sock, SocketType):
            return original_handshake(self)  # type: ignore[no-any-return]

        def expire(_event: int) -> None:
            # Stock's message tells a line of its source, so the original has to raise it.
            settimeout(sock, _SHORTEST)
            try:
                original_handshake(self)
            finally:
                settimeout(sock, 0.0)

        return run(sock, original_handshake, (self,), expire)  # type: ignore[no-any-return]

    def read(self: Any, *args: Any) -> Any:
        sock = owner_of(self)
        if not isinstance(sock, SocketType):
            return original_read(self, *args)
        timeout = timeout_of(sock)
        if timeout == 0:
            return original_read(self, *args)
        deadline = mode.deadline(timeout)
        if get_ident() != kernel.os_ident:
            return run(sock, original_read, (self, *args), _read_expired, deadline)
        woken = False
        while True:
            d = open_record(sock)
            if woken or not d.can_read:
                if not wait_read(d, deadline, woken):
                    _read_expired(READ)
                d = open_record(sock)
            d.can_read = False
            try:
                data = original_read(self, *args)
            except WantRead:
                woken = True
                timeout_of(sock)  # the program may set another one meanwhile
                continue
            except WantWrite:
                pass
            except BaseException:
                pass_on(d)
                raise
            else:
                pass_on(d)
                return data
            pass_on(d)
            return run(sock, original_read, (self, *args), _read_expired, deadline)

    def write(self: Any, data: Any, /) -> Any:
        sock = owner_of(self)
        if not isinstance(sock, SocketType):
            return original_write(self, data)
        timeout = timeout_of(sock)
        if timeout == 0 or get_ident() != kernel.os_ident:
            return run(sock, original_write, (self, data), _write_expired)
        if id(self) not in turns.taken:
            try:
                return original_write(self, data)
            except (WantRead, WantWrite):
                pass
        deadline = mode.deadline(timeout)
        if not turns.take(self, deadline):
            _write_expired(WRITE)
        try:
            return run(sock, original_write, (self, data), _write_expired, deadline)
        finally:
            turns.give(self)

    def shutdown(self: Any) -> Any:
        sock = owner_of(self)
        if not isinstance(sock, SocketType):
            return original_shutdown(self)
        result = run(sock, original_shutdown, (self,), _expired)
        if timeouts.get(id(sock), _MISSING) is None:
            mode.release(sock)  # plain from now on
        return result

    def run(
        sock: Any,
        call: Callable[..., Any],
        args: tuple[Any, ...],
        expire: Callable[[int], Any],
        deadline: float | Any | None = _MISSING,
    ) -> Any:
        """``call(*args)``, again and again until OpenSSL is content.

        `expire` tells of a timeout, given the event that did not come.
        """
        timeout = timeout_of(sock)
        if timeout == 0:
            return call(*args)
        if deadline is _MISSING:
            deadline = mode.deadline(timeout)
        mine = get_ident() == kernel.os_ident
        while True:
            try:
                return call(*args)
            except WantRead:
                wanted = READ
            except WantWrite:
                wanted = WRITE
            fd = open_record(sock).fd
            if mine:
                happened = observe({fd: wanted}, deadline)
            else:
                happened = mode.wait_outside(sock, wanted, deadline)
            if not happened:
                return expire(wanted)
            open_record(sock)
            timeout_of(sock)

    rows = [do_handshake, read, write, shutdown]
    return [Patch("ssl", "_ssl", f"_SSLSocket.{row.__name__}", row) for row in rows]


class _Turns:
    """Who may write to a TLS object while one write to it is not finished."""

    __slots__ = ("_lot", "taken")

    def __init__(self, kernel: Kernel) -> None:
        self._lot = Lot(kernel, "write", pass_on=self.give)
        self.taken: set[int] = set()
        """The ids of the TLS objects, which their writers keep alive, whose turn somebody has."""
        kernel.on_fork(self.taken.clear)

    def take(self, tls: Any, deadline: float | None) -> bool:
        """Have the turn, parking until the others have had theirs; False when `deadline` passed."""
        if id(tls) in self.taken:
            return self._lot.park(tls, deadline)
        self.taken.add(id(tls))
        return True

    def give(self, tls: Any) -> None:
        """The turn is over: it is the next one's."""
        if not self._lot.wake_one(tls):
            self.taken.discard(id(tls))


def _expired(event: int) -> None:
    raise TimeoutError(f"The {'read' if event == READ else 'write'} operation timed out")


def _read_expired(_event: int) -> None:
    _expired(READ)


def _write_expired(_event: int) -> None:
    _expired(WRITE)
