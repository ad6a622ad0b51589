"""Sockets: accept, connect, every way to receive and to send."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from ..scene import DELAY, Scene, drain, fill, row, rows

_LARGE = 4_000_000


def _queue_full(scene: Scene, family: int) -> tuple[socket.socket, list[socket.socket]]:
    """A listener that takes no more connections, and those that fill its queue."""
    server = scene.listener(family, 0)
    waiting = []
    for _ in range(4):
        client = socket.socket(family)
        client.setblocking(False)
        waiting.append(client)
        if client.connect_ex(server.getsockname()) and family == socket.AF_UNIX:
            break
    return server, waiting


@rows(
    {
        "socket.accept": (socket.AF_INET,),
        "socket.accept (UNIX)": (socket.AF_UNIX,),
    }
)
def _accept(scene: Scene, family: int) -> Any:
    server = scene.listener(family)
    client = socket.socket(family)
    scene.after(client.connect, server.getsockname())
    connection, address = scene.wait(server.accept)
    return connection.gettimeout(), connection.family, address == client.getsockname()


@row("socket.accept (timeout)")
def _(scene: Scene) -> Any:
    server = scene.listener()
    server.settimeout(DELAY)
    return scene.wait(server.accept)


@row("socket.accept (ended by shutdown)")
def _(scene: Scene) -> Any:
    server = scene.listener()
    scene.after(server.shutdown, socket.SHUT_RDWR)
    return scene.wait(server.accept)


@rows({f"socket.{name} (timeout)": (name,) for name in ("connect", "connect_ex")})
def _connect_late(scene: Scene, name: str) -> Any:
    server, _waiting = _queue_full(scene, socket.AF_INET)
    client = socket.socket()
    client.settimeout(DELAY)
    return scene.wait(getattr(client, name), server.getsockname())


@rows({f"socket.{name} (UNIX)": (name,) for name in ("connect", "connect_ex")})
def _connect(scene: Scene, name: str) -> Any:
    server, _waiting = _queue_full(scene, socket.AF_UNIX)
    client = socket.socket(socket.AF_UNIX)
    scene.after(server.accept)
    return scene.wait(getattr(client, name), server.getsockname())


@row("socket.create_connection (timeout)")
def _(scene: Scene) -> Any:
    server, _waiting = _queue_full(scene, socket.AF_INET)
    return scene.wait(socket.create_connection, server.getsockname(), DELAY)


@rows(
    {
        "socket.recv": (Scene.tcp,),
        "socket.recv (IPv6)": (partial(Scene.tcp, family=socket.AF_INET6),),
        "socket.recv (UNIX)": (lambda _: socket.socketpair(),),
        "socket.recv (UDP)": (Scene.udp,),
    }
)
def _recv(scene: Scene, pair: Callable[[Scene], tuple[socket.socket, socket.socket]]) -> Any:
    here, there = pair(scene)
    scene.after(there.send, b"abc")
    return scene.wait(here.recv, 10)


@row("socket.recv (timeout)")
def _(scene: Scene) -> Any:
    here, _there = scene.tcp()
    here.settimeout(DELAY)
    return scene.wait(here.recv, 10)


@row("socket.recv (end of stream)")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    scene.after(there.close)
    return scene.wait(here.recv, 10)


@row("socket.recv (own shutdown)")
def _(scene: Scene) -> Any:
    here, _there = scene.tcp()
    scene.after(here.shutdown, socket.SHUT_RDWR)
    return scene.wait(here.recv, 10)


@row("socket.recv (MSG_WAITALL)")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    there.send(b"abc")
    scene.after(there.send, b"def")
    return scene.wait(here.recv, 6, socket.MSG_WAITALL)


@row("socket.recv (MSG_PEEK)")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    scene.after(there.send, b"abc")
    return scene.wait(here.recv, 10, socket.MSG_PEEK), here.recv(10)


@row("socket.recv_into")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    buffer = bytearray(10)
    scene.after(there.send, b"abc")
    return scene.wait(here.recv_into, buffer), buffer


@row("socket.recvfrom (UDP)")
def _(scene: Scene) -> Any:
    here, there = scene.udp()
    scene.after(there.send, b"abc")
    data, address = scene.wait(here.recvfrom, 10)
    return data, address == there.getsockname()


@row("socket.recvfrom_into (UDP)")
def _(scene: Scene) -> Any:
    here, there = scene.udp()
    buffer = bytearray(10)
    scene.after(there.send, b"abc")
    count, address = scene.wait(here.recvfrom_into, buffer)
    return count, buffer, address == there.getsockname()


@row("socket.recvmsg")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    scene.after(there.send, b"abc")
    return scene.wait(here.recvmsg, 10)


@row("socket.recvmsg_into")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    buffer = bytearray(10)
    scene.after(there.send, b"abc")
    return scene.wait(here.recvmsg_into, [buffer]), buffer


@row("socket.recv_fds")
def _(scene: Scene) -> Any:
    here, there = socket.socketpair()
    scene.after(socket.send_fds, there, [b"abc"], [0, 1])
    data, descriptors, _, _ = scene.wait(socket.recv_fds, here, 10, 2)
    return data, len(descriptors)


@row("socket.send")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    scene.after(drain, there.fileno(), fill(here.fileno()) + _LARGE)
    return scene.wait(here.send, bytes(_LARGE))


@row("socket.sendall")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    scene.after(drain, there.fileno(), fill(here.fileno()) + _LARGE)
    return scene.wait(here.sendall, bytes(_LARGE))


@row("socket.sendall (timeout)")
def _(scene: Scene) -> Any:
    here, _there = scene.tcp()
    fill(here.fileno())
    here.settimeout(DELAY)
    return scene.wait(here.sendall, b"abc")


@row("socket.sendto (datagrams)")
def _(scene: Scene) -> Any:
    here, there = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    there.bind("there")
    here.setblocking(False)
    try:
        while True:
            here.sendto(b"abc", "there")
    except BlockingIOError:
        here.setblocking(True)
    scene.after(there.recv, 10)
    return scene.wait(here.sendto, b"abc", "there")


@row("socket.sendmsg")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    scene.after(drain, there.fileno(), fill(here.fileno()) + _LARGE)
    return scene.wait(here.sendmsg, [bytes(_LARGE)])


@row("socket.sendfile")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    with open("large", "wb") as file:
        file.truncate(_LARGE)
    scene.after(drain, there.fileno(), fill(here.fileno()) + _LARGE)
    with open("large", "rb") as file:
        return scene.wait(here.sendfile, file), file.tell()


@row("socket.makefile: readline")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    there.send(b"abc")
    scene.after(there.send, b"def\nghi")
    with here.makefile("rb") as file:
        return scene.wait(file.readline)


@row("socket.makefile: write")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    scene.after(drain, there.fileno(), fill(here.fileno()) + _LARGE)
    with here.makefile("wb") as file:
        return scene.wait(file.write, bytes(_LARGE))


@row("socket.close (SO_LINGER)")
def _(scene: Scene) -> Any:
    """What was sent has not been taken by the other end."""
    here, there = scene.tcp()
    fill(here.fileno())
    here.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
    scene.after(there.close)
    return scene.wait(here.close)
