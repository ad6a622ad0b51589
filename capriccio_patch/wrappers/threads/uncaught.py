"""What is printed of exceptions: tracebacks without the frames of wrappers.

What a wrapper takes the place of is C code, which has no frames.  The interpreter's own hooks take
them out of the tracebacks that they are given to print, and ``traceback`` passes over them, so that
``logging`` does.  Hooks of the program's, and who walks through a traceback itself, see them.

In the interpreter's development mode (``-X dev``) nothing is hidden.
"""

from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import Callable, Iterator
from functools import wraps

from ...cpython import interpose, originals
from ...cpython.frames import hide, is_hidden, program_part, unseen
from ..base import Late, Patch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["late", "patches"]

_GROUP = "threading"


def patches() -> list[Patch]:
    """The rows of this module."""
    if sys.flags.dev_mode:
        return []
    unraisable = interpose.clone(sys.__unraisablehook__)
    return [
        Patch(_GROUP, "_thread", "_excepthook", hiding(originals.thread_excepthook)),
        Patch(_GROUP, "sys", "__excepthook__", _excepthook()),
        Patch(_GROUP, "sys", "__unraisablehook__", hiding(unraisable)),
        Patch(_GROUP, "threading", "_make_invoke_excepthook", _shared()),
    ]


def late() -> list[Late]:
    """The rows of ``traceback``."""
    return [] if sys.flags.dev_mode else [Late(_GROUP, "traceback", _walks)]


def _shared() -> Callable[[], Any]:
    """``threading._make_invoke_excepthook``: a function that keeps the hooks that there are, for a
    daemon that outlives them.  Each thread has one, half a kilobyte; of the interpreter's own hooks
    all threads can have the same.
    """
    make: Any = threading._make_invoke_excepthook  # type: ignore[attr-defined]
    shown = builtins.print
    made: Any = None

    @wraps(make)
    def shared() -> Any:
        nonlocal made
        if (
            threading.excepthook is not threading.__excepthook__
            or sys.excepthook is not sys.__excepthook__
            or builtins.print is not shown
        ):
            return make()
        if made is None:
            made = make()
        return made

    return shared


def hiding(original: Callable[..., Any]) -> Callable[..., Any]:
    """A hook of C that is called with a type, an exception, its traceback and more, as one tuple.

    Its frame is not seen either: what it raises is printed.
    """

    def hook(*given: Any) -> Any:
        if len(given) == 1 and isinstance(given[0], tuple) and len(given[0]) > 3:
            kind, error, trace, *more = args = given[0]
            if isinstance(error, BaseException):
                hide(error)
                given = (type(args)((kind, error, program_part(trace), *more)),)
        return original(*given)

    hook.__code__ = unseen(hook.__code__)
    return hook


def _excepthook() -> Callable[..., Any]:
    original = interpose.clone(sys.__excepthook__)

    def excepthook(*given: Any) -> Any:
        if len(given) == 3 and isinstance(given[1], BaseException):
            hide(given[1])
        return original(*given)

    excepthook.__code__ = unseen(excepthook.__code__)
    return excepthook


def _walks() -> list[Patch]:
    import traceback

    return [
        Patch(_GROUP, "traceback", name, _walk(getattr(traceback, name)))
        for name in ("walk_tb", "_walk_tb_with_full_positions")
    ]


def _walk(original: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
    @wraps(original)
    def walk(tb: Any) -> Iterator[Any]:
        # The first is asked for by who goes from entry to entry, and wants one for each.
        return (
            found
            for number, found in enumerate(original(tb))
            if not number or not is_hidden(found[0])
        )

    return walk
