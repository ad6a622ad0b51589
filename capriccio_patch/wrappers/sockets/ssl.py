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
   (`tls_turns`).
4. Where there are several kernels one thread at a time is in OpenSSL with an object (`tls_turns`),
   which is no thread's before 3.13.1; writers queue before they try, and what a read has left
   decrypted is for the readers of all kernels.
5. Objects over a ``MemoryBIO`` never wait and are left alone.  They are told by their ``owner``,
   which is no socket.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from os import strerror

from ...contracts.descriptor import READ, WRITE, Descriptor
from ...cpython import originals
from ..base import Patch, Runtime
from .mode import SocketMode
from .tls_turns import Alone, Turns, TurnsOfAll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Tls", "patches"]

_MISSING: Any = object()
_SHORTEST = 1e-9
"""Seconds: a timeout that has passed when C looks for the first time."""


class Tls:
    """TLS over sockets: the operations of OpenSSL, made again until it is content."""

    def __init__(self, runtime: Runtime, mode: SocketMode, module: Any) -> None:
        """`module` is ``_ssl``."""
        kernel = runtime.kernel
        several = len(kernel.all()) > 1
        self.turns = TurnsOfAll(kernel) if several else Turns(kernel)
        self.alone = Alone(runtime, module) if several else None
        self.want_read: type[Exception] = module.SSLWantReadError
        self.want_write: type[Exception] = module.SSLWantWriteError
        self._kernel = runtime.kernel
        self._mode = mode
        self._timeouts = mode.timeouts
        self._record_of = runtime.descriptors.get
        self._observe = runtime.descriptors.observe

    def timeout(self, sock: Any) -> float | None:
        """The program's timeout, after which that of C is 0; 0: call the original and no more."""
        timeout = self._timeouts.get(id(sock), _MISSING)
        if timeout is _MISSING:
            timeout = originals.socket_gettimeout(sock)
            if timeout == 0:
                return 0
            taken_over = originals.SocketType.settimeout is not originals.socket_settimeout
            if originals.socket_fileno(sock) < 0 or not taken_over:
                return 0  # closed; or sockets are not taken over, and wait in C
            originals.socket_settimeout(sock, 0.0)
            self._timeouts[id(sock)] = timeout
        return timeout  # type: ignore[no-any-return]

    def record(self, sock: Any) -> Descriptor:
        """The record of a socket; raises if another thread has closed it.

        OpenSSL knows the number alone, which may be somebody else's by now.
        """
        d = self._record_of(originals.socket_fileno(sock)) or self._mode.found(sock)
        if d is None:
            raise OSError(errno.EBADF, strerror(errno.EBADF))
        return d

    def run(
        self,
        sock: Any,
        call: Callable[..., Any],
        args: tuple[Any, ...],
        expire: Callable[[int], Any],
        deadline: float | Any | None = _MISSING,
    ) -> Any:
        """``call(*args)``, again and again until OpenSSL is content.

        ``expire(event)`` raises the error of a timeout, when `event` has not come.
        """
        timeout = self.timeout(sock)
        mine = self._kernel.is_mine()
        if timeout == 0:
            try:
                return call(*args)
            finally:
                if mine:
                    self._kernel.yield_after_calls()
        if deadline is _MISSING:
            deadline = self._mode.deadline(timeout)
        ready = None
        while True:
            if self.alone is not None:
                ready = self.alone.progress(args[0])
            try:
                return call(*args)
            except self.want_read:
                wanted = READ
            except self.want_write:
                wanted = WRITE
            fd = self.record(sock).fd
            if mine:
                happened = self._observe({fd: wanted}, deadline, ready)
            else:
                happened = self._mode.wait_outside(sock, wanted, deadline)
            if not happened:
                return expire(wanted)
            self.record(sock)
            self.timeout(sock)


def patches(runtime: Runtime, mode: SocketMode) -> list[Patch]:
    """The rows of this module.  Imports ``_ssl``."""
    import _ssl

    tls = Tls(runtime, mode, _ssl)
    methods = vars(_ssl)["_SSLSocket"].__dict__
    owner_of = methods["owner"].__get__
    of = _itself if tls.alone is None else tls.alone.call
    rows = [
        _make_handshake(tls, owner_of, of(methods["do_handshake"])),
        _make_read(runtime, mode, tls, owner_of, of(methods["read"])),
        _make_write(runtime, mode, tls, owner_of, of(methods["write"])),
        _make_shutdown(mode, tls, owner_of, of(methods["shutdown"])),
    ]
    if "sendfile" in methods:
        rows.append(_make_sendfile(mode, tls, owner_of, of(methods["sendfile"])))
    return [Patch("ssl", "_ssl", f"_SSLSocket.{row.__name__}", row) for row in rows]


