"""python servers.py echo|http|stream: a server with a thread for each connection.

Prints its port, then serves until its parent process has ended.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from parent import lives  # type: ignore[import-not-found]

_BODY = b"x" * 100
_CHUNK = 1 << 16


def echo(connection: socket.socket) -> None:
    """Send back what comes."""
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data)


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

    request_queue_size = 1024
    daemon_threads = True


def serve(handle: object) -> None:
    """Accept for ever."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=handle, args=(connection,), daemon=True).start()  # type: ignore[arg-type]


def serve_http() -> None:
    """The standard library's server."""
    with HttpServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


def main(kind: str) -> None:
    """Serve until the parent has ended."""
    target = {"echo": lambda: serve(echo), "stream": lambda: serve(stream), "http": serve_http}
    threading.Thread(target=target[kind], daemon=True).start()
    while lives():
        time.sleep(1)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
