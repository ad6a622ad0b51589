"""What `ps` may ask a program: its threads as data, or its blocking graph.

1. The graph is drawn by the kernel, which records it, or, while C code keeps that busy, here: what
   has been recorded does not change meanwhile.  Everything else needs the GIL alone.

Any OS thread but the scheduler's; `answer_here` on that.
"""

from __future__ import annotations

from ..cpython import originals
from ..cpython.modules import whole
from ..kernel.core import Kernel
from .snapshot import snapshot

__all__ = ["ANSWERED", "answer_here", "answer_to"]

ANSWERED = "\0"
"""What ends an answer in a file."""
_PATIENCE = 0.5
"""Seconds for which the kernel is waited for."""
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
    originals.lock_acquire(done, True, _PATIENCE)
    return drawings[0] if drawings else answer_here(kernel, request)


def answer_here(kernel: Kernel, request: str) -> str:
    """The answer, where the kernel does not record its graph meanwhile."""
    word, _, kind = request.partition(" ")
    if word == "threads":
        text: str = whole("json").dumps(snapshot(kernel))
        return text
    if word == "graph" and kind in _KINDS:
        from ..graph.output import drawing_of

        return drawing_of(kernel, kind)
    return f"error: not understood: {request}\n"
