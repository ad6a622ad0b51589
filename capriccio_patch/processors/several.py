"""The kernels of a process that has several: made with the patch, ended with it.

1. The main kernel is made like any other's; what replaces things is `Dispatch`'s.
2. The others are made before anything is taken over, for their wrappers need what there was; they
   begin after that, for where there is no GIL no other OS thread may run meanwhile.
3. After a fork the kernel of the thread that forked is the only one in the child.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..config import Settings
from ..contracts.scheduler import Scheduler
from ..contracts.socket_backend import Backend
from ..cpython import interpose, originals
from ..cpython.shared_counts import defer
from ..io import os_threads
from ..kernel.processors import Processor, Processors
from ..patching.checkpoints import with_checkpoints
from ..patching.refusals import with_refusals
from ..wrappers.base import Offloader, Patch, Runtime
from ..wrappers.table import Table
from .additional import Additional
from .dispatch import ByOSThread, Dispatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Several"]


class Several:
    """The kernels of one patch, of which there are several.  Main OS thread."""

    no_core = "Python: the compiled core is for one processor"
    """As `Single.no_core`: it keeps what it knows of the one kernel in its module."""

    def __init__(self, number: int, wants: Callable[[Patch], bool]) -> None:
        """``wants(row)``: whether a row is to be applied."""
        self._number = number
        self._wants = wants
        self._processors = Processors()
        self._dispatch: Dispatch
        self._others: list[Additional] = []
        self._kept: Additional | None = None
        self._give_back: Callable[[], None] | None = None
        """In a forked child: which of them is left, and what ends its handling of signals."""
        self._later: list[tuple[Additional, list[Patch]]] = []
        """Rows of the others, for what is not taken over yet."""

    def main(self, make_kernel: object) -> Callable[[Backend, Scheduler], Processor]:
        """How the main kernel is made."""

        def made(backend: Backend, scheduler: Scheduler) -> Processor:
            kernel = Processor(self._processors, backend, scheduler)
            self._dispatch = Dispatch(kernel)
            return kernel

        return made

    def make(
        self, settings: Settings, executed: Callable[[Any], Any], failed: dict[str, str]
    ) -> None:
        """Make the others; `executed` and `failed` are those of `Table`."""
        for _ in range(self._number - 1):
            other = Additional(self._processors, settings)
            self._others.append(other)
            other.table = Table.made(other.runtime, other.watchdog, executed, failed)
            self._later.append((other, other.table.rows))

    def rows(self, rows: list[Patch]) -> list[Patch]:
        """The main kernel's `rows`, for all kernels."""
        made = self._dispatch.rows(rows)
        for other, each in self._later:
            self._add(other, each)
        self._later.clear()
        return made

    def in_all(self, rows: list[Patch]) -> list[Patch]:
        """`rows`, which the others are to have as well, as they are."""
        self._later += [(other, rows) for other in self._others]
        return rows

    def begin(self) -> None:
        """Have the others run threads."""
        defer(ByOSThread)
        os_threads.note_mask()
        for other in self._others:
            other.begin()

    def importing(self, name: str, failed: dict[str, str]) -> None:
        """The module is there whose late rows are to be applied."""
        for other in self._others:
            for late in (each for each in other.table.late if each.module == name):
                self._later.append((other, late.rows(failed)))

    def offloader(self, main: Table) -> Callable[[type | None], Offloader]:
        """As `Table.offloader`, for all kernels; `main` is the main one's table."""
        return partial(self._offloader, main)

    def _offloader(self, main: Table, cls: type | None) -> Offloader:
        def offloaded(original: Any, **how: Any) -> Any:
            first = main.offloader(cls)(original, **how)
            others = {
                each.kernel.os_ident: each.table.offloader(cls)(original, **how)
                for each in self._others
            }
            return self._dispatch.one_of(first, others)

        return offloaded

    def _add(self, other: Additional, rows: list[Patch]) -> None:
        rows = with_refusals([*filter(self._wants, rows)], ())
        self._dispatch.add(other.kernel.os_ident, with_checkpoints(other.kernel, rows))

    def here(self, main: Runtime) -> Runtime:
        """The runtime of the calling OS thread, or `main`, the main kernel's.  Any OS thread."""
        ident = originals.get_ident()
        return next((each.runtime for each in self._others if each.kernel.os_ident == ident), main)

    def keep(self, main: Runtime) -> Runtime:
        """In a forked child: the runtime that is left, as `here`."""
        runtime = self.here(main)
        self._kept = next((each for each in self._others if each.runtime is runtime), None)
        os_threads.take_mask()
        for each in (main, *(other.runtime for other in self._others)):
            if each is not runtime:
                interpose.leak(each)  # with what its threads have on their stacks
                each.kernel.backend.close()
        self._others.clear()
        self._dispatch.keep(runtime.kernel.os_ident)
        return runtime

    def hand_over(self, main: Table) -> None:
        """In a forked child: the kernel that is left has what was the main one's alone, of which
        `main` is the table."""
        if self._kept is not None:
            self._give_back = self._kept.table.signals.take_over(main.signals)

    def count(self) -> int:
        """How many kernels there are.  Any OS thread."""
        return 1 + len(self._others)

    def blocked(self, main: dict[str, Any]) -> dict[str, Any]:
        """What ``status()["blocked"]`` tells, of which `main` is the main kernel's.  Any OS
        thread."""
        every = [main, *(other.watchdog.blocked() for other in self._others)]
        return {
            "calls": sum(each["calls"] for each in every),
            "longest": max(each["longest"] for each in every),
            "places": {place: times for each in every for place, times in each["places"].items()},
        }

    def retire(self) -> None:
        """End the others: no thread lives any more."""
        os_threads.forget_mask()
        if self._give_back is not None:
            give_back, self._give_back = self._give_back, None
            give_back()
        if self._others:
            try:
                self._others.pop().retire()
            finally:
                self.retire()

    def halt(self) -> None:
        """The process ends: have the others run nothing any more."""
        for other in self._others:
            other.halt()
