"""What a thread that waits would do to things that others wait for, as its code says.

Code that may still run, and the functions of the program that it calls, is read for expressions
such as ``answers``, ``self.jobs.put`` and ``queues[2]``; what they stand for now is compared with
the things.  A method that only waits for the thing as well brings nobody anything.

1. A mention is no proof that it comes to that call: it is one that nobody else will, that takes
   `reach`.  What is mentioned in other ways (``queues[i + 1]``) is not found.
2. Nothing of the program is called.

Costs some 10 us for each function, beside what `cpython.ahead` takes.  Any OS thread that has the
GIL.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FrameType, FunctionType, MethodType

from ..contracts.thread import Thread
from ..cpython import frames
from ..cpython.ahead import ahead_of, values_in
from ..cpython.expressions import UNKNOWN, content_of
from ..kernel.core import Kernel
from .stacks import Place, frame_of, is_foreign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Mention", "brings", "mentions_of"]

_DEPTH = 3
"""Calls that are followed."""
_MOST = 50
"""Functions that are read for one thread."""
_FRAMES = 20

Mention = tuple[str, Place]
"""The method that a thing is mentioned for, empty for none, and where."""

_BRINGING = {
    "get": {"put", "put_nowait", "shutdown"},
    "put": {"get", "get_nowait", "shutdown"},
    "join": {"task_done", "shutdown"},
    "acquire": {"release"},
    "result": {"set_result", "set_exception", "cancel"},
    "exception": {"set_result", "set_exception", "cancel"},
    "wait": {"set", "notify", "notify_all", "notifyAll", "reset", "abort"},
    "wait_for": {"notify", "notify_all", "notifyAll"},
}
"""By the method that a thread waits in: those that may end the wait."""


def brings(call: str, method: str) -> bool:
    """Whether a mention for `method` may end a wait in `call` (``Queue.get``)."""
    cls, _, waits_in = call.rpartition(".")
    if method == "":
        return True  # it is passed on, to whom that may be
    if cls.endswith("Barrier") and method == "wait":
        return True
    return method in _BRINGING.get(waits_in, ())


class _Called:
    """A function as `cpython.expressions` reads a frame, before it is called."""

    __slots__ = ("f_code", "f_globals", "f_locals")

    def __init__(self, function: FunctionType, owner: Any) -> None:
        self.f_code = code = function.__code__
        self.f_globals = function.__globals__
        cells = map(content_of, function.__closure__ or ())
        self.f_locals = dict(zip(code.co_freevars, cells, strict=False))
        if owner is not UNKNOWN and code.co_argcount:
            self.f_locals[code.co_varnames[0]] = owner


def mentions_of(
    kernel: Kernel, thread: Thread, is_wanted: Callable[[Any], bool]
) -> dict[int, list[Mention]]:
    """By the id of each thing that is wanted: what a parked thread may still do with it."""
    found: dict[int, list[Mention]] = {}
    frame = frame_of(kernel, thread)
    called: list[tuple[Any, int]] = []
    passed: set[int] = set()
    number = 0
    while frame is not None and number < _FRAMES:
        # What the standard library does in a call says nothing that the call does not.
        if not frames.is_ours(frame) and not frames.is_stdlib(frame.f_code.co_filename):
            number += 1
            passed.add(id(frame.f_code))
            called += [
                (each, 1) for each in _read(frame, ahead_of(frame).offsets, is_wanted, found)
            ]
        frame = frame.f_back
    while called and len(passed) < _MOST:
        function, depth = called.pop()
        if id(function.f_code) not in passed:
            passed.add(id(function.f_code))
            inner = _read(function, None, is_wanted, found)
            if depth < _DEPTH:
                called += [(each, depth + 1) for each in inner]
    return found


def _read(
    frame: FrameType | _Called,
    offsets: frozenset[int] | None,
    is_wanted: Callable[[Any], bool],
    found: dict[int, list[Mention]],
) -> list[_Called]:
    """Note what is mentioned; returns the program's own functions that are."""
    code: CodeType = frame.f_code
    functions: list[_Called] = []
    for line, value, method in values_in(frame, offsets):
        if type(value) is FunctionType and _is_own(value):
            functions.append(_Called(value, UNKNOWN))
        elif type(value) is MethodType and _is_own(value.__func__):
            function: Any = value.__func__
            functions.append(_Called(function, value.__self__))
        elif is_wanted(value):
            place = Place(code.co_filename, line, code.co_name)
            found.setdefault(id(value), []).append((method, place))
    return functions


def _is_own(function: Any) -> bool:
    return type(function) is FunctionType and not is_foreign(function.__code__.co_filename)
