"""Calling C functions in the name of the program's line that called their replacement.

A warning that C code gives (``PyErr_WarnEx`` with a stack level of 1) names the line of the
innermost Python frame and is counted in the registry of that frame's globals
(``setup_context`` in Python/_warnings.c).  Under a replacement written in Python that frame is the
replacement's own.  Here the call is made by a frame that has the place and the globals of the
caller's.

Cost: 1.5 us.  It is for calls that are about to warn, or that are slow themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from ..cpython.frames import is_ours, stand_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["as_caller", "has_flag_for_descriptor", "on_behalf"]


def as_caller(function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
    """What ``function(*args, **named)`` returns or raises, called from the program's line that we
    work for.  Any OS thread; what it calls may park."""
    return on_behalf()(function, args, named)


def on_behalf() -> Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]:
    """What makes the call ``function(*args, **named)`` from the program's line that we work for.

    It may be made later, and on another OS thread.
    """
    frame = sys._getframe(1)
    while is_ours(frame) and frame.f_back is not None:
        frame = frame.f_back
    return stand_in(frame)


def has_flag_for_descriptor(args: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Whether a bool is given as a path or descriptor, which CPython 3.13 warns of."""
    if args and type(args[0]) is bool:
        return True
    return bool(named) and any(
        type(value) is bool and name.endswith("dir_fd") for name, value in named.items()
    )
