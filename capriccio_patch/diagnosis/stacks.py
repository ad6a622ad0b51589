"""The stacks of green threads as the program wrote them, and the call in which each waits.

1. Frames of the runtime are left out.
2. A thread waits *in* the outermost call of the standard library (or of the runtime in its place)
   that the program's innermost code has made: ``Queue.get``, not the condition inside.
3. Only records and frames are read; nothing of the program is called.

Any OS thread that has the GIL: the answers about a thread that runs meanwhile may be torn.
"""

from __future__ import annotations

from types import FrameType
from typing import Any, NamedTuple

from ..contracts.thread import Thread
from ..cpython import frames
from ..cpython.modules import imported, whole
from ..cpython.standstill import has_gil
from ..kernel.core import Kernel

__all__ = [
    "Call",
    "Place",
    "frame_of",
    "is_foreign",
    "is_library",
    "line_of",
    "name_of",
    "place_of",
    "program_stack",
    "stack_of",
    "stack_of_frames",
    "variables_of",
    "waits_in",
]

MOST_FRAMES = 40
_CO_OPTIMIZED = 1
_OUTERMOST = 100
"""Frames that are looked through at most."""


class Place(NamedTuple):
    """A line of code that runs, or waits."""

    file: str
    line: int
    function: str


class Call(NamedTuple):
    """What a thread waits in: a method of a thing."""

    name: str
    thing: Any


_NO_CALL = Call("", None)


def frame_of(kernel: Kernel, thread: Thread) -> FrameType | None:
    """The innermost frame of a thread, the runtime's included; None if it has not begun.

    None as well without a GIL, on another OS thread: the thread may end it at any time.
    """
    if not thread.started or not (kernel.is_mine() or has_gil()):
        return None
    frame: FrameType | None = getattr(thread.greenlet, "gr_frame", None)
    kernel = kernel.of(thread)
    if frame is None and thread.ident == kernel.current.ident:
        frame = kernel.c_state.read_frame(lambda found: found)
    return frame


def stack_of(kernel: Kernel, thread: Thread, most: int = MOST_FRAMES) -> tuple[Place, ...]:
    """The program's part of a thread's stack, the innermost frame first.

    Without what has called the program, unless there is nothing else.
    """
    return program_stack(frame_of(kernel, thread), most)


def program_stack(frame: FrameType | None, most: int = MOST_FRAMES) -> tuple[Place, ...]:
    """As `stack_of`, from an innermost frame."""
    stack: list[Place] = []
    own = 0
    while frame is not None and len(stack) < most:
        if not frames.is_ours(frame) and not frames.is_of_the_package(frame.f_code.co_filename):
            code = frame.f_code
            stack.append(Place(code.co_filename, frame.f_lineno or 0, code.co_name))
            if not frames.is_stdlib(code.co_filename):
                own = len(stack)
        frame = frame.f_back
    return tuple(stack[:own] or [place for place in stack if place.function not in _BOOTSTRAP])


def place_of(stack: tuple[Place, ...]) -> Place | None:
    """The innermost place that is not the standard library's, if there is one."""
    own = (place for place in stack if not frames.is_stdlib(place.file))
    return next(own, stack[0] if stack else None)


def line_of(place: Place) -> str:
    """The text of a line; empty if it can't be read."""
    text: str = whole("linecache").getline(place.file, place.line)
    return text.strip()


def waits_in(frame: FrameType | None) -> Call:
    """The call in which a thread waits whose innermost frame is `frame`."""
    call = _NO_CALL
    for _ in range(_OUTERMOST):
        if frame is None:
            break
        ours = frames.is_ours(frame)
        if not ours and not frames.is_stdlib(frame.f_code.co_filename):
            break
        if frame.f_code.co_filename.endswith("/futures/_base.py"):
            name = frame.f_code.co_name
            if name in _OF_FUTURES:
                call = Call(f"futures.{name}", None)
        if frame.f_code.co_varnames[:1] == ("self",) and frame.f_code.co_argcount:
            thing = frame.f_locals.get("self")
            module = type(thing).__module__
            name = frame.f_code.co_name.strip("_")
            if name in _BOTTOM:
                break
            if thing is not None and not module.startswith(frames.PACKAGE):
                call = Call(f"{type(thing).__name__}.{_SHOWN.get(name, name)}", thing)
        frame = frame.f_back
    return call


_SHOWN = {"enter": "acquire", "wait_for_tstate_lock": "join", "method": "read or write"}
_OF_FUTURES = frozenset({"as_completed", "wait"})
"""Functions of `concurrent.futures` that are no methods, and wait for an event of their own."""
_BOOTSTRAP = frozenset({"_bootstrap", "_bootstrap_inner", "run"})
_BOTTOM = frozenset({"bootstrap", "bootstrap_inner", "run", "shutdown"})
"""What runs a thread's code, or is called when the main thread's has ended."""


def name_of(ident: int) -> str:
    """How reports name a thread: the name that the program or `threading` has given it."""
    threading = imported("threading")
    thread = None if threading is None else threading._active.get(ident)
    name = getattr(thread, "_name", None)
    return str(name) if name else f"thread {ident:#x}"


def stack_of_frames(frame: FrameType | None) -> list[FrameType]:
    """The frames of a stack, from the innermost on, but those of a search that runs on it."""
    stack: list[FrameType] = []
    while frame is not None:
        if frames.wait_kind(frame) == "search":
            stack.clear()
        else:
            stack.append(frame)
        frame = frame.f_back
    return stack


def variables_of(frame: FrameType) -> Any:
    """What a function's frame has as variables, by name; None of a module's or a class's, whose
    names are in their namespace.  Until CPython 3.12 a dict, which the frame keeps."""
    return frame.f_locals if frame.f_code.co_flags & _CO_OPTIMIZED else None


def is_foreign(file: str) -> bool:
    """Whether code of that file is the standard library's, or ours."""
    return frames.is_stdlib(file) or frames.is_of_the_package(file)


def is_library(file: str) -> bool:
    """Whether code of that file is neither the program's own, the standard library's nor ours."""
    return "site-packages" in file or "dist-packages" in file
