"""Waiting for a descriptor as an OS thread does that runs no green threads: it blocks."""

from __future__ import annotations

from ..contracts.descriptor import READ, WRITE
from ..cpython import originals

__all__ = ["wait_ready"]


def wait_ready(fd: int, event: int, timeout: float | None) -> bool:
    """Block this OS thread up to `timeout` seconds (None: for ever) until a descriptor is ready.

    Any OS thread; a green thread would keep all others waiting.
    """
    if originals.poll is not None:
        poller = originals.poll()
        poller.register(fd, event)
        left = None if timeout is None else timeout * 1000
        return bool(originals.poll_poll(poller, left))
    readers = (fd,) if event & READ else ()
    writers = (fd,) if event & WRITE else ()
    return any(originals.select_select(readers, writers, (), timeout))
