"""Opening a file: a fifo waits for its other end, for ever perhaps; a disk answers some time.

A fifo, and a device that may wait for a carrier, are opened on an OS thread of their own.  A wait
that was abandoned goes on there until the other end comes, and its descriptor is closed then.

A file may be on lease to another process, which is told to give it up and has some time for that.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from ...contracts.choice import Choice
from ...cpython import originals
from ...io.name_cache import ABSENT, WAIT, Lookup, parent, stat_mode
from ..base import Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Opening", "Way"]

# Linux's numbers: memory devices, /dev/tty and its like, pseudo-terminals.
_PROMPT_DEVICES = frozenset({1, 5, *range(136, 144)})


class Way(Choice):
    """How what is at a path can be opened."""

    NOW = "by `Lookup.open_now` and `empty`; if they can't, `after` knows how else"
    DIRECTLY = "directly"
    CHANGING = "as the disk scheme makes changes"
    ON_DISK = "as a request to the disk scheme"
    UNKNOWN = "as such a request, if it turns out that nobody else has to come"
    ALONE = "on an OS thread of its own"


class Opening:
    """How to open what is at a path.  Green threads only."""

    def __init__(self, runtime: Runtime) -> None:
        self._disk = runtime.disk
        self._workers = runtime.workers
        self.lookup = Lookup(runtime.disk.mounts)

    def way(self, path: Any, dir_fd: Any, creates: bool, empties: bool, endless: bool) -> Way:
        """How to open `path`.

        `creates`: also when there is nothing yet; `empties`: what is there is truncated; `endless`:
        the other end of a fifo is waited for.
        """
        disk = self._disk
        alone = disk.alone()
        if alone:
            mode = stat_mode(path, dir_fd)
        elif disk.backend.asks_cache:
            mode = self.lookup.mode(path, dir_fd)
        else:
            mode = WAIT
        if mode == WAIT:
            return Way.UNKNOWN if endless else Way.ON_DISK
        if endless and _is_endless(path, mode):
            return Way.ALONE
        if stat.S_ISREG(mode) and not alone:
            return Way.NOW
        return Way.CHANGING if empties or (creates and mode == ABSENT) else Way.DIRECTLY

    def empty(self, fd: int) -> bool:
        """Truncate what was opened by `Lookup.open_now`; False if that failed, which the call tells
        that opens it again.
        """
        try:
            self._disk.empty(fd)
        except OSError:
            return False
        return True

    def after(self, found: int, empties: bool) -> Way:
        """How to open it when `Lookup.open_now` has returned `found`, which is no descriptor."""
        if found == WAIT:
            return Way.ON_DISK
        return Way.CHANGING if empties else Way.DIRECTLY

    def call(
        self, way: Way, path: Any, dir_fd: Any, function: Callable[..., Any], *args: Any
    ) -> Any:
        """``function(*args)``, which opens `path`."""
        disk = self._disk
        if way is Way.DIRECTLY or way is Way.NOW:
            return function(*args)
        if way is Way.CHANGING:
            return disk.change(function, *args)
        if way is not Way.ALONE:
            call = disk.call_local if self.lookup.is_cached(parent(path), dir_fd) else disk.call
            if way is Way.ON_DISK:
                return call(function, *args)
            done, result = call(_open_unless_endless, path, dir_fd, function, args)
            if done:
                return result
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
