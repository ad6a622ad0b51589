"""The garbage collector, kept away for a time.

1. The collector is left enabled or disabled as it was, and what the program has frozen stays so.

This is imported before the path is put in order, so it imports nothing that a path leads to.
"""

from __future__ import annotations

try:
    import gc
except AttributeError:  # an interpreter that can't import it, which `names` is about to refuse
    gc = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

__all__ = ["NoCollections", "uncollected"]

_MUCH = 10_000
"""Objects, about."""


class NoCollections:
    """Within it nothing is collected, by itself: to look through all that was made in a start, once
    and again while it grows, takes a tenth of the time.  Main OS thread.

    What was made goes to the oldest generation, where it would get to in the end, if it is much: to
    ask whether the program has frozen something takes time for each object that is.
    """

    __slots__ = ("_was_enabled",)

    def __enter__(self) -> None:
        self._was_enabled = gc is not None and gc.isenabled()
        if self._was_enabled:
            gc.disable()

    def __exit__(self, *_: object) -> None:
        if self._was_enabled:
            if gc.get_count()[0] > _MUCH and not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def uncollected(function: Callable[..., T]) -> Callable[..., T]:
    """`function`, with no collection in the middle of it: a finalizer that waited there might find
    a thread nowhere, or in two places, and wait for that very thread.  A C function is one step."""
    if type(function) is type(len):
        return function
    isenabled, disable, enable = gc.isenabled, gc.disable, gc.enable

    def call(*args: Any) -> T:
        if not isenabled():
            return function(*args)
        disable()
        try:
            return function(*args)
        finally:
            enable()

    return call
