"""The blocking graph of a kernel's threads, as records, as text, and in a file."""

from __future__ import annotations

import os
import sys

from ..contracts.scheduler import Abilities
from ..kernel.core import Kernel
from .model import BlockingGraph

__all__ = ["EMPTY", "draw", "drawing_of", "recorded", "save"]

EMPTY = BlockingGraph((), (), 0, 0, 0.0)


def recorded(kernel: Kernel) -> BlockingGraph:
    """The graph, as far as the scheduler has recorded it.  Scheduler's OS thread."""
    from .recorder import Recorder

    recorder = Abilities(kernel.scheduler).recorder or Recorder(kernel)
    graph: BlockingGraph = recorder.snapshot()
    return graph


def drawing_of(kernel: Kernel, kind: str) -> str:
    """The graph as ``svg``, ``html``, ``dot`` or ``json``.  Scheduler's OS thread."""
    from .drawing import drawn

    return drawn(recorded(kernel), kind)


def save(drawing: str, path: str) -> None:
    """Write a drawing to a file, in whose name ``%p`` stands for the number of this process; a line
    on standard error if that can't be done.  Any OS thread."""
    try:
        with open(path.replace("%p", str(os.getpid())), "w", encoding="utf-8") as file:
            file.write(drawing)
    except OSError as error:
        if sys.stderr is not None:  # for `print` that would be standard output
            print(f"capriccio_patch: no graph is drawn: {error}", file=sys.stderr)


def draw(kernel: Kernel, path: str) -> None:
    """Save the graph, as the suffix of `path` says.  At exit."""
    save(drawing_of(kernel, path.rpartition(".")[2]), path)
