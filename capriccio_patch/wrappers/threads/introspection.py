"""``sys``: what it tells of all threads, and does to all of them.

Trace and profile functions of the running thread need nothing here (`kernel.thread_locals`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType

from ...contracts.thread import Thread
from ...cpython import originals
from ...cpython.frames import innermost
from ...cpython.interpose import clone
from ...cpython.thread_state import is_only_interpreter
from ...io import os_threads
from ...kernel.core import Kernel
from ..base import Patch, Runtime
from .tracing import of_the_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["current_frames", "patches"]

_PATIENCE = 1.0
"""Seconds for which a thread's answer is waited for where its kernel is another, which may be in a
call of C."""
_PAUSE = 0.0005
"""Seconds from one look for answers of other kernels to the next."""


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
        for each in kernel.all():
            frames.pop(each.os_ident, None)
            found = each.c_state.read_frame(partial(_running, each))
            if found is not None:
                frames[found[0]] = found[1]
        for ident in os_threads.idents():
            frames.pop(ident, None)  # where another kernel has no thread of the program's
        for thread in _parked(runtime):
            frame = thread.greenlet.gr_frame if thread.greenlet is not None else None
            if frame is not None:
                frames[thread.ident] = innermost(frame) or frame
        return frames

    return frames_of_all


def _running(kernel: Kernel, frame: FrameType) -> tuple[int, FrameType]:
    """Whose innermost frame `frame` is, and where the program is in it."""
    return kernel.current.ident, innermost(frame) or frame


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
                exceptions[thread.ident] = original()[originals.get_ident()]

            return tell

        for thread in asked:
            home = kernel.of(thread)
            if home is kernel:
                kernel.interrupt(thread, ask(thread))
            else:
                home.call_soon(home.interrupt, thread, ask(thread))
        end = kernel.clock() + _PATIENCE
        while any(each.ident not in exceptions and each.ident in kernel.threads for each in asked):
            if len(kernel.all()) == 1:
                kernel.yield_()
            elif kernel.clock() < end:
                kernel.sleep_until(kernel.clock() + _PAUSE)
            else:
                break
        return found | exceptions

    return current_exceptions


def _for_all(
    runtime: Runtime, name: str, install: str, made: Callable[[Any], Any]
) -> Callable[[Any], None]:
    kernel = runtime.kernel
    original = clone(getattr(sys, name))
    set_own = clone(getattr(sys, install))

    def set_others(function: Any) -> None:
        for thread in list(kernel.threads.values()):
            home = kernel.of(thread)
            if home is not kernel:
                home.call_soon(interrupt_other, home, thread, partial(set_own, function))
            else:
                interrupt_other(home, thread, partial(set_own, function))

    def interrupt_other(home: Kernel, thread: Thread, action: Callable[[], None]) -> None:
        if thread is not home.current:
            home.interrupt(thread, action)

    def set_all(function: Any, /) -> None:
        function = made(function)
        if kernel.is_mine():
            set_others(function)
        else:
            kernel.call_soon(set_others, function)
        original(function)

    return set_all
