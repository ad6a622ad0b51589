"""python load.py echo|http|stream PORT CONNECTIONS: a load of one kind, one order at a time.

Each line of its standard input is a number of requests (of bytes, for ``stream``: negative, to send
them), which it makes before it prints a line.  Each connection has one request under way.
"""

from __future__ import annotations

import select
import socket
import sys

_HTTP = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"
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

    def __init__(self, port: int, connections: int, request: bytes) -> None:
        self._request = request
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._got: dict[int, int] = {}
        for _ in range(connections):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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


def main(kind: str, port: int, connections: int) -> None:
    """Obey standard input until it ends."""
    load: Requests | Stream
    if kind == "stream":
        load = Stream(port)
    else:
        load = Requests(port, connections, _HTTP if kind == "http" else _ECHO)
    print("ready", flush=True)
    for line in sys.stdin:
        load.make(int(line))
        print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
