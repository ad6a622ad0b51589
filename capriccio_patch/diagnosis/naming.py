"""What the program calls a thing that a thread waits for: ``savings``, ``self.lock``, ``forks[2]``.

1. A name is one that the waiting code can use: a local or global variable of its own, or an
   attribute or item of one.  Another part of the program may have other names for it.
2. Nothing of the program is called: attributes are read from the dictionaries of instances, items
   from plain lists, tuples and dictionaries.

Costs some 10 us for each function that is looked at.  Any OS thread that has the GIL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import FrameType, ModuleType

from ..cpython import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["variable_of"]

_FRAMES = 4
"""Functions of the program that are looked through, from the innermost on."""
_LARGEST = 100
"""Attributes or items of one variable."""
_KEYS = frozenset({int, str})


def variable_of(frame: FrameType | None, thing: Any) -> str:
    """How the code that `frame` is the innermost of names `thing`; empty if that is not found."""
    if thing is None:
        return ""
    looked = 0
    while frame is not None and looked < _FRAMES:
        if not frames.is_ours(frame) and not frames.is_stdlib(frame.f_code.co_filename):
            looked += 1
            found = _among(frame.f_locals, thing) or _among(frame.f_globals, thing)
            if found:
                return found
        frame = frame.f_back
    return ""


def _among(variables: Mapping[str, Any], thing: Any) -> str:
    found = list(variables.items())
    for name, value in found:
        if value is thing:
            return name
    for name, value in found:
        for suffix, part in _parts(value):
            if part is thing:
                return f"{name}{suffix}"
    return ""


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a variable's value consists of, with what is to be written behind its name."""
    if type(value) in (list, tuple):
        for number, item in enumerate(list(value[:_LARGEST])):
            yield f"[{number}]", item
    elif type(value) is dict:
        if len(value) <= _LARGEST:
            for key, item in list(value.items()):
                if type(key) in _KEYS:
                    yield f"[{key!r}]", item
    elif not isinstance(value, (type, ModuleType)):
        try:
            own = object.__getattribute__(value, "__dict__")
        except AttributeError:
            return
        if type(own) is dict and len(own) <= _LARGEST:
            for attribute, item in list(own.items()):
                yield f".{attribute}", item
