"""How many kernels there are to be; what several need is imported only for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from ..config import Settings
from ..cpython.standstill import has_gil
from ..errors import PatchError
from ..wrappers.base import Offloader, Patch, Runtime
from .parts import MakeKernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..wrappers.table import Table
    from .several import Several

__all__ = ["Single", "processors_for"]

also_with_gil = False
"""Whether there may be several in any case, as tests have it."""


class Single:
    """The one kernel of a process: what `several.Several` is for more."""

    no_core = ""
    """Why the compiled core can't be used."""

    def main(self, make_kernel: MakeKernel) -> MakeKernel:
        """How the main kernel is made."""
        return make_kernel

    def make(
        self, settings: Settings, executed: Callable[[Any], Any], failed: dict[str, str]
    ) -> None:
        """There are no others."""

    def rows(self, rows: list[Patch]) -> list[Patch]:
        """The main kernel's `rows`, for all kernels."""
        return rows

    def in_all(self, rows: list[Patch]) -> list[Patch]:
        """`rows`, which the others are to have as well, as they are."""
        return rows

    def offloader(self, main: Table) -> Callable[[type | None], Offloader]:
        """As `Table.offloader`, for all kernels; `main` is the main one's table."""
        return main.offloader

    def importing(self, name: str, failed: dict[str, str]) -> None:
        """There are no rows of others."""

    def begin(self) -> None:
        """There are no others."""

    retire = halt = begin

    def here(self, main: Runtime) -> Runtime:
        """The runtime of the calling OS thread, or `main`, the main kernel's.  Any OS thread."""
        return main

    keep = here

    def hand_over(self, main: Table) -> None:
        """In a forked child: what is of the process is in good hands."""

    def count(self) -> int:
        """How many kernels there are.  Any OS thread."""
        return 1

    def blocked(self, main: dict[str, Any]) -> dict[str, Any]:
        """What ``status()["blocked"]`` tells, of which `main` is the main kernel's."""
        return main


def processors_for(settings: Settings, wants: Callable[[Patch], bool]) -> Single | Several:
    """The kernels that `settings` ask for; ``wants(row)`` says whether a row is to be applied.

    With the GIL it is one, which the compiled core is for: several would run in turns.  PatchError
    where there can't be several.
    """
    if settings.processors == 1 or (has_gil() and not also_with_gil):
        return Single()
    number = settings.processors or _cpus()
    if sys.hexversion < 0x30C0000:
        raise PatchError("several processors need CPython 3.12, for sys.monitoring")
    if settings.core == "compiled":
        raise PatchError("the compiled core is for one processor; CAPRICCIO_CORE=auto for several")
    from .several import Several

    return Several(number, wants)


def _cpus() -> int:
    """How many CPUs this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
