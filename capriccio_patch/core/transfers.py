"""What C is told of sockets: the socket objects that it reads from, and what Python keeps of them.

A subject whose parts C does not know stays Python's; the reason is returned.  Main OS thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..contracts.descriptor import Descriptor
from ..cpython import originals
from ..io.waits import Waits
from ..wrappers.sockets.mode import SocketMode

__all__ = ["SUBJECTS", "bind", "bind_waits"]

SUBJECTS = {"socket": "sockets"}
"""Which subject a function of C belongs to, by the first word of its name."""

_TIMEOUT = 1.5


def bind_waits(core: Any, waits: Waits) -> None:
    """Have C wait for descriptors as `waits` does."""
    slow = {
        "wait_read": waits.wait_read,
        "wait_write": waits.wait_write,
        "pass_on": waits.pass_on,
        "pass_on_write": waits.pass_on_write,
        "arm": waits.arm,
        "left": waits.left,
    }
    core.bind("waits", {"Descriptor": Descriptor, "table": waits.table}, slow)


def bind(core: Any, mode: SocketMode) -> dict[str, str]:
    """Have C work on sockets; returns by subject why one of them stays Python's."""
    objects = {"timeouts": mode.timeouts, "kernel_timeouts": mode.kernel_timeouts}
    try:
        with _samples() as samples:
            core.bind("sockets", {**objects, "samples": samples}, {})
    except (OSError, SystemError) as error:
        return {"sockets": str(error)}
    return {}


@contextmanager
def _samples() -> Iterator[tuple[tuple[Any, ...], ...]]:
    """Two sockets, each with what its object must say, as C takes them."""
    import socket

    kinds = ((socket.AF_INET, socket.SOCK_STREAM), (socket.AF_UNIX, socket.SOCK_DGRAM))
    made = []
    try:
        for (family, kind), timeout in zip(kinds, (_TIMEOUT, None), strict=True):
            sock = originals.SocketType.__new__(originals.SocketType)
            originals.socket_init(sock, family, kind, 0)
            made.append(sock)
            originals.socket_settimeout(sock, timeout)
        yield tuple(
            (sock, originals.socket_fileno(sock), int(family), int(kind), 0, nanoseconds)
            for sock, (family, kind), nanoseconds in zip(
                made, kinds, (int(_TIMEOUT * 1e9), -(10**9)), strict=True
            )
        )
    finally:
        for sock in made:
            originals.socket_close(sock)
