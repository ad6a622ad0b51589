"""A worker for gunicorn: a green thread for each connection, thousands of them.

    gunicorn -k capriccio_patch.integrations.gunicorn.Worker app:app

Facts.  gunicorn looks for a worker by a short name in its own distribution alone, so the class path
is the name.  ``gthread`` has a pool of threads and gives each connection back to a selector after
each request.  The base class of gunicorn's own asynchronous workers serves a connection to its end
in one call, and leaves to its subclasses who calls it and how long a connection may be idle.

Decision.  Each connection is served by a green thread; while the connection is idle the thread is
parked on the socket.  A green thread for each listener accepts; the main thread tells the master
that the worker is alive, and shuts down what was idle for too long: a timer for each wait would
cost each request more.  Everything between the head of a request and the end of its response is
gunicorn's, but that a response's head goes out together with the first part of its body, and that
the head's date is made once a second.

Cost.  An idle connection keeps its green thread: some 10 KiB with what gunicorn has for it.

1. At most ``worker_connections`` connections are open; further ones wait in the listener's queue.
2. A connection is in `_idle` while it waits for a request: only then is it shut down.  The order
   there is that in which they are due.
3. When the worker is told to end nothing more is accepted; requests under way have
   ``graceful_timeout`` seconds, idle connections 2.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
import time
from contextlib import suppress

import capriccio_patch

try:
    from gunicorn import version_info
except ImportError:
    raise SystemExit("capriccio_patch.integrations.gunicorn: gunicorn is not installed") from None
from gunicorn import sock, util
from gunicorn.http import wsgi
from gunicorn.workers.base_async import AsyncWorker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

__all__ = ["Worker"]

_OLDEST = (21,)
_NOT_BOOTED = 3
"""The status by which gunicorn knows that it need not try again."""
_IDLE_AT_END = 2.0
"""Seconds that idle connections stay open in a worker that ends: a request may be on its way."""
_LOOK = 1.0
"""Seconds between two signs of life."""
_BURST = 64
"""Connections that a lone worker accepts before others have a turn."""
_JOINED = 64 * 1024
"""Bytes of a body that are copied, at most, to be sent together with the head."""


class Worker(AsyncWorker):  # type: ignore[misc]
    """What ``gunicorn -k`` takes.  Its process is patched before the program is loaded, unless
    ``--preload`` has loaded it or the master is patched already."""

    alive: Any
    """Whether the worker has not been told to end; signal handlers and the reloader set it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """In the master, before the fork."""
        super().__init__(*args, **kwargs)
        self._open: set[_Connection] = set()
        self._idle: dict[socket.socket, float] = {}
        """Since when each waits for a request, by `time.monotonic`."""
        self._context: ssl.SSLContext | None = None

    @classmethod
    def setup(cls) -> None:
        """In the master, first of all: SystemExit for a gunicorn that is too old.

        An error of the import of this module would be shown as a traceback.
        """
        if version_info < _OLDEST:
            found = ".".join(map(str, version_info))
            raise SystemExit(f"{__name__}: needs gunicorn {_OLDEST[0]} or newer, found {found}")

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """In the master: options of other workers have no effect, and the log says so."""
        if cfg.threads > 1:
            log.warning(
                "--threads has no effect with this worker: each connection has a green thread, "
                "and --worker-connections bounds them."
            )

    def init_process(self) -> None:
        """In the worker, after the fork: patch, load the program, and serve it."""
        try:
            capriccio_patch.patch_all()
        except capriccio_patch.CapriccioError as error:
            self.log.critical("capriccio_patch: %s", error)
            raise SystemExit(_NOT_BOOTED) from None
        self._room = threading.BoundedSemaphore(self.worker_connections)
        self._ended = threading.Event()
        wsgi.Response = _response_of(wsgi.Response)
        util.http_date = _once_a_second(util.http_date)
        super().init_process()

    def run(self) -> None:
        """Serve until told to end, then let requests finish."""
        if self.cfg.is_ssl:
            self._context = sock.ssl_context(self.cfg)
        for listener in self.sockets:
            listener.setblocking(False)  # other workers may have taken what it announces
            threading.Thread(
                target=self._accept, args=(listener,), name="accepting", daemon=True
            ).start()
        while self.alive and self.ppid == os.getppid():
            self.notify()
            self._ended.wait(self._shut_down_idle())
        if self.alive:
            self.alive = False
            self.log.info("Parent changed, shutting down: %s", self)
        self._finish()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM."""
        super().handle_exit(sig, frame)
        self._ended.set()

    def timeout_ctx(self) -> Any:
        """What gunicorn reads the head of a request in: at its end there is one, or no more."""
        return threading.current_thread()

    def _accept(self, listener: Any) -> None:
        """Green thread: accept while there is room for a connection."""
        announced = select.poll()
        announced.register(listener, select.POLLIN)
        burst = 1 if self.cfg.workers > 1 else _BURST
        while self.alive:
            announced.poll(_LOOK * 1000)
            for _ in range(burst):
                self._room.acquire()
                try:
                    if not self.alive:
                        return
                    client, address = listener.accept()
                except OSError as error:
                    self._room.release()
                    if not isinstance(error, BlockingIOError | ConnectionAbortedError):
                        self.log.exception("Error accepting a connection")
                        time.sleep(_LOOK)  # short of descriptors, as a rule
                    break
                connection = _Connection(self, listener, client, address)
                self._open.add(connection)
                connection.start()

    def _serve(self, connection: _Connection) -> None:
        """Green thread: serve a connection to its end."""
        client = connection.client
        try:
            client.setblocking(True)
            if self._context is not None:
                client = connection.client = self._context.wrap_socket(
                    client,
                    server_side=True,
                    suppress_ragged_eofs=self.cfg.suppress_ragged_eofs,
                    do_handshake_on_connect=self.cfg.do_handshake_on_connect,
                )
            self.handle(connection.listener, client, connection.address)
        except OSError as error:  # the handshake has failed
            self.log.debug("Error in a connection: %s", error)
        finally:
            client.close()
            self._open.discard(connection)
            self._room.release()
            if not self.alive:
                self._ended.set()

    def _shut_down_idle(self) -> float:
        """End connections that were idle for too long; the seconds until this is to be done again.

        A connection may become idle at any time, but is not due before the next look.
        """
        keepalive: float = self.cfg.keepalive
        if not keepalive:
            return _LOOK
        now = time.monotonic()
        for client, since in list(self._idle.items()):
            if (left := since + keepalive - now) > 0:
                return min(_LOOK, left)
            self._idle.pop(client, None)
            _shut_down(client)
        return _LOOK

    def _finish(self) -> None:
        now = time.monotonic()
        last, close_idle = now + self.cfg.graceful_timeout, now + _IDLE_AT_END
        while self._open and now < last:
            self.notify()
            self._ended.clear()
            if now >= close_idle:
                for client in list(self._idle):
                    _shut_down(client)
            if self._open:
                due = last if now >= close_idle else min(last, close_idle)
                self._ended.wait(min(_LOOK, due - now))
            now = time.monotonic()
        if self._open:
            self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
        for listener in self.sockets:
            listener.close()


class _Connection(threading.Thread):
    """The green thread of a connection, and what limits its wait for a request."""

    def __init__(self, worker: Worker, listener: Any, client: socket.socket, address: Any) -> None:
        super().__init__(name="connection", daemon=True)
        self.worker, self.listener, self.client, self.address = worker, listener, client, address

    def run(self) -> None:
        self.worker._serve(self)

    def __enter__(self) -> None:
        """A request is waited for."""
        self.worker._idle[self.client] = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.worker._idle.pop(self.client, None)


def _shut_down(client: socket.socket) -> None:
    """Have who waits for a request there find the end of the connection."""
    with suppress(OSError):
        socket.socket.shutdown(client, socket.SHUT_RD)  # TLS stays as it is


def _response_of(base: Any) -> Any:
    """gunicorn's response, which sends its head together with the first part of the body."""

    class Response(base):  # type: ignore[misc]
        sock: Any

        def write(self, part: bytes) -> None:
            if self.headers_sent or not part or len(part) > _JOINED:
                super().write(part)
                return
            client, joined = self.sock, _Joined()
            self.sock = joined
            try:
                super().write(part)
            finally:
                self.sock = client
                client.sendall(b"".join(joined.parts))

    return Response


def _once_a_second(http_date: Callable[[float], str]) -> Callable[..., str]:
    """gunicorn's date of a head, which changes each second."""
    known = (-1, "")

    def date(timestamp: float | None = None) -> str:
        nonlocal known
        second = int(time.time() if timestamp is None else timestamp)
        if known[0] != second:
            known = (second, http_date(second))
        return known[1]

    return date


class _Joined:
    """In place of a socket: what was to be sent."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.sendall = self.parts.append
