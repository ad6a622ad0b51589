"""Whose frame it is: the runtime's or the program's.  Everything that asks asks here.

1. A frame is the runtime's if its globals are those of a module of this package, wherever in the
   package that module lies, or if its code is registered.  No file and no function is named: a
   move within the package changes nothing.
2. `PROGRAMS` are programs on top of the package: their frames are a program's like any other.
3. Some functions of the runtime play a part that is theirs alone.  They are registered by their
   code object, where they are defined: an `entry` calls the program's code for good (the bottom of
   a thread, of the main program, of a signal handler in the suspended main thread), an
   `interrupter` calls it on top of what it has interrupted, and a `wait` says what its callers
   wait for.
4. A stack is read from the innermost frame outwards.  What lies below an entry does not concern
   what runs above it.

Nothing here calls the program's code.  Any OS thread, signal handlers.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, TypeVar

__all__ = [
    "entry",
    "innermost",
    "interrupter",
    "is_entry",
    "is_interrupter",
    "is_ours",
    "program_part",
    "register",
    "wait",
    "wait_kind",
]

PACKAGE = __name__.partition(".")[0]
PROGRAMS = (f"{PACKAGE}.audit", f"{PACKAGE}.bench")

_INSIDE = f"{PACKAGE}."

F = TypeVar("F", bound=Callable[..., Any])

_registered: dict[int, CodeType] = {}
"""By identity: two functions of one text have equal code objects."""
_entries: set[int] = set()
_interrupters: set[int] = set()
_waits: dict[int, str] = {}


def register(function: F) -> F:
    """Have the frames of `function` count as the runtime's, in whatever module it lies.  It is a
    decorator; the functions that a factory makes from one text have one code object."""
    code = _code(function)
    _registered[id(code)] = code
    return function


def entry(function: F) -> F:
    """Register a function that calls the program's code for good."""
    _entries.add(id(_code(function)))
    return register(function)


def interrupter(function: F) -> F:
    """Register a function that calls the program's code on top of what it has interrupted."""
    _interrupters.add(id(_code(function)))
    return register(function)


def wait(kind: str) -> Callable[[F], F]:
    """Register a function whose callers wait for `kind`, which no thread's record tells."""

    def decorate(function: F) -> F:
        _waits[id(_code(function))] = kind
        return register(function)

    return decorate


def is_ours(frame: FrameType | None) -> bool:
    """Whether `frame` belongs to the runtime."""
    if frame is None:
        return False
    name = frame.f_globals.get("__name__")
    if type(name) is str and name.startswith(PACKAGE):
        if name.startswith(PROGRAMS):
            return False
        return name.startswith(_INSIDE) or name == PACKAGE
    return id(frame.f_code) in _registered


def is_entry(frame: FrameType) -> bool:
    """Whether `frame`, which is the runtime's, calls the program's code for good."""
    return id(frame.f_code) in _entries


def is_interrupter(frame: FrameType) -> bool:
    """Whether `frame`, which is the runtime's, calls the program's code on top of other code."""
    return id(frame.f_code) in _interrupters


def wait_kind(frame: FrameType) -> str | None:
    """What the callers of `frame`, which is the runtime's, wait for, if it is registered."""
    return _waits.get(id(frame.f_code))


def innermost(frame: FrameType | None) -> FrameType | None:
    """The innermost frame that is the program's, from `frame` outwards; None if there is none."""
    while is_ours(frame):
        assert frame is not None
        frame = frame.f_back
    return frame


def program_part(trace: TracebackType | None) -> TracebackType | None:
    """`trace` without the frames of the runtime that it begins with: what called the program."""
    while trace is not None and is_ours(trace.tb_frame):
        trace = trace.tb_next
    return trace


def _code(function: Any) -> CodeType:
    function = getattr(function, "__func__", function)
    if type(function) is not FunctionType:
        raise TypeError(f"only a function of Python has code to register, not {function!r}")
    return function.__code__
