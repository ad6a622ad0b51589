"""select, poll, epoll, kqueue, and the selectors on them."""

from __future__ import annotations

import os
import select
import selectors
import socket
from typing import Any

from ..scene import DELAY, Scene, drain, fill, row, rows

_select: Any = select
"""For what this platform may lack."""


@row("select.select (read)")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    scene.after(there.send, b"abc")
    reading, writing, other = scene.wait(select.select, [here], [], [])
    return reading == [here], writing, other


@row("select.select (write)")
def _(scene: Scene) -> Any:
    reader, writer = os.pipe()
    scene.after(drain, reader, fill(writer))
    reading, writing, other = scene.wait(select.select, [], [writer], [], 10)
    return reading, writing == [writer], other


@row("select.select (timeout)")
def _(scene: Scene) -> Any:
    return scene.wait(select.select, [], [], [], DELAY)


@row("select.poll")
def _(scene: Scene) -> Any:
    scene.need(select, "poll")
    here, there = scene.udp()
    poll = select.poll()
    poll.register(here, select.POLLIN)
    scene.after(there.send, b"abc")
    return [event for _, event in scene.wait(poll.poll)]


@row("select.poll (timeout)")
def _(scene: Scene) -> Any:
    scene.need(select, "poll")
    here, _there = scene.udp()
    poll = select.poll()
    poll.register(here, select.POLLIN)
    return scene.wait(poll.poll, DELAY * 1000)


@row("select.epoll")
def _(scene: Scene) -> Any:
    scene.need(select, "epoll")
    reader, writer = os.pipe()
    epoll = select.epoll()
    epoll.register(reader, select.EPOLLIN | select.EPOLLET)
    scene.after(os.write, writer, b"abc")
    return [event for _, event in scene.wait(epoll.poll)]


@row("select.epoll (timeout)")
def _(scene: Scene) -> Any:
    scene.need(select, "epoll")
    epoll = select.epoll()
    epoll.register(os.pipe()[0], select.EPOLLIN)
    return scene.wait(epoll.poll, DELAY)


@row("select.kqueue")
def _(scene: Scene) -> Any:
    scene.need(select, "kqueue", "kevent")
    reader, writer = os.pipe()
    queue = _select.kqueue()
    scene.after(os.write, writer, b"abc")
    events = scene.wait(queue.control, [_select.kevent(reader)], 1)
    return [event.data for event in events]


@row("select.devpoll")
def _(scene: Scene) -> Any:
    scene.need(select, "devpoll")
    reader, writer = os.pipe()
    poll = _select.devpoll()
    poll.register(reader, select.POLLIN)
    scene.after(os.write, writer, b"abc")
    return [event for _, event in scene.wait(poll.poll)]


@rows(
    {
        "selectors.DefaultSelector": ("DefaultSelector",),
        "selectors.DefaultSelector (timeout)": (
            "DefaultSelector",
            DELAY,
        ),
        "selectors.SelectSelector": ("SelectSelector",),
        "selectors.PollSelector": ("PollSelector",),
        "selectors.EpollSelector": ("EpollSelector",),
    }
)
def _selector(scene: Scene, name: str, timeout: float | None = None) -> Any:
    scene.need(selectors, name)
    here, there = socket.socketpair()
    with getattr(selectors, name)() as selector:
        selector.register(here, selectors.EVENT_READ, "data")
        if timeout is None:
            scene.after(there.send, b"abc")
        ready = scene.wait(selector.select, timeout)
        return [(key.data, key.fileobj is here, event) for key, event in ready]
