"""A kernel beside the main one: its OS thread, what it waits with, and its wrappers.

1. It is made on its own OS thread, which takes none of the process's signals; it stands still
   there until everything is taken over.
2. It lives as long as the patch; when the process ends it stands still (`Processor.halt`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..config import Settings
from ..cpython import interpose, originals
from ..io import os_threads
from ..io.descriptors import Descriptors
from ..kernel.processors import Processor, Processors
from ..preemption.elsewhere import Elsewhere
from ..preemption.watchdog import Watchdog
from ..wrappers.base import Runtime
from .parts import runtime_for, watch_times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Additional"]

_REQUESTS = 100
_PATIENCE = 0.02
"""So often, and each time for so many seconds, the end of the process asks a kernel to halt; one
that is in a call of C for longer may crash it before CPython 3.14, which ends its OS thread."""


class Additional:
    """One more kernel of the process.  Main OS thread, but where another is named."""

    def __init__(self, processors: Processors, settings: Settings) -> None:
        """Raises what making the parts of a kernel raises."""
        self._errors: list[BaseException] = []
        """What the main OS thread is to raise."""
        self._ended = originals.allocate_lock()
        self._opened: list[Callable[[], object]] = []
        self.runtime: Runtime
        self.watchdog: Watchdog
        self.table: Any = None
        """Its wrappers."""
        self._may_begin = originals.allocate_lock()
        self._has_begun = originals.allocate_lock()
        made = originals.allocate_lock()
        for each in (self._may_begin, self._has_begun, made, self._ended):
            originals.lock_acquire(each)
        os_threads.start(self._run, (processors, settings, made))
        originals.lock_acquire(made)
        if self._errors:
            originals.lock_acquire(self._ended)
            self._raise()

    @property
    def kernel(self) -> Processor:
        """Its kernel."""
        kernel = self.runtime.kernel
        assert isinstance(kernel, Processor)
        return kernel

    def begin(self) -> None:
        """Have it run threads.  Raises what starting its watchdog raises."""
        if originals.lock_locked(self._may_begin):
            originals.lock_release(self._may_begin)
            originals.lock_acquire(self._has_begun)
            self._raise()

    def retire(self) -> None:
        """End it: no thread lives there any more.  Raises what closing its parts raises."""
        self.kernel.retire()
        try:
            self.begin()  # if it has not
        finally:
            originals.lock_acquire(self._ended)
            self._raise()

    def halt(self) -> None:
        """The process ends: have it run nothing any more."""
        halted = originals.allocate_lock()
        originals.lock_acquire(halted)
        interpose.leak(self)
        interpose.leak(self.kernel)
        interpose.leak(self.kernel.spare)
        self.kernel.halt(partial(originals.lock_release, halted))
        for _ in range(_REQUESTS):
            self.watchdog.preemption.request()  # whatever its slice is
            if originals.lock_acquire(halted, True, _PATIENCE):
                return

    def _raise(self) -> None:
        errors, self._errors = self._errors, []
        if errors:
            raise errors[0]

    def _run(self, processors: Processors, settings: Settings, made: Any) -> None:
        """On its OS thread."""
        is_made = self._does(self._make, processors, settings)
        originals.lock_release(made)
        if is_made:
            originals.lock_acquire(self._may_begin)
            originals.lock_release(self._may_begin)
            is_watched = self._does(self._watch)
            originals.lock_release(self._has_begun)
            if is_watched:
                self._does(self.kernel.serve)
        while self._opened:
            self._does(self._opened.pop())
        originals.lock_release(self._ended)

    def _does(self, call: Callable[..., object], *args: Any) -> bool:
        """Make a call; False if it raises, which the main OS thread is to raise then."""
        try:
            call(*args)
        except BaseException as error:
            self._errors.append(error)
            return False
        return True

    def _watch(self) -> None:
        self._opened.append(self.watchdog.stop)
        self.watchdog.start()

    def _make(self, processors: Processors, settings: Settings) -> None:
        make_kernel = partial(Processor, processors)
        self.runtime = runtime_for(settings, self._opened, make_kernel, _nothing)
        kernel = self.runtime.kernel
        self.watchdog = Watchdog(kernel, *watch_times(settings, kernel), preemption=Elsewhere)


def _nothing(descriptors: Descriptors) -> None:
    """The compiled core is one kernel's alone."""