def _make_handshake(
    tls: Tls, owner_of: Callable[[Any], Any], original: Callable[..., Any]
) -> Callable[..., Any]:
    SocketType = originals.SocketType
    settimeout = originals.socket_settimeout

    def do_handshake(self: Any) -> None:
        sock = owner_of(self)
        if not isinstance(sock, SocketType):
            return original(self)  # type: ignore[no-any-return]

        def expire(_event: int) -> None:
            # Stock's message tells a line of its source, so the original has to raise it.
            settimeout(sock, _SHORTEST)
            try:
                original(self)
            finally:
                settimeout(sock, 0.0)

        return tls.run(sock, original, (self,), expire)  # type: ignore[no-any-return]

    return do_handshake


def _make_read(
    runtime: Runtime,
    mode: SocketMode,
    tls: Tls,
    owner_of: Callable[[Any], Any],
    original: Callable[..., Any],
) -> Callable[..., Any]:
    kernel = runtime.kernel
    get_ident = originals.get_ident
    wait_read = runtime.descriptors.wait_read
    pass_on = runtime.descriptors.pass_on_everywhere
    if len(kernel.all()) == 1:
        pass_on = runtime.descriptors.pass_on
    SocketType = originals.SocketType
    timeout_of = tls.timeout
    record = tls.record
    WantRead, WantWrite = tls.want_read, tls.want_write

    def read(self: Any, *args: Any) -> Any:
        sock = owner_of(self)
        if not isinstance(sock, SocketType):
            return original(self, *args)
        timeout = timeout_of(sock)
        deadline = mode.deadline(timeout)
        if timeout == 0 or get_ident() != kernel.os_ident:
            return tls.run(sock, original, (self, *args), _read_expired, deadline)
        woken = False
        while True:
            d = record(sock)
            if woken or not d.can_read:
                if not wait_read(d, deadline, woken):
                    _read_expired(READ)
                d = record(sock)
            d.can_read = False
            try:
                data = original(self, *args)
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
                kernel.yield_after_calls()
                return data
            pass_on(d)
            return tls.run(sock, original, (self, *args), _read_expired, deadline)

    return read


def _make_write(
    runtime: Runtime,
    mode: SocketMode,
    tls: Tls,
    owner_of: Callable[[Any], Any],
    original: Callable[..., Any],
) -> Callable[..., Any]:
    kernel = runtime.kernel
    turns = tls.turns
    SocketType = originals.SocketType
    Wants = (tls.want_read, tls.want_write)

    def write(self: Any, data: Any, /) -> Any:
        sock = owner_of(self)
        if not isinstance(sock, SocketType):
            return original(self, data)
        timeout = tls.timeout(sock)
        if timeout == 0 or not kernel.is_mine():
            return tls.run(sock, original, (self, data), _write_expired)
        if id(self) not in turns.taken:
            try:
                count = original(self, data)
            except Wants:
                pass
            else:
                kernel.yield_after_calls()
                return count
        deadline = mode.deadline(timeout)
        if not turns.take(self, deadline):
            _write_expired(WRITE)
        try:
            return tls.run(sock, original, (self, data), _write_expired, deadline)
        finally:
            turns.give(self)

    return write


def _make_sendfile(
    mode: SocketMode, tls: Tls, owner_of: Callable[[Any], Any], original: Callable[..., Any]
) -> Callable[..., Any]:
    """SSL_sendfile(3), where the system's kernel does TLS."""
    SocketType = originals.SocketType

    def sendfile(self: Any, *args: Any) -> Any:
        sock = owner_of(self)
        if not isinstance(sock, SocketType) or tls.timeout(sock) == 0:
            return original(self, *args)
        deadline = mode.deadline(tls.timeout(sock))
        if not tls.turns.take(self, deadline):
            _write_expired(WRITE)
        try:
            return tls.run(sock, original, (self, *args), _write_expired, deadline)
        finally:
            tls.turns.give(self)

    return sendfile


def _make_shutdown(
    mode: SocketMode, tls: Tls, owner_of: Callable[[Any], Any], original: Callable[..., Any]
) -> Callable[..., Any]:
    SocketType = originals.SocketType

    def shutdown(self: Any) -> Any:
        sock = owner_of(self)
        if not isinstance(sock, SocketType):
            return original(self)
        result = tls.run(sock, original, (self,), _expired)
        if mode.timeouts.get(id(sock), _MISSING) is None:
            mode.release(sock)  # plain from now on
        return result

    return shutdown


def _itself(method: Any) -> Any:
    return method


def _expired(event: int) -> None:
    raise TimeoutError(f"The {'read' if event == READ else 'write'} operation timed out")


def _read_expired(_event: int) -> None:
    _expired(READ)


def _write_expired(_event: int) -> None:
    _expired(WRITE)
