"""Opening a file: a fifo waits for its other end, for ever perhaps; a disk answers some time.

A fifo, and a device that may wait for a carrier, are opened on an OS thread of their own.  A wait
that was abandoned goes on there until the other end comes, and its descriptor is closed then.

A file may be on lease to another process, which is told to give it up and has some time for that.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import partial
from typing import Any

from .. import originals
from .base import Runtime
from .lookup import ABSENT, WAIT, Lookup, stat_mode

__all__ = ["Opening"]

# Linux's numbers: memory devices, /dev/tty and its like, pseudo-terminals.
_PROMPT_DEVICES = frozenset({1, 5, *range(136, 144)})


class Opening:
    """How to open what is at a path.  Green threads only."""

    def __init__(self, runtime: Runtime) -> None:
        self._disk = runtime.disk
        self._workers = runtime.workers
        self._breathe = runtime.kernel.breathe
        self.lookup = Lookup(runtime.disk.mounts)

    def call(
        self,
        path: Any,
        dir_fd: Any,
        creates: bool,
        empties: bool,
        endless: bool,
        now: Callable[[], int],
        function: Callable[..., Any],
        *args: Any,
    ) -> Any:
        """``function(*args)``, which opens `path`.

        `creates`: also when there is nothing yet; `empties`: what is there is truncated; `endless`:
        the other end of a fifo is waited for.  `now` does it for a regular file, by
        `Lookup.open_now`, and returns what that does.
        """
        disk = self._disk
        if disk.alone():
            mode = stat_mode(path, dir_fd)
        elif disk.backend.asks_cache:
            mode = self.lookup.mode(path, dir_fd)
        else:
            mode = WAIT
        if mode == WAIT and endless:
            done, result = disk.call(_open_unless_endless, path, dir_fd, function, args)
            if done:
                return result
        elif mode == WAIT:
            return disk.call(function, *args)
        elif not endless or not _is_endless(path, mode):
            if stat.S_ISREG(mode) and not disk.alone() and (not empties or disk.is_prompt()):
                found = disk.change(now) if empties else now()
                if found >= 0:
                    if not empties:
                        self._breathe()
                    return None
                if found == WAIT:
                    return disk.call(function, *args)
            if empties or (creates and mode == ABSENT):
                return disk.change(partial(function, *args))
            return function(*args)
        return self._workers.call_alone(function, *args)


def _is_endless(path: Any, mode: int) -> bool:
    """Whether opening what has this mode may wait for somebody else."""
    if stat.S_ISFIFO(mode):
        return True
    if not stat.S_ISCHR(mode):
        return False
    try:
        return os.major(originals.stat(path).st_rdev) not in _PROMPT_DEVICES
    except OSError:
        return False


def _open_unless_endless(
    path: Any, dir_fd: Any, function: Callable[..., Any], args: tuple[Any, ...]
) -> tuple[bool, Any]:
    """On a worker's OS thread: whether the call was made, and what it returned."""
    if _is_endless(path, stat_mode(path, dir_fd)):
        return False, None
    return True, function(*args)
