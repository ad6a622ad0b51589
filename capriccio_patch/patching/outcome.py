"""What is told when the program has failed: how it can be made to do so again."""

from __future__ import annotations

import sys

from ..contracts.scheduler import Abilities
from ..cpython import originals
from ..cpython.frames import hide
from ..kernel.core import Kernel
from ..wrappers.base import Patch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Outcome"]


class Outcome:
    """Whether the program has failed, and the line that tells how to have it fail so again."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.failed = False
        """Set by whoever knows; what the interpreter has reported is found in `sys`."""

    def patches(self) -> list[Patch]:
        """The rows that note what is raised and not caught in threads, of whichever kernel."""
        if not Abilities(self._kernel.scheduler).draws_lots:
            return []
        import _thread

        original = originals.thread_excepthook
        report = self._kernel.report

        def excepthook(args: Any, /) -> Any:
            if args[0] is not SystemExit:
                self.failed = True
            if not sys.flags.dev_mode:
                hide(args[1])
            return original(args)

        def report_raw(thread: Any) -> None:
            self.failed = True
            if report is not None:
                report(thread)

        for kernel in self._kernel.all():
            kernel.report = report_raw
        assert hasattr(_thread, "_excepthook")
        return [Patch("threading", "_thread", "_excepthook", excepthook)]

    def tell(self) -> None:
        """At exit: if the program has failed and there is a seed, print it."""
        seed = Abilities(self._kernel.scheduler).seed
        if seed is None or not (self.failed or hasattr(sys, "last_value")):
            return
        try:
            if sys.stderr is not None:  # for `print` that would be standard output
                print(f"capriccio_patch: failed with --seed {seed}", file=sys.stderr, flush=True)
        except (AttributeError, OSError, ValueError):
            pass  # it is closed, or there is none
