"""What the watchdog needs and has not imported yet.

An import may have to wait for one of the program's, whose thread may want to be preempted, and that
takes the watchdog.  So it is made on an OS thread of its own.
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


class Loading:
    """Imports that are made when they are asked for first."""

    __slots__ = ("_done", "_later", "_load", "_pid", "_was_missed", "is_over")

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
        self.is_over = False
        """Whether all is imported, for who must not wait."""

    def is_done(self) -> bool:
        """Whether all is imported; waits a little.  An OS thread of the runtime's."""
        if self._begin():
            if originals.lock_acquire(self._done, True, _TO_LOAD):
                originals.lock_release(self._done)  # another one may wait as well
            else:
                self._was_missed = True
        return self.is_over

    def is_done_now(self) -> bool:
        """Whether all is imported; if not, that begins.  An OS thread of the runtime's."""
        self._was_missed = True
        self._begin()
        return self.is_over

    def _begin(self) -> bool:
        """Whether it is under way."""
        if self.is_over:
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
