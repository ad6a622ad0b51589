"""What is told when the program ends: how it can be made to fail so again, and where it waited."""

from __future__ import annotations

import os
import sys
from typing import Any

from ..contracts.scheduler import Abilities
from ..cpython import originals
from ..cpython.frames import hide
from ..kernel.core import Kernel
from ..wrappers.base import Patch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..graph.model import BlockingGraph

__all__ = ["Outcome", "draw", "recorded"]


def recorded(kernel: Kernel) -> BlockingGraph:
    """The blocking graph, as far as the scheduler has recorded it.  Scheduler's OS thread."""
    from ..graph.recorder import Recorder

    recorder = Abilities(kernel.scheduler).recorder or Recorder(kernel)
    graph: BlockingGraph = recorder.snapshot()
    return graph


def draw(kernel: Kernel, path: str) -> None:
    """At exit: write the blocking graph to a file, in whose name ``%p`` stands for the number of
    this process; a warning if that can't be done."""
    from ..graph.drawing import drawn

    path = path.replace("%p", str(os.getpid()))
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(drawn(recorded(kernel), path.rpartition(".")[2]))
    except OSError as error:
        print(f"capriccio_patch: no graph is drawn: {error}", file=sys.stderr)


class Outcome:
    """Whether the program has failed, and the line that tells how to have it fail so again."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.failed = False
        """Set by whoever knows; what the interpreter has reported is found in `sys`."""

    def patches(self) -> list[Patch]:
        """The rows that note what is raised and not caught in threads."""
        if not Abilities(self._kernel.scheduler).draws_lots:
            return []
        import _thread

        original = originals.thread_excepthook
        kernel = self._kernel
        report = kernel.report

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

        kernel.report = report_raw
        assert hasattr(_thread, "_excepthook")
        return [Patch("threading", "_thread", "_excepthook", excepthook)]

    def tell(self) -> None:
        """At exit: if the program has failed and there is a seed, print it."""
        seed = Abilities(self._kernel.scheduler).seed
        if seed is None or not (self.failed or hasattr(sys, "last_value")):
            return
        try:
            print(f"capriccio_patch: failed with --seed {seed}", file=sys.stderr, flush=True)
        except (AttributeError, OSError, ValueError):
            pass  # standard error is closed, or there is none
