"""What `ps` may ask a program: its threads as data, or its blocking graph.

1. The graph is drawn by the kernel, which records it: if that is busy, the answer says so.
   Everything else needs the GIL alone.

Any OS thread but the scheduler's; `answer_here` on that.
"""

from __future__ import annotations

from ..contracts.scheduler import Abilities
from ..cpython import originals
from ..cpython.modules import standard
from ..kernel.core import Kernel
from .snapshot import snapshot

__all__ = ["ANSWERED", "answer_here", "answer_to"]

ANSWERED = "\0"
"""What ends an answer in a file."""
_PATIENCE = 5.0
_KINDS = frozenset({"svg", "html", "dot", "json"})


def answer_to(kernel: Kernel, request: str) -> str:
    """The answer to ``threads`` or ``graph KIND``."""
    if not request.startswith("graph"):
        return answer_here(kernel, request)
    drawings: list[str] = []
    done = originals.allocate_lock()
    originals.lock_acquire(done)

    def draw() -> None:
        try:
            drawings.append(answer_here(kernel, request))
        finally:
            originals.lock_release(done)

    kernel.call_soon(draw)
    if not originals.lock_acquire(done, True, _PATIENCE):
        return "error: the program is busy in one call, and can't draw its graph now\n"
    return drawings[0] if drawings else "error: the graph can't be drawn\n"


def answer_here(kernel: Kernel, request: str) -> str:
    """The answer, on the scheduler's OS thread if it is a graph."""
    word, _, kind = request.partition(" ")
    if word == "threads":
        text: str = standard("json").dumps(snapshot(kernel))
        return text
    if word == "graph" and kind in _KINDS:
        from ..graph.drawing import drawn
        from ..graph.recorder import Recorder

        recorder = Abilities(kernel.scheduler).recorder or Recorder(kernel)
        return drawn(recorder.snapshot(), kind)
    return f"error: not understood: {request}\n"
