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

import opcode
import os
import sys
from collections.abc import Callable
from functools import wraps
from opcode import opmap
from types import CodeType, FrameType, FunctionType, TracebackType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ParamSpec, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])
    P = ParamSpec("P")
    T = TypeVar("T")

__all__ = [
    "entry",
    "hide",
    "innermost",
    "interrupter",
    "is_entry",
    "is_hidden",
    "is_interrupter",
    "is_of_the_package",
    "is_ours",
    "is_stdlib",
    "is_unseen",
    "make_events",
    "program_part",
    "register",
    "search",
    "searches",
    "stand_in",
    "unseen",
    "wait",
    "wait_kind",
]

PACKAGE = __name__.partition(".")[0]
PROGRAMS = tuple(f"{PACKAGE}.{program}" for program in ("audit", "bench", "integrations"))

_STDLIB = os.path.dirname(os.__file__) + "/"
_INSIDE = f"{PACKAGE}."
_FOLDER = os.path.dirname(os.path.dirname(__file__)) + "/"
_FOLDERS_OF_PROGRAMS = tuple(f"{_FOLDER}{program.removeprefix(_INSIDE)}/" for program in PROGRAMS)

_STAND_IN = (lambda function_, args_, named_: function_(*args_, **named_)).__code__
"""Known by the names of its arguments."""

_NO_EVENTS = 0x2000000 if (3, 13) <= sys.version_info < (3, 15) else 0
"""``CO_NO_MONITORING_EVENTS``, a flag of code: no tool hears of an exception that leaves it."""

_CACHES: Any = opcode._inline_cache_entries  # type: ignore[attr-defined]
_RESUME_CACHES: int = _CACHES["RESUME"] if sys.version_info >= (3, 15) else 0
"""Before CPython 3.15 RESUME has none."""


_registered: dict[int, CodeType] = {}
"""By identity: two functions of one text have equal code objects."""
_entries: set[int] = set()
_interrupters: set[int] = set()
_waits: dict[int, str] = {}
_searches = 0


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


def search(function: Callable[P, T]) -> Callable[P, T]:
    """Register a function that looks at what there is while everybody waits, and have its calls
    counted."""
    wait("search")(function)

    @wraps(function)
    def counted(*args: P.args, **named: P.kwargs) -> T:
        global _searches
        try:
            return function(*args, **named)
        finally:
            _searches += 1

    return register(counted)


def searches() -> int:
    """How many searches have been made."""
    return _searches


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


def is_stdlib(file: str) -> bool:
    """Whether code whose file is called so is the standard library's, or has no file."""
    return file.startswith("<frozen") or (file.startswith(_STDLIB) and "site-packages" not in file)


def is_of_the_package(file: str) -> bool:
    """Whether a file lies in this package and is no program: for what `is_ours` can't tell, a frame
    of the module that runs a program, which is called otherwise then."""
    return file.startswith(_FOLDER) and not file.startswith(_FOLDERS_OF_PROGRAMS)


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


def stand_in(frame: FrameType) -> Callable[..., Any]:
    """What makes the call ``function(*args, **named)``, given these three, in a frame that has the
    place and the globals of `frame`."""
    place = frame.f_code
    code = _STAND_IN.replace(
        co_filename=place.co_filename,
        co_name=place.co_name,
        co_qualname=place.co_qualname,
        co_firstlineno=frame.f_lineno or place.co_firstlineno,
    )
    return FunctionType(code, frame.f_globals)


def is_hidden(frame: FrameType) -> bool:
    """Whether a traceback is to be shown without `frame`."""
    return is_ours(frame) or frame.f_code.co_varnames == _STAND_IN.co_varnames


def program_part(trace: TracebackType | None) -> TracebackType | None:
    """`trace` without the frames of the runtime that it begins with: what called the program."""
    while trace is not None and is_hidden(trace.tb_frame):
        trace = trace.tb_next
    return trace


def hide(error: BaseException | None) -> None:
    """Take the runtime's frames out of the tracebacks of `error` and of what it came of.

    What a call that is taken over has in place of C code is nothing to see.
    """
    found: set[int] = set()
    waiting = [error]
    while waiting:
        error = waiting.pop()
        if error is None or id(error) in found:
            continue
        found.add(id(error))
        error.__traceback__ = trace = program_part(error.__traceback__)
        while trace is not None:
            trace.tb_next = program_part(trace.tb_next)
            trace = trace.tb_next
        waiting += (error.__cause__, error.__context__)
        if isinstance(error, BaseExceptionGroup):
            waiting += error.exceptions


def unseen(code: CodeType) -> CodeType:
    """`code` whose frames nobody sees: no traceback, no ``sys._getframe``, no trace function, not
    one in C either.

    What tells of a call is the instruction RESUME, and what comes before that is not traced
    (``_co_firsttraceable``): without it nothing is, and to the interpreter such a frame is
    incomplete.  From CPython 3.15 a cache follows the instruction, which must not be run either.
    """
    instructions = bytearray(code.co_code)
    resume = instructions[::2].index(opmap["RESUME"])  # behind what fetches its free variables
    for place in range(resume, resume + 1 + _RESUME_CACHES):
        instructions[2 * place] = opmap["NOP"]
    if sys.version_info >= (3, 15):
        instructions += bytes((opmap["RESUME"], 0)) + bytes(2 * _RESUME_CACHES)
        made = code.replace(co_code=bytes(instructions))
        make_events(made)
        return made
    return code.replace(co_code=bytes(instructions), co_flags=code.co_flags | _NO_EVENTS)


def make_events(code: CodeType) -> None:
    """Give `code` the record of its events, all off, that others get at their first RESUME.

    From CPython 3.15 an exception that leaves a frame is looked up there whether it is there or
    not (``get_tools_for_instruction``), once a trace function or a tool wants to know of those.
    It is refused to code that has no RESUME at all, so that has one behind its end.  A function
    whose code has the record takes no memory to be entered.  CPython 3.12 and later.
    """
    monitoring: Any = getattr(sys, "monitoring")  # noqa: B009  # 3.11 has none
    tools = range(6)
    in_use = [tool for tool in tools if monitoring.get_tool(tool) is not None]
    tool = in_use[0] if in_use else tools[-1]
    if not in_use:
        monitoring.use_tool_id(tool, PACKAGE)
    try:
        monitoring.set_local_events(tool, code, 0)
    finally:
        if not in_use:
            monitoring.free_tool_id(tool)


def is_unseen(code: CodeType) -> bool:
    """Whether it was made by `unseen`."""
    resume = code.co_code[::2].find(opmap["RESUME"])
    return resume == -1 or resume == len(code.co_code) // 2 - 1 - _RESUME_CACHES


def _code(function: Any) -> CodeType:
    function = getattr(function, "__func__", function)
    if type(function) is not FunctionType:
        raise TypeError(f"only a function of Python has code to register, not {function!r}")
    return function.__code__
