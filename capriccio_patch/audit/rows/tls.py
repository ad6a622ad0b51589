"""``ssl``: handshake, read, write and unwrap of sockets, and TLS in memory."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import Any

from ..scene import DELAY, Scene, fill, row
from .certificate import client_context, server_context

_LARGE = 4_000_000


def _wrapped(scene: Scene) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """A server's and a client's end, before the handshake."""
    here, there = scene.tcp()
    server = server_context().wrap_socket(
        here, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
    )
    client = client_context().wrap_socket(
        there, server_hostname="localhost", do_handshake_on_connect=False
    )
    return server, client


def _connected(scene: Scene) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """The same, after it."""
    server, client = _wrapped(scene)
    thread = threading.Thread(target=client.do_handshake)
    thread.start()
    server.do_handshake()
    thread.join()
    return server, client


@row("ssl.SSLSocket.do_handshake (server)")
def _(scene: Scene) -> Any:
    server, client = _wrapped(scene)
    scene.after(client.do_handshake)
    return scene.wait(server.do_handshake), server.version()


@row("ssl.SSLSocket.do_handshake (client)")
def _(scene: Scene) -> Any:
    server, client = _wrapped(scene)
    scene.after(server.do_handshake)
    return scene.wait(client.do_handshake), client.getpeercert() is not None


@row("ssl.SSLSocket.do_handshake (timeout)")
def _(scene: Scene) -> Any:
    _, client = _wrapped(scene)
    client.settimeout(DELAY)
    return scene.wait(client.do_handshake)


@row("ssl.SSLContext.wrap_socket")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    context = server_context()
    client = client_context().wrap_socket(
        there, server_hostname="localhost", do_handshake_on_connect=False
    )
    scene.after(client.do_handshake)
    with scene.wait(context.wrap_socket, here, server_side=True) as wrapped:
        return wrapped.version()


@row("ssl.SSLSocket.accept")
def _(scene: Scene) -> Any:
    listener = server_context().wrap_socket(scene.listener(), server_side=True)

    def connect() -> None:
        raw = socket.create_connection(listener.getsockname())
        client_context().wrap_socket(raw, server_hostname="localhost")

    scene.after(connect)
    connection, _ = scene.wait(listener.accept)
    return connection.version()


@row("ssl.SSLSocket.recv")
def _(scene: Scene) -> Any:
    server, client = _connected(scene)
    scene.after(client.send, b"abc")
    return scene.wait(server.recv, 10)


@row("ssl.SSLSocket.recv_into")
def _(scene: Scene) -> Any:
    server, client = _connected(scene)
    buffer = bytearray(10)
    scene.after(client.send, b"abc")
    return scene.wait(server.recv_into, buffer), buffer


@row("ssl.SSLSocket.recv (timeout)")
def _(scene: Scene) -> Any:
    server, _client = _connected(scene)
    server.settimeout(DELAY)
    return scene.wait(server.recv, 10)


@row("ssl.SSLSocket.read")
def _(scene: Scene) -> Any:
    server, client = _connected(scene)
    scene.after(client.sendall, b"abc")
    return scene.wait(server.read, 10)


@row("ssl.SSLSocket.sendall")
def _(scene: Scene) -> Any:
    server, client = _connected(scene)
    # Else the system may take all of it at once: a receiver's buffer grows to tens of megabytes.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)

    def receive() -> None:
        count = 0
        while count < _LARGE:
            count += len(client.recv(65536))

    scene.after(receive)
    return scene.wait(server.sendall, bytes(_LARGE))


@row("ssl.SSLSocket.write (timeout)")
def _(scene: Scene) -> Any:
    server, _client = _connected(scene)
    fill(server.fileno())
    server.settimeout(DELAY)
    return scene.wait(server.write, bytes(16000))


@row("ssl.SSLSocket.unwrap")
def _(scene: Scene) -> Any:
    server, client = _connected(scene)
    scene.after(client.unwrap)
    return type(scene.wait(server.unwrap))


@row("ssl.SSLSocket.makefile: readline")
def _(scene: Scene) -> Any:
    server, client = _connected(scene)
    client.send(b"abc")
    scene.after(client.send, b"def\n")
    with server.makefile("rb") as file:
        return scene.wait(file.readline)


@row("ssl.MemoryBIO over a socket")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context().wrap_bio(incoming, outgoing, server_side=True)
    client = client_context().wrap_socket(
        there, server_hostname="localhost", do_handshake_on_connect=False
    )

    def talk() -> None:
        client.do_handshake()
        client.sendall(b"abc")

    def read() -> bytes:
        while True:
            try:
                return server.read(10)
            except ssl.SSLWantReadError:
                if outgoing.pending:
                    here.sendall(outgoing.read())
                incoming.write(here.recv(65536))

    scene.after(talk)
    return scene.wait(read)
