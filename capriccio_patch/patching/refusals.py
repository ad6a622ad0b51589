"""Calls that a replacement's signature refuses, answered by the function that it stands for.

What C says of a call with the wrong arguments names the function, and counts them, as no function
written in Python does.  So the original is called for its own words.

1. The original is called only where no line of the replacement has run: the error has no traceback.
   A method is also asked where the object is of another class, which it refuses before all else.
2. The frames that stand before the replacements are seen by nobody (`frames.unseen`): they hold no
   arguments in tracebacks, and no trace function is told of them.
3. Rows that answer in a fraction of a microsecond stay as they are (`_TOO_FAST`): that frame costs
   60 ns.  Where the compiled core answers instead, what is too much for it comes here too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MethodDescriptorType,
    WrapperDescriptorType,
)

from ..cpython import frames, interpose
from ..wrappers.base import Patch
from .apply import import_targets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["with_refusals"]

_TOO_FAST = (
    *("_io.", "_queue.SimpleQueue.", "_thread.LockType.", "_thread.RLock.", "_thread.get_ident"),
    *("_thread.lock.", "_socket.socket.recv", "_socket.socket.send", "posix.read", "posix.write"),
    *("select.epoll.poll", "select.poll", "select.select", "_ssl._SSLSocket."),
    "time.sleep",
)
"""How the names of such rows begin."""

_IN_C = (BuiltinFunctionType, MethodDescriptorType, WrapperDescriptorType)


def with_refusals(rows: list[Patch], compiled: Collection[str]) -> list[Patch]:
    """`rows`, with the originals asked about calls that are refused.

    In `compiled` are the names of the rows that C stands for.
    """
    import_targets(rows)
    return [
        row if row.name.startswith(_TOO_FAST) and row.name not in compiled else _asking(row)
        for row in rows
    ]


def _asking(row: Patch) -> Patch:
    replacement = row.replacement
    if type(replacement) is not FunctionType or frames.is_unseen(replacement.__code__):
        return row
    owner = row.parent()
    stock = None if owner is None else vars(owner).get(row.path.rpartition(".")[2])
    original = interpose.clone(stock)
    if not isinstance(stock, _IN_C) or (original is stock and not isinstance(owner, type)):
        return row
    if isinstance(owner, type):
        return row.replaced_by(_method(owner, replacement, original))
    return row.replaced_by(_function(replacement, original))


def _function(replacement: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **named: Any) -> Any:
        try:
            return replacement(*args, **named)
        except TypeError as error:
            if error.__traceback__ is not None:
                raise
        return original(*args, **named)

    return _unseen(call, replacement)


def _method(owner: type, replacement: Any, original: Any) -> Callable[..., Any]:
    def call(*args: Any, **named: Any) -> Any:
        try:
            return replacement(*args, **named)
        except (AttributeError, TypeError) as error:
            is_one = bool(args) and isinstance(args[0], owner)
            if (is_one or not args) and error.__traceback__ is not None:
                raise
        if is_one:  # as most are called; without the class CPython 3.11 may crash
            return original.__get__(args[0], type(args[0]))(*args[1:], **named)
        return original(*args, **named)

    return _unseen(call, replacement)


def _unseen(call: Any, replacement: Any) -> Callable[..., Any]:
    code = call.__code__
    if code not in _codes:
        _codes[code] = frames.unseen(code)
    call.__code__ = _codes[code]
    call.__wrapped__ = replacement
    return call  # type: ignore[no-any-return]


_codes: dict[CodeType, CodeType] = {}
"""What of a text is never seen."""
