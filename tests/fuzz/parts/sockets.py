"""Sockets: TCP, UDP, UNIX stream and datagram, pairs; servers and clients as threads."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import socketserver
import threading
import time

from .prelude import breathe, described, in_threads
from .registry import part


def listener(kind, backlog=50):
    """A listening socket, and its address."""
    if kind == "tcp":
        server = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        return server, server.getsockname()
    server = socket.socket(socket.AF_UNIX)
    path = f"s{threading.get_ident()}_{time.monotonic_ns()}"
    server.bind(path)
    server.listen(backlog)
    return server, path


def connected(kind, address, timeout=None):
    """A socket connected to `address`."""
    client = socket.socket(socket.AF_INET if kind == "tcp" else socket.AF_UNIX)
    client.settimeout(timeout)
    client.connect(address)
    return client


def receive(sock, size, way=0):
    """Exactly `size` bytes, by one of the ways to receive."""
    data = bytearray()
    while len(data) < size:
        if way % 4 == 0:
            more = sock.recv(size - len(data))
        elif way % 4 == 1:
            room = bytearray(size - len(data))
            more = room[: sock.recv_into(room)]
        elif way % 4 == 2:
            select.select([sock], [], [])
            more = sock.recvfrom(size - len(data))[0]
        else:
            more = sock.recvmsg(size - len(data))[0]
        if not more:
            break
        data += more
    return bytes(data)


@part(
    kind=["tcp", "unix"],
    clients=range(1, 8),
    rounds=range(1, 8),
    size=[1, 100, 5000],
    timeout=[None, 60],
    weight=4,
)
def echo(kind, clients, rounds, size, timeout):
    """A server with a thread for each connection; each client gets its own bytes back."""
    server, address = listener(kind)

    def serve(connection):
        with connection:
            for n in range(rounds):
                connection.sendall(receive(connection, size, n))
            return connection.recv(1)

    def accept(_):
        answers = []
        threads = []
        for _ in range(clients):
            connection, _ = server.accept()
            connection.settimeout(timeout)
            thread = threading.Thread(target=lambda c=connection: answers.append(serve(c)))
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
        return answers

    def client(i):
        right = 0
        with connected(kind, address, timeout) as sock:
            for n in range(rounds):
                data = bytes([(i + n) % 256]) * size
                sock.sendall(data)
                breathe(i + n)
                right += receive(sock, size, i) == data
            sock.shutdown(socket.SHUT_WR)
            return right, sock.recv(1)

    with server:
        return in_threads(clients + 1, lambda i: client(i - 1) if i else accept(i))


@part(kind=["tcp", "unix", "pair"], size=[100_000, 1_500_000], timeout=[None, 60])
def bulk(kind, size, timeout):
    """More than fits into buffers, both ways at once."""
    if kind == "pair":
        a, b = socket.socketpair()
    else:
        server, address = listener(kind)
        a = connected(kind, address)
        b, _ = server.accept()
        server.close()
    a.settimeout(timeout)
    b.settimeout(timeout)
    data = os.urandom(1000) * (size // 1000)
    calls = [
        lambda: a.sendall(data),
        lambda: receive(b, size, 1) == data,
        lambda: b.sendall(data),
        lambda: receive(a, size, 0) == data,
    ]
    with a, b:
        return in_threads(4, lambda i: calls[i]())


@part(messages=range(1, 30), kind=["unix", "udp", "pair"])
def datagrams(messages, kind):
    """Datagrams one way, with an answer to each eighth."""
    if kind == "pair":
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    elif kind == "udp":
        a, b = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for sock in (a, b):
            sock.bind(("127.0.0.1", 0))
        a.connect(b.getsockname())
        b.connect(a.getsockname())
    else:
        a, b = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
        for sock in (a, b):
            sock.bind(f"d{threading.get_ident()}_{time.monotonic_ns()}")
        a.connect(b.getsockname())
        b.connect(a.getsockname())

    def send(_):
        for n in range(messages):
            a.send(b"%d" % n)
            if n % 8 == 7:
                a.recv(10)
        return "sent"

    def take(_):
        got = []
        for n in range(messages):
            got.append(int(b.recv(100)))
            breathe(n)
            if n % 8 == 7:
                b.send(b"go on")
        return got == list(range(messages))

    with a, b:
        return in_threads(2, lambda i: (send, take)[i](i))


@part(kind=["tcp", "unix", "pair"], timeout=[0.001, 0.004])
def socket_timeouts(kind, timeout):
    """What does not come in time raises, and comes later."""
    texts = []
    if kind == "pair":
        a, b = socket.socketpair()
    else:
        server, address = listener(kind)
        server.settimeout(timeout)
        try:
            server.accept()
        except TimeoutError as error:
            texts.append(described(error))
        a = connected(kind, address)
        server.settimeout(60)
        b, _ = server.accept()
        server.close()
    b.settimeout(timeout)
    for call in (lambda: b.recv(1), lambda: b.recvfrom(1), lambda: b.recv_into(bytearray(1))):
        try:
            call()
        except TimeoutError as error:
            texts.append(described(error))
    b.setblocking(False)
    try:
        b.recv(1)
    except BlockingIOError as error:
        texts.append(described(error))
    a.sendall(b"x")
    b.settimeout(60)
    with a, b:
        return texts, b.recv(1)


@part(kind=["tcp", "unix"], how=["close", "shutdown", "reset"], child=False)
def peer_ends(kind, how):
    """The other side ends while this one waits."""
    server, address = listener(kind)
    waiting = threading.Event()

    def other(_):
        with server:
            connection, _ = server.accept()
        waiting.wait()
        time.sleep(0.001)
        if how == "shutdown":
            connection.shutdown(socket.SHUT_RDWR)
        elif how == "reset" and kind == "tcp":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    def one(_):
        with connected(kind, address) as sock:
            waiting.set()
            return sock.recv(10)

    return in_threads(2, lambda i: (other, one)[i](i))


@part(kind=["tcp", "unix"], lines=range(1, 30))
def socket_files(kind, lines):
    """Text and binary files made of sockets, with readers and writers in threads."""
    server, address = listener(kind)

    def serve(_):
        connection, _ = server.accept()
        with connection, connection.makefile("rwb") as file:
            for _ in range(lines):
                file.write(file.readline().upper())
                file.flush()

    def client(_):
        with connected(kind, address) as sock, sock.makefile("rw", newline="\n") as file:
            got = []
            for n in range(lines):
                file.write(f"line {n}\n")
                file.flush()
                breathe(n)
                got.append(file.readline())
            return got == [f"LINE {n}\n" for n in range(lines)]

    with server:
        return in_threads(2, lambda i: (serve, client)[i](i))


class EchoHandler(socketserver.StreamRequestHandler):
    """Answers each line with its length."""

    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"%d\n" % len(line))


@part(clients=range(1, 6), threads=[True, False])
def servers_of_the_library(clients, threads):
    """socketserver, in a thread, shut down from another."""

    class Server(socketserver.ThreadingMixIn if threads else object, socketserver.TCPServer):
        request_queue_size = 50

    def client(i):
        with socket.create_connection(server.server_address, timeout=60) as sock:
            sock.sendall(b"x" * i + b"\n")
            sock.shutdown(socket.SHUT_WR)
            return receive(sock, 100)

    with Server(("127.0.0.1", 0), EchoHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.005,))
        thread.start()
        results = in_threads(clients, client)
        server.shutdown()
        thread.join()
    return results


@part(kind=["tcp", "unix"])
def refused(kind):
    """Nobody listens, and no process either that has been forked meanwhile."""
    server, address = listener(kind)
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)
    server.close()
    try:
        connected(kind, address, 60)
    except ConnectionRefusedError as error:
        return described(error)
