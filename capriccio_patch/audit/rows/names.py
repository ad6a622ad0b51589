"""Names of hosts, from a resolver that is slow.

glibc reads the file that HOSTALIASES names when it looks up a name without dots.  Here that is a
fifo: the look-up waits until somebody writes to it, and no name server is asked, because what is
written makes no valid name.  A reverse look-up has no such place; there the argument is slow to
give its number, and whoever converts it waits.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable
from typing import Any

from ..scene import DELAY, Scene, Skip, row, rows

_NAME = "capriccioslow"


@rows(
    {
        "socket.getaddrinfo": (
            socket.getaddrinfo,
            _NAME,
            80,
        ),
        "socket.gethostbyname": (
            socket.gethostbyname,
            _NAME,
        ),
        "socket.gethostbyname_ex": (
            socket.gethostbyname_ex,
            _NAME,
        ),
        "socket.gethostbyaddr": (
            socket.gethostbyaddr,
            _NAME,
        ),
        "socket.getfqdn": (
            socket.getfqdn,
            _NAME,
        ),
        "socket.create_connection (name)": (
            socket.create_connection,
            (_NAME, 80),
        ),
    }
)
def _look_up(scene: Scene, call: Callable[..., Any], *args: Any) -> Any:
    os.environ["HOSTALIASES"] = os.path.abspath(scene.fifo())
    asked: list[int] = []

    def answer() -> None:
        try:
            descriptor = os.open("fifo", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return  # nobody reads it
        asked.append(os.write(descriptor, f"{_NAME} {'x' * 64}.invalid\n".encode()))
        os.close(descriptor)

    scene.after(answer)
    try:
        result = scene.wait(call, *args)
    except OSError as error:
        result = type(error)
    if not asked:
        raise Skip("this resolver does not read HOSTALIASES")
    return result


@row("socket.getnameinfo")
def _(scene: Scene) -> Any:
    class SlowFlags:
        def __index__(self) -> int:
            ctypes.CDLL(None).usleep(int(DELAY * 1e6))
            return socket.NI_NUMERICHOST | socket.NI_NUMERICSERV

    return scene.wait(socket.getnameinfo, ("127.0.0.1", 80), SlowFlags())
