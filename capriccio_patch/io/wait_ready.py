"""Asking a descriptor whether it is ready, and waiting for it as an OS thread does: it blocks."""

from __future__ import annotations

from ..contracts.descriptor import READ, WRITE
from ..cpython import originals

__all__ = ["events_of", "wait_ready"]


def wait_ready(fd: int, event: int, timeout: float | None) -> bool:
    """Block this OS thread up to `timeout` seconds (None: for ever) until a descriptor is ready.

    Any OS thread; a green thread would keep all others waiting.
    """
    if originals.poll is not None:
        return bool(_poll(fd, event, None if timeout is None else timeout * 1000))
    readers = (fd,) if event & READ else ()
    writers = (fd,) if event & WRITE else ()
    return any(originals.select_select(readers, writers, (), timeout))


def events_of(fd: int, wanted: int) -> int:
    """Those of the events `wanted` that hold now, and ERR, HUP and NVAL; 0 where the system has no
    poll(2).  Any OS thread."""
    return 0 if originals.poll is None else _poll(fd, wanted, 0)


def _poll(fd: int, wanted: int, timeout: float | None) -> int:
    assert originals.poll is not None
    poller = originals.poll()
    poller.register(fd, wanted)
    for _, events in originals.poll_poll(poller, timeout):
        return int(events)
    return 0
