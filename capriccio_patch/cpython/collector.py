"""The garbage collector: kept away for a time, and asked what there is.

1. The collector is left enabled or disabled as it was, and what the program has frozen stays so.

This is imported before the path is put in order, so it imports nothing that a path leads to.
"""

from __future__ import annotations

import sys
from itertools import compress

try:
    import gc
except AttributeError:  # an interpreter that can't import it, which `names` is about to refuse
    gc = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any, TypeVar

    T = TypeVar("T")

__all__ = ["NoCollections", "instances", "of_kinds", "referents", "uncollected"]

_Builtin = type(len)
_Module = type(sys)

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
    if type(function) is _Builtin:
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


def of_kinds(get_objects: Callable[[], list[Any]], kinds: tuple[type, ...]) -> list[Any]:
    """Of the objects that the collector knows, those whose type is one of `kinds` or a subclass.

    Who holds a tuple that another OS thread is about to make keeps it from that, by a SystemError:
    the compiled core lets none run before it has given all back.
    """
    # Each step for all of them at once, so that none takes an instruction for each.
    objects = get_objects()
    types = [*map(type, objects)]
    wanted = {each for each in {*types} if issubclass(each, kinds)}
    return [*compress(objects, map(wanted.__contains__, types))]


def referents(each: Any) -> list[Any]:
    """What the collector knows an object to refer to; of a module its namespace alone.

    What its C code keeps may be over: `_asyncio` shows its free list (CPython 3.12), and who takes
    hold of what is there and lets go of it frees it once more.
    """
    if issubclass(type(each), _Module):
        return [object.__getattribute__(each, "__dict__")]
    return gc.get_referents(each)


def instances(
    kinds: Collection[type], of_kinds: Callable[..., list[Any]] = of_kinds
) -> tuple[list[Any], list[Any]]:
    """What exists of these classes: their instances, and bound C methods of such that somebody
    stored (``self.acquire = lock.acquire``); what functions of a module are bound to is left out.

    A scan of the collector's objects.  What ``gc.freeze`` has moved away is not seen.
    """
    owners = tuple(kind for kind in kinds if kind is not _Module)
    is_owner: dict[type, bool] = {}
    found, methods = [], []
    for each in of_kinds(gc.get_objects, (*kinds, _Builtin)):
        if not issubclass(type(each), _Builtin):
            found.append(each)
            continue
        kind = type(each.__self__)
        if kind not in is_owner:
            is_owner[kind] = issubclass(kind, owners)
        if is_owner[kind]:
            methods.append(each)
    return found, methods
