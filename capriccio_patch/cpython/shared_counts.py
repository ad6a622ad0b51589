"""Reference counts of what all OS threads use at every call, where there is no GIL.

Facts.  An object's count is cheap for the OS thread that has made the object; for all others it is
an atomic instruction, and one word that several processors write goes from one to the other at each
call.  CPython defers the counting of modules, classes and of functions at the top level of a
module: only the collector counts these.  It does not so for functions within functions, of which
the wrappers are made, nor for bound methods and copies of builtins.

Decision.  Those of the package are deferred too (``PyUnstable_Object_EnableDeferredRefcount``, from
CPython 3.14 on).  They are few, live as long as the patch, and go with the next collection after.

Cost.  A look at all objects, once: some milliseconds.  Two kernels switch 1.3 times as fast for it.
"""

from __future__ import annotations

import ctypes
import gc
from types import BuiltinFunctionType, CellType, FunctionType, MethodType

from . import originals
from .frames import PACKAGE
from .standstill import has_gil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["defer"]

_CALLED = (BuiltinFunctionType, FunctionType, MethodType)


def defer(*kinds: type) -> None:
    """Have nobody count references to the package's functions, to what they have by closure, and to
    the instances of `kinds`.  Any OS thread; nothing happens with the GIL."""
    enable: Any = getattr(ctypes.pythonapi, "PyUnstable_Object_EnableDeferredRefcount", None)
    if enable is None or has_gil():
        return
    enable.argtypes = [ctypes.py_object]
    wanted = (*kinds, FunctionType, MethodType)
    for each in [*vars(originals).values(), *gc.get_objects()]:
        if isinstance(each, BuiltinFunctionType) or (isinstance(each, wanted) and _is_ours(each)):
            enable(each)
            for cell in getattr(each, "__closure__", None) or ():
                enable(cell)
                _enable_content(enable, cell)


def _is_ours(found: Any) -> bool:
    if isinstance(found, MethodType):
        found = type(found.__self__)
    module = getattr(found, "__module__", None) or type(found).__module__
    return isinstance(module, str) and module.partition(".")[0] == PACKAGE


def _enable_content(enable: Any, cell: CellType) -> None:
    try:
        content = cell.cell_contents
    except ValueError:
        return  # it is empty
    if isinstance(content, _CALLED):
        enable(content)
