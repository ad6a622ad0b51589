"""``PyThreadState_SetAsyncExc`` through ``ctypes``: an exception for another thread, by its
identifier.

It is how programs end a thread that does not cooperate.  As in stock the thread raises it when it
next runs: what it waits for is waited for first.

The C function knows OS threads.  So what ``ctypes`` makes to call it (``pythonapi.name``,
``pythonapi["name"]``, another library object, a prototype, an address) gets a class that knows
green threads as well.  That is done where the metaclass of all function pointers makes one; of
those made before the patch, only that of ``ctypes.pythonapi`` is served.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from weakref import WeakKeyDictionary

from ...kernel.core import Kernel
from ..base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_NAME = "PyThreadState_SetAsyncExc"


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    function: Any = getattr(ctypes.pythonapi, _NAME)
    address = ctypes.cast(function, ctypes.c_void_p).value
    pointers = _Pointers(runtime.kernel)
    base: Any = type(function).__mro__[1]  # _ctypes.CFuncPtr
    make = type.__call__

    def call(cls: Any, *args: Any, **named: Any) -> Any:
        made = make(cls, *args, **named)
        if args and _is_target(args[0], address):
            made.__class__ = pointers.knowing(type(made))
        return made

    return [
        Patch(
            "threading", "ctypes", f"pythonapi.{_NAME}.__class__", pointers.knowing(type(function))
        ),
        Patch("threading", "_ctypes", "CFuncPtr.__class__.__call__", call, owner=type(base)),
    ]


def _is_target(target: Any, address: int | None) -> bool:
    """Whether a function pointer is made of it for the C function."""
    if type(target) is tuple:
        return bool(target) and target[0] in (_NAME, _NAME.encode())
    return type(target) is int and target == address


class _Pointers:
    """The classes of function pointers that know green threads."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._classes: WeakKeyDictionary[type, Any] = WeakKeyDictionary()
        """By the class that knows OS threads."""

    def knowing(self, plain: Any) -> Any:
        """As the class `plain`, for green threads as well."""
        found = self._classes.get(plain)
        if found is None:
            found = self._classes[plain] = _class_of(plain, self._raise_in)
        return found

    def _raise_in(self, ident: Any, error: Any) -> bool:
        """Whether it is a green thread, which raises the error then.  Any OS thread."""
        kernel = self._kernel
        thread = kernel.threads.get(getattr(ident, "value", ident))
        if thread is None:
            return False
        if isinstance(error, ctypes.py_object):
            error = error.value if error else None
        home = kernel.of(thread)
        if not home.is_mine():
            home.call_soon(home.throw, thread, error)
        elif thread is not home.current:
            home.throw(thread, error)
        elif error is not None:
            raise error  # stock does so at the end of this call
        return True


def _class_of(plain: Any, raise_in: Callable[[Any, Any], bool]) -> Any:
    """A class of function pointers whose call asks `raise_in` first."""

    class SetAsyncExc(plain):  # type: ignore[misc]
        """Any OS thread."""

        _flags_ = plain._flags_
        _restype_ = plain._restype_

        def __call__(self, *args: Any) -> Any:
            if len(args) == 2 and raise_in(*args):
                return 1
            return super().__call__(*args)

    return SetAsyncExc
