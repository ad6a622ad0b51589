"""Where a running thread may be switched away from, or raise what was sent to it.

1. At the start of a function and at a backward jump a thread is between two bytecodes for certain.
   Anywhere else it may be inside a C function that looks for signals while it holds a lock of its
   own: ``flush`` does, and a second thread that enters it then gets "reentrant call".
2. Not while the kernel or a wrapper is at work, and not in what they were interrupted by either: a
   finalizer that runs in the middle of a wrapper shows in the frames below it.
3. Not inside importlib, whose C lock is the OS thread's, nor in the Python half of a socket's file:
   the C half, which called it, holds a lock of its own.  The bodies of modules are not concerned,
   nor is a module of the program's own that is called so.
4. Not near the limit of recursion, which would break in the middle what the kernel does then.

Neither changes nor calls anything of the program's.  Scheduler's OS thread, signal handlers.
"""

from __future__ import annotations

import opcode
from opcode import opmap
from types import CodeType, FrameType

from ..contracts.choice import Choice
from ..cpython.frames import is_entry, is_interrupter, is_ours
from ..cpython.modules import is_standard

__all__ = ["Point", "follows_call", "is_await", "is_jump", "may_yield", "point"]

_DELICATE = frozenset(
    {
        "_frozen_importlib",
        "_frozen_importlib_external",
        "importlib._bootstrap",
        "importlib._bootstrap_external",
        "socket",
        "ssl",
    }
)
_JUMPS = frozenset(
    number
    for name, number in opmap.items()
    if name == "RESUME" or ("JUMP_BACKWARD" in name and "NO_INTERRUPT" not in name)
)

# CPython 3.11 makes one instruction of a comparison and the jump behind it once the code is warm; a
# loop's frame then stands at the comparison.
_COMPARE = opmap["COMPARE_OP"]
_FUSED = frozenset(opmap[name] for name in opmap if name.startswith("POP_JUMP_BACKWARD"))
_BEHIND = 2 + 2 * opcode._inline_cache_entries[_COMPARE] if _FUSED else 2  # type: ignore[attr-defined]

_CALLS = frozenset(
    number
    for name, number in opmap.items()
    if name.startswith("CALL") and not name.startswith("CALL_INTRINSIC")
)
_CACHE = opmap["CACHE"]
_PLACE = 3
"""Of the argument of RESUME: what comes before it."""
_AFTER_YIELD_FROM = 2

_FRAMES = 64
"""How far down a wrapper is looked for: each frame costs 0.1 us."""
_ROOM = 32
"""Calls that a switch may need on the stack, with room to spare."""


class Point(Choice):
    """What may be done to the thread that runs a frame, at its present instruction."""

    SAFE = "it may be switched away from"
    SOON = "not yet, but a few bytecodes later"
    NOT_NOW = "not before its caller is through, and that may take long"


def point(frame: FrameType | None) -> Point:
    """What may be done to the thread whose innermost frame is `frame`."""
    if not is_jump(frame) or is_ours(frame):
        return Point.SOON
    assert frame is not None
    if _is_delicate(frame):
        return Point.SOON
    return Point.SAFE if _is_undisturbed(frame) and _has_room() else Point.NOT_NOW


def may_yield(frame: FrameType | None) -> bool:
    """Whether the thread may be switched away from where `frame` makes a call that is taken over.

    That is between two bytecodes for certain; the rest is as for `point`.
    """
    if frame is None or is_ours(frame) or _is_delicate(frame):
        return False
    return _is_undisturbed(frame) and _has_room()


def is_jump(frame: FrameType | None) -> bool:
    """Whether `frame` is at a backward jump, or at its start or the resumption of a generator."""
    if frame is None:
        return False
    code = frame.f_code.co_code
    at = frame.f_lasti
    return code[at] in _JUMPS or (code[at] == _COMPARE and code[at + _BEHIND] in _FUSED)


def is_await(code: CodeType, at: int) -> bool:
    """Whether `code` goes on there, at a RESUME, after an ``await`` or ``yield from``: the
    interpreter looks for no signal between two coroutines."""
    return code.co_code[at + 1] & _PLACE >= _AFTER_YIELD_FROM


def follows_call(frame: FrameType) -> int | None:
    """Where `frame` goes on once the call that it is in has returned; None if it is in none."""
    code = frame.f_code.co_code
    at = frame.f_lasti
    while at > 0 and code[at] == _CACHE:
        at -= 2  # CPython 3.12 notes of a call of Python where it ends
    if at < 0 or code[at] not in _CALLS:
        return None
    at += 2
    while code[at] == _CACHE:
        at += 2
    return at


def _is_delicate(frame: FrameType) -> bool:
    names = frame.f_globals
    return names.get("__name__") in _DELICATE and is_standard(names)


def _is_undisturbed(frame: FrameType) -> bool:
    """Whether `frame` runs on the program's own account, not in the middle of a wrapper."""
    outer: FrameType | None = frame
    for _ in range(_FRAMES):
        if outer is None:
            return True
        if is_ours(outer):
            if not is_interrupter(outer):
                return is_entry(outer)
            outer = outer.f_back
            if not is_jump(outer) or is_ours(outer):
                return False
        outer = outer.f_back  # type: ignore[union-attr]
    return True


def _has_room() -> bool:
    try:
        return _descend(_ROOM)
    except RecursionError:
        return False


def _descend(calls: int) -> bool:
    return calls == 0 or _descend(calls - 1)
