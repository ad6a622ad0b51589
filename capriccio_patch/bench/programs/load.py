"""python load.py KIND PORT CONNECTIONS: a load of one kind, of those that ``servers.py`` has.

Each line of its standard input is a number of requests (of bytes, for ``stream``: negative, to send
them), which it makes before it prints a line.  Each connection has one request under way, and is
for one alone with ``http_each`` and ``paper``.
"""

from __future__ import annotations

import select
import socket
import ssl
import sys
import time

_HTTP = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"
_HTTP_ONCE = _HTTP[:-2] + b"Connection: close\r\n\r\n"
_ECHO = b"x" * 64
_CHUNK = 1 << 16


def answer_size(sock: socket.socket, request: bytes) -> int:
    """How many bytes the answer to `request` has."""
    sock.sendall(request)
    if request is _ECHO:
        size = len(request)
    else:
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(1)
        length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
        return len(head) + len(_exactly(sock, int(length)))
    return len(_exactly(sock, size))


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        received = sock.recv(size - len(data))
        if not received:
            raise ConnectionError("the server has hung up")
        data += received
    return data


class Requests:
    """Connections that ask again when they have their answer."""

    def __init__(
        self, port: int, connections: int, request: bytes, tls: ssl.SSLContext | None = None
    ) -> None:
        self._request = request
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._got: dict[int, int] = {}
        for _ in range(connections):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                sock = tls.wrap_socket(sock)
            self._size = answer_size(sock, request)
            self._sockets[sock.fileno()] = sock
            self._got[sock.fileno()] = 0
            self._epoll.register(sock.fileno(), select.EPOLLIN)

    def make(self, requests: int) -> None:
        """Make so many, over all connections."""
        request, size, got = self._request, self._size, self._got
        left = requests
        for sock in self._sockets.values():
            if left:
                left -= 1
                sock.send(request)
        to_come = requests
        while to_come:
            for fd, _ in self._epoll.poll():
                sock = self._sockets[fd]
                count = got[fd] + len(sock.recv(4096))
                if count < size:
                    got[fd] = count
                    continue
                got[fd] = 0
                to_come -= 1
                if left:
                    left -= 1
                    sock.send(request)


class Visits:
    """Connections for one answer each, which the server ends; another follows at once."""

    def __init__(self, port: int, connections: int, request: bytes, ramp: float) -> None:
        """The first `connections` are made over `ramp` seconds."""
        self._address = "127.0.0.1", port
        self._connections = connections
        self._request = request
        self._ramp = ramp
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._answered: set[int] = set()

    def make(self, requests: int) -> None:
        """Make so many."""
        started = time.monotonic()
        first = made = answered = 0
        while answered < requests:
            passed = (time.monotonic() - started) / self._ramp
            due = min(requests, self._connections, int(passed * self._connections) + 1)
            while first < due and made < requests:
                first += 1
                made += 1
                self._connect()
            is_all = first == self._connections or made == requests
            for fd, event in self._epoll.poll(-1 if is_all else self._ramp / self._connections):
                if event & select.EPOLLOUT:
                    self._sockets[fd].send(self._request)
                    self._epoll.modify(fd, select.EPOLLIN)
                elif self._has_ended(fd):
                    answered += 1
                    if made < requests:
                        made += 1
                        self._connect()

    def _connect(self) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(self._address)
        self._sockets[sock.fileno()] = sock
        self._epoll.register(sock, select.EPOLLOUT if self._request else select.EPOLLIN)

    def _has_ended(self, fd: int) -> bool:
        sock = self._sockets[fd]
        if sock.recv(4096):
            self._answered.add(fd)
            return False
        if fd not in self._answered:
            raise ConnectionError("the server has hung up")
        self._answered.remove(fd)
        del self._sockets[fd]
        sock.close()
        return True


class Stream:
    """One connection that moves many bytes."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port))

    def make(self, size: int) -> None:
        """Take so many, or send them."""
        buffer = bytearray(_CHUNK)
        left = abs(size)
        if size > 0:
            self._sock.sendall(b"s%d\n" % left)
            while left > 0:
                left -= self._sock.recv_into(buffer)
        else:
            self._sock.sendall(b"r%d\n" % left)
            while left > 0:
                self._sock.sendall(buffer)
                left -= len(buffer)
            self._sock.recv(1)


def load_of(kind: str, port: int, connections: int) -> Requests | Visits | Stream:
    """What makes the requests."""
    if kind == "stream":
        return Stream(port)
    if kind == "paper":
        return Visits(port, connections, b"", 1.0)
    if kind == "http_each":
        return Visits(port, connections, _HTTP_ONCE, 0.001)
    if kind == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return Requests(port, connections, _ECHO, context)
    return Requests(port, connections, _HTTP if kind in ("http", "http_work") else _ECHO)


def main(kind: str, port: int, connections: int) -> None:
    """Obey standard input until it ends."""
    load = load_of(kind, port, connections)
    print("ready", flush=True)
    for line in sys.stdin:
        load.make(int(line))
        print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
