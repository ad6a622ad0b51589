"""``os``: reading and writing pipes, terminals and the like, moving bytes between descriptors."""

from __future__ import annotations

import os
import socket
import time
import tty
from typing import Any

from ..scene import DELAY, Scene, drain, fill, row

_LARGE = 1_000_000


def _terminal() -> tuple[int, int]:
    """The two ends of a terminal that passes bytes as they are."""
    master, slave = os.openpty()
    tty.setraw(slave)
    return master, slave


@row("os.read (pipe)")
def _(scene: Scene) -> Any:
    reader, writer = os.pipe()
    scene.after(os.write, writer, b"abc")
    return scene.wait(os.read, reader, 10)


@row("os.read (end of pipe)")
def _(scene: Scene) -> Any:
    reader, writer = os.pipe()
    scene.after(os.close, writer)
    return scene.wait(os.read, reader, 10)


@row("os.read (socket)")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    scene.after(there.send, b"abc")
    return scene.wait(os.read, here.fileno(), 10)


@row("os.read (terminal)")
def _(scene: Scene) -> Any:
    master, slave = _terminal()
    scene.after(os.write, master, b"abc")
    return scene.wait(os.read, slave, 10)


@row("os.readinto (pipe)")
def _(scene: Scene) -> Any:
    scene.need(os, "readinto")
    reader, writer = os.pipe()
    buffer = bytearray(3)
    scene.after(os.write, writer, b"abc")
    return scene.wait(os.readinto, reader, buffer), buffer  # type: ignore[attr-defined]


@row("os.readv (pipe)")
def _(scene: Scene) -> Any:
    scene.need(os, "readv")
    reader, writer = os.pipe()
    buffers = [bytearray(2), bytearray(2)]
    scene.after(os.write, writer, b"abc")
    return scene.wait(os.readv, reader, buffers), buffers


@row("os.write (pipe)")
def _(scene: Scene) -> Any:
    reader, writer = os.pipe()
    scene.after(drain, reader, fill(writer) + _LARGE)
    return scene.wait(os.write, writer, bytes(_LARGE))


@row("os.write (socket)")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    scene.after(drain, there.fileno(), fill(here.fileno()) + _LARGE)
    return scene.wait(os.write, here.fileno(), bytes(_LARGE))


@row("os.write (terminal)")
def _(scene: Scene) -> Any:
    master, slave = _terminal()
    scene.after(drain, master, fill(slave) + 20_000)
    return scene.wait(os.write, slave, bytes(20_000))


@row("os.writev (pipe)")
def _(scene: Scene) -> Any:
    scene.need(os, "writev")
    reader, writer = os.pipe()
    scene.after(drain, reader, fill(writer) + 2 * _LARGE)
    return scene.wait(os.writev, writer, [bytes(_LARGE)] * 2)


@row("os.eventfd_read")
def _(scene: Scene) -> Any:
    scene.need(os, "eventfd")
    descriptor = os.eventfd(0)
    scene.after(os.eventfd_write, descriptor, 3)
    return scene.wait(os.eventfd_read, descriptor)


@row("os.eventfd_write")
def _(scene: Scene) -> Any:
    scene.need(os, "eventfd")
    descriptor = os.eventfd(0)
    os.eventfd_write(descriptor, 2**64 - 2)
    scene.after(os.eventfd_read, descriptor)
    return scene.wait(os.eventfd_write, descriptor, 3)


@row("os.open (fifo, to read)")
def _(scene: Scene) -> Any:
    path = scene.fifo()
    scene.after(os.open, path, os.O_WRONLY)
    return os.read(scene.wait(os.open, path, os.O_RDONLY), 0)


@row("os.open (fifo, to write)")
def _(scene: Scene) -> Any:
    path = scene.fifo()
    scene.after(os.open, path, os.O_RDONLY)
    return os.write(scene.wait(os.open, path, os.O_WRONLY), b"abc")


@row("os.sendfile")
def _(scene: Scene) -> Any:
    scene.need(os, "sendfile")
    here, there = scene.tcp()
    with open("large", "wb+") as file:
        file.truncate(_LARGE)
        filled = fill(here.fileno())
        scene.after(drain, there.fileno(), filled + 1)
        return scene.wait(os.sendfile, here.fileno(), file.fileno(), 0, 100)


@row("os.splice (to read)")
def _(scene: Scene) -> Any:
    scene.need(os, "splice")
    reader, writer = os.pipe()
    _, to = os.pipe()
    scene.after(os.write, writer, b"abc")
    return scene.wait(os.splice, reader, to, 10)


@row("os.splice (to write)")
def _(scene: Scene) -> Any:
    scene.need(os, "splice")
    source, fed = os.pipe()
    os.write(fed, b"abc")
    here, there = socket.socketpair()
    scene.after(drain, there.fileno(), fill(here.fileno()))
    return scene.wait(os.splice, source, here.fileno(), 3)


@row("os.read (timer)")
def _(scene: Scene) -> Any:
    scene.need(os, "timerfd_create")
    descriptor = getattr(os, "timerfd_create")(time.CLOCK_MONOTONIC)  # noqa: B009
    getattr(os, "timerfd_settime")(descriptor, initial=DELAY)  # noqa: B009
    return scene.wait(os.read, descriptor, 8)


@row("os.sendfile (to a pipe)")
def _(scene: Scene) -> Any:
    scene.need(os, "sendfile")
    reader, writer = os.pipe()
    with open("large", "wb+") as file:
        file.truncate(_LARGE)
        scene.after(drain, reader, fill(writer) + 100)
        return scene.wait(os.sendfile, writer, file.fileno(), 0, 100)
