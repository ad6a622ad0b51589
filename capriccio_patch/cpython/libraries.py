"""Which shared library a function of C comes from.

Any OS thread that has the GIL.  Nothing of the program is called.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["library_of", "note"]

_notes: dict[str, Callable[[], str]] = {}
"""By file: what is known of why its calls keep others waiting."""


def note(file: str, why: Callable[[], str]) -> None:
    """Have `library_of` add what `why` returns for functions of `file`."""
    _notes[file] = why


class _Info(ctypes.Structure):
    """``Dl_info`` of dladdr(3)."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def library_of(function: Any) -> str:
    """The name of a function of C and the file that it is in; empty for anything else."""
    if isinstance(function, (FunctionType, MethodType)):
        return ""
    if isinstance(function, ctypes._CFuncPtr):  # type: ignore[attr-defined]
        address = ctypes.cast(function, ctypes.c_void_p).value
        return _at(str(function.__name__), address)  # type: ignore[attr-defined]
    if isinstance(function, BuiltinFunctionType) or type(function).__name__ in _DESCRIPTORS:
        owner = getattr(function, "__objclass__", None) or function.__self__
        if isinstance(owner, ModuleType):
            return _in_module(function.__qualname__, owner.__name__, owner)
        cls = owner if isinstance(owner, type) else type(owner)
        module = function.__module__ if isinstance(function, BuiltinFunctionType) else None
        module = module or cls.__module__
        return _in_module(function.__qualname__, module, sys.modules.get(module))
    return ""


_DESCRIPTORS = frozenset({"method_descriptor", "method-wrapper", "wrapper_descriptor"})


def _in_module(name: str, module: str, found: ModuleType | None) -> str:
    file = getattr(found, "__file__", None)
    shown = f"{module}.{name}"
    if not isinstance(file, str):
        return shown
    why = _notes.get(file)
    return f"{shown} of {file}" if why is None else f"{shown} of {file} ({why()})"


def _at(name: str, address: int | None) -> str:
    info = _Info()
    try:
        found = ctypes.CDLL(None).dladdr(ctypes.c_void_p(address), ctypes.byref(info))
    except (AttributeError, OSError):
        found = 0
    return f"{name} of {info.file.decode('utf-8', 'replace')}" if found and info.file else name
