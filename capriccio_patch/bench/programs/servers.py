"""python servers.py KIND THREADS [--one-accepts]: a server.

KIND is echo, tls, http, http_each, http_work, paper or stream.  It has a thread for each
connection; ``paper`` has so many, each of which accepts, or with --one-accepts waits for its turn
to.  Prints its port, then serves until its parent process has ended.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from parent import lives  # type: ignore[import-not-found]
from several import REQUEST, work  # type: ignore[import-not-found]

_BODY = b"x" * 100
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_CHUNK = 1 << 16
_BACKLOG = 4096
_PAPER_WAIT = 1.0


def echo(connection: socket.socket) -> None:
    """Send back what comes."""
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data)


def compute(connection: socket.socket) -> None:
    """Compute, and send the same answer, for each request, which comes in one piece."""
    with connection:
        while connection.recv(4096):
            work(REQUEST)
            connection.sendall(_ANSWER)


def stream(connection: socket.socket) -> None:
    """Send (``s``) or take (``r``) as many bytes as the client's first line says."""
    data = b"x" * _CHUNK
    with connection, connection.makefile("rb", buffering=0) as file:
        while line := file.readline():
            left = int(line[1:])
            if line[:1] == b"s":
                while left > 0:
                    connection.sendall(data)
                    left -= len(data)
            else:
                while left > 0:
                    left -= len(connection.recv(_CHUNK))
                connection.sendall(b".")


class Handler(BaseHTTPRequestHandler):
    """Answers each GET with a hundred bytes, and keeps the connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """The whole answer."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(_BODY)))
        self.end_headers()
        self.wfile.write(_BODY)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing is logged."""


class HttpServer(ThreadingHTTPServer):
    """With room for those who connect at once."""

    request_queue_size = _BACKLOG
    daemon_threads = True


def listen() -> socket.socket:
    """A listener whose port is told."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
    print(listener.getsockname()[1], flush=True)
    return listener


def serve(handle: Callable[[socket.socket], None]) -> None:
    """Accept for ever."""
    listener = listen()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=handle, args=(connection,), daemon=True).start()


def serve_tls() -> None:
    """Echo by TLS; the handshake is the connection's thread's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).with_name("tls.pem"))
    serve(lambda connection: echo(context.wrap_socket(connection, server_side=True)))


def serve_paper(threads: int, one_accepts: bool) -> None:
    """Each thread accepts, waits, answers, closes, and again."""
    listener = listen()
    turn = threading.Lock() if one_accepts else contextlib.nullcontext()

    def loop() -> None:
        while True:
            with turn:
                connection, _ = listener.accept()
            time.sleep(_PAPER_WAIT)
            connection.sendall(_BODY)
            connection.close()

    for _ in range(threads):
        threading.Thread(target=loop, daemon=True).start()
    loop()


def serve_http() -> None:
    """The standard library's server."""
    with HttpServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


def main(kind: str, threads: int, one_accepts: bool) -> None:
    """Serve until the parent has ended."""
    target: dict[str, Callable[[], None]] = {
        "echo": lambda: serve(echo),
        "tls": serve_tls,
        "stream": lambda: serve(stream),
        "http": serve_http,
        "http_each": serve_http,
        "http_work": lambda: serve(compute),
        "paper": lambda: serve_paper(threads, one_accepts),
    }
    threading.Thread(target=target[kind], daemon=True).start()
    while lives():
        time.sleep(1)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), "--one-accepts" in sys.argv)
