"""``ctypes.pythonapi.PyThreadState_SetAsyncExc``: an exception for another thread, by its
identifier.

It is how programs end a thread that does not cooperate.  As in stock the thread raises it when it
next runs: what it waits for is waited for first.  The function object stays; it gets a class that
knows green threads.  A function that is looked up anew (``pythonapi["..."]``, another library
object) knows OS threads only.
"""

from __future__ import annotations

import ctypes
from typing import Any

from ..base import Patch, Runtime

__all__ = ["patches"]

_NAME = "PyThreadState_SetAsyncExc"


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    kernel = runtime.kernel
    function: Any = getattr(ctypes.pythonapi, _NAME)
    plain: Any = type(function)

    class SetAsyncExc(plain):  # type: ignore[misc]
        """As `plain`, for green threads as well.  Any OS thread."""

        _flags_ = plain._flags_
        _restype_ = plain._restype_

        def __call__(self, ident: Any, error: Any, /) -> Any:
            number = getattr(ident, "value", ident)
            thread = kernel.threads.get(number)
            if thread is None:
                return super().__call__(ident, error)
            if isinstance(error, ctypes.py_object):
                error = error.value if error else None
            if not kernel.is_mine():
                kernel.call_soon(kernel.throw, thread, error)
            elif thread is not kernel.current:
                kernel.throw(thread, error)
            elif error is not None:
                raise error  # stock does so at the end of this call
            return 1

    return [Patch("threading", "ctypes", f"pythonapi.{_NAME}.__class__", SetAsyncExc)]
