"""What the watchdog needs and has not imported yet.

An import may have to wait for one of the program's, whose thread may want to be preempted, and that
takes the watchdog.  So it is made on an OS thread of its own.

1. Who forks waits for it, as for the import lock: a child does not have that OS thread, and would
   wait for ever for the module that it was making.  Not for long, though: it may wait for one that
   the thread that forks is making.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from ..cpython import originals
from ..cpython.evaluation import texts_compiled
from ..io import os_threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Loading"]

_TO_LOAD = 0.1
"""Seconds for which an import is waited for, at most."""
_TO_FORK = 1.0
"""The same, before a fork."""


class Loading:
    """Imports that are made when they are asked for first."""

    __slots__ = (
        "_done",
        "_forks",
        "_later",
        "_load",
        "_pid",
        "_was_missed",
        "_was_put_off",
        "is_over",
    )

    def __init__(
        self, load: Callable[[], object], later: Callable[[], object] | None = None
    ) -> None:
        """`load` imports; `later` is called once it has, if somebody was told before that it has
        not: where nothing moves any more nobody asks a second time."""
        self._load = load
        self._later = later
        self._done: Any = None
        self._pid = 0
        """Of the process whose OS thread imports: a forked child has none."""
        self._was_missed = False
        self._forks = self._was_put_off = False
        """Whether the process is about to fork: nothing begins.  And whether it was to begin."""
        self.is_over = False
        """Whether all is imported, for who must not wait."""

    def is_done(self) -> bool:
        """Whether all is imported; waits a little.  An OS thread of the runtime's."""
        if self._begin() and not self._wait(_TO_LOAD):
            self._was_missed = True
        return self.is_over

    def is_done_now(self) -> bool:
        """Whether all is imported; if not, that begins.  An OS thread of the runtime's."""
        self._was_missed = True
        self._begin()
        return self.is_over

    def before_fork(self) -> None:
        """Wait until nothing is half imported.  Who forks, as for `after_fork`."""
        self._forks = True
        if self._done is not None and self._pid == os.getpid():
            self._wait(_TO_FORK)

    def after_fork(self) -> None:
        """In both processes."""
        self._forks = False
        if self._was_put_off:
            self._was_put_off = False
            self._begin()

    def _wait(self, seconds: float) -> bool:
        """Whether what has begun is over, after so many seconds at most."""
        if not originals.lock_acquire(self._done, True, seconds):
            return False
        originals.lock_release(self._done)  # another one may wait as well
        return True

    def _begin(self) -> bool:
        """Whether it is under way."""
        if self.is_over:
            return False
        if self._forks:
            self._was_put_off = True
            return False
        if self._done is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._done = originals.allocate_lock()
            originals.lock_acquire(self._done)
            try:
                os_threads.start(self._run, ())
            except RuntimeError:  # the system has no more: try again next time
                self._done = None
        return self._done is not None

    def _run(self) -> None:
        try:
            with texts_compiled:
                self._load()
            self.is_over = True
        finally:
            originals.lock_release(self._done)
        if self._was_missed and self._later is not None:
            self._later()
