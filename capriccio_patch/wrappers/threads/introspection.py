"""``sys``: what it tells of all threads, and does to all of them.

Trace and profile functions of the running thread need nothing here (`kernel.thread_locals`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType

from ...contracts.thread import Thread
from ...cpython.frames import innermost
from ...cpython.interpose import clone
from ...cpython.thread_state import is_only_interpreter
from ...io import os_threads
from ..base import Patch, Runtime
from .tracing import of_the_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["current_frames", "patches"]


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    rows = [
        Patch("threading", "sys", "_current_frames", current_frames(runtime)),
        Patch("threading", "sys", "_current_exceptions", _current_exceptions(runtime)),
    ]
    for name, install in (
        ("_settraceallthreads", "settrace"),
        ("_setprofileallthreads", "setprofile"),
    ):
        if hasattr(sys, name):
            made = of_the_program if install == "settrace" else _as_it_is
            rows.append(Patch("threading", "sys", name, _for_all(runtime, name, install, made)))
    return rows


def _as_it_is(function: Any) -> Any:
    return function


def _parked(runtime: Runtime) -> list[Thread]:
    """The threads that have begun and do not run now."""
    kernel = runtime.kernel
    me = kernel.current.ident if kernel.is_mine() else None
    return [each for each in kernel.threads.values() if each.started and each.ident != me]


def current_frames(runtime: Runtime) -> Callable[[], dict[int, FrameType]]:
    """What tells the innermost frame of each thread by its identifier.  Any OS thread."""
    kernel = runtime.kernel
    original = clone(sys._current_frames)

    def frames_of_all() -> dict[int, FrameType]:
        """The frames of OS threads, and of green threads where they wait.

        Not of OS threads while there are other interpreters: see `thread_state.frame_reader`.
        """
        frames: dict[int, FrameType] = {}
        if is_only_interpreter():
            frames = _of_the_program(original())
            frames.pop(kernel.os_ident, None)
        found = kernel.c_state.read_frame(
            lambda frame: (kernel.current.ident, innermost(frame) or frame)
        )
        if found is not None:
            frames[found[0]] = found[1]
        for thread in _parked(runtime):
            frame = thread.greenlet.gr_frame if thread.greenlet is not None else None
            if frame is not None:
                frames[thread.ident] = innermost(frame) or frame
        return frames

    return frames_of_all


def _of_the_program(found: dict[int, Any]) -> dict[int, Any]:
    """What was found by identifier, without the OS threads that the program has not started."""
    for ident in (*os_threads.idents(), 0):  # 0: one that has not begun
        found.pop(ident, None)
    return found


def _current_exceptions(runtime: Runtime) -> Callable[[], dict[int, Any]]:
    kernel = runtime.kernel
    original = clone(sys._current_exceptions)

    def current_exceptions() -> dict[int, Any]:
        """What each thread is handling: each green thread tells for itself, on its own stack."""
        found: dict[int, Any] = _of_the_program(original())
        if not kernel.is_mine():
            return found
        exceptions = {kernel.current.ident: found.pop(kernel.os_ident, None)}
        asked = _parked(runtime)

        def ask(thread: Thread) -> Callable[[], None]:
            def tell() -> None:
                exceptions[thread.ident] = answer()

            return tell

        for thread in asked:
            kernel.interrupt(thread, ask(thread))
        while any(each.ident not in exceptions and each.ident in kernel.threads for each in asked):
            kernel.yield_()
        return found | exceptions

    def answer() -> Any:
        return original()[kernel.os_ident]

    return current_exceptions


def _for_all(
    runtime: Runtime, name: str, install: str, made: Callable[[Any], Any]
) -> Callable[[Any], None]:
    kernel = runtime.kernel
    original = clone(getattr(sys, name))
    set_own = clone(getattr(sys, install))

    def set_others(function: Any) -> None:
        for thread in list(kernel.threads.values()):
            if thread is not kernel.current:
                kernel.interrupt(thread, partial(set_own, function))

    def set_all(function: Any, /) -> None:
        function = made(function)
        if kernel.is_mine():
            set_others(function)
        else:
            kernel.call_soon(set_others, function)
        original(function)

    return set_all
