"""Which kernel's function a call is for: that of the OS thread which makes it.

Each kernel has a table of wrappers of its own.  What is taken over is taken over once; what
replaces it looks at the OS thread and calls that kernel's wrapper.  An OS thread that makes a call
for a green thread (`kernel.loans`) calls that of the thread's kernel, which knows what is lent; any
other that runs no green threads calls the main kernel's, which knows how to treat it.

What belongs to the process as a whole is the main kernel's alone: signals, and what is told of all
threads at once.  That look costs some 0.1 us for each call; with one kernel there is none.
"""

from __future__ import annotations

from functools import wraps
from types import FunctionType, MethodType

from ..cpython import frames, originals
from ..kernel.core import Kernel
from ..wrappers.base import Method, Patch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ByOSThread", "Dispatch"]

_OF_THE_PROCESS = frozenset({"signal", "faulthandler", "greenlet", "ctypes", "sys"})
"""Groups of rows that are the main kernel's alone."""
_TAKES_ANY = 0x4 | 0x8
"""Flags of code: CO_VARARGS, CO_VARKEYWORDS."""


class ByOSThread(dict[int, "Any"]):
    """What replaces one thing, by identifier of an OS thread."""

    __slots__ = ("_kernel", "heirs", "other")

    def __init__(self, kernel: Kernel, first: Any) -> None:
        super().__init__({kernel.os_ident: first})
        self._kernel = kernel
        self.other = first
        """For OS threads that run no green threads."""
        self.heirs: dict[int, Any] | None = None
        """Where it is of the process: what is to be in a child that another kernel forks."""

    def __missing__(self, os_ident: int) -> Any:
        kernel = self._kernel
        lender = kernel.threads.get(kernel.proxies.get(os_ident, 0))
        return self.other if lender is None else self.get(kernel.of(lender).os_ident, self.other)


class Dispatch:
    """The rows of several kernels as one table of rows."""

    def __init__(self, kernel: Kernel) -> None:
        """`kernel` is the main one."""
        self._kernel = kernel
        self._found: dict[str, ByOSThread] = {}
        """By name of a row."""
        self._made: list[ByOSThread] = []

    def rows(self, rows: list[Patch]) -> list[Patch]:
        """The main kernel's `rows`, such that each call is for the kernel it is made in."""
        return [self._row(row) for row in rows]

    def add(self, os_ident: int, rows: list[Patch]) -> None:
        """The rows of another kernel, in place of the main kernel's there."""
        for row in rows:
            if (found := self._found.get(row.name)) is not None:
                (found if found.heirs is None else found.heirs)[os_ident] = row.replacement

    def keep(self, os_ident: int) -> None:
        """In a forked child: that kernel is the only one."""
        for found in self._made:
            heirs = found if found.heirs is None else found.heirs
            kept = heirs.get(os_ident, found.other)
            found.clear()
            found.heirs = None
            found[os_ident] = found.other = kept

    def _row(self, row: Patch) -> Patch:
        kind = type(row.replacement)
        inherited = row.group == "signal"
        if kind not in (FunctionType, Method) or (row.group in _OF_THE_PROCESS and not inherited):
            return row
        made, found = self._make(row.replacement)
        self._found[row.name] = found
        if inherited:
            found.heirs = {}
        return row.replaced_by(made)

    def one_of(self, first: Any, others: dict[int, Any]) -> Any:
        """What calls that of the kernel it is called in: `first`, the main kernel's, or one of
        `others`, by identifier of a kernel's OS thread."""
        made, found = self._make(first)
        found.update(others)
        return made

    def _make(self, first: Any) -> tuple[Any, ByOSThread]:
        found = ByOSThread(self._kernel, first)
        self._made.append(found)
        return _method(first, found) if type(first) is Method else _function(found), found


def _function(found: ByOSThread) -> Any:
    call = _taking(_parameters(found.other), found)
    call.__qualname__ = found.other.__qualname__  # which errors name
    if frames.is_unseen(found.other.__code__):
        call.__code__ = frames.unseen(call.__code__)
    call.__wrapped__ = found.other  # for its signature
    return call


def _parameters(function: Any) -> str:
    """Those of `function`, if they are of a kind that `_taking` knows."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    if code.co_kwonlyargcount or code.co_flags & _TAKES_ANY or function.__defaults__:
        return ""
    if code.co_posonlyargcount == len(names):
        return f"{len(names)} by position"
    return "self" if names == ("self",) else ""


def _taking(parameters: str, found: ByOSThread) -> Any:
    """What calls one of those that are `found`, each of which has such `parameters`.

    To put arguments together and take them apart again costs as much as the rest.
    """
    get_ident = originals.get_ident

    def none() -> Any:
        return found[get_ident()]()

    def one(first: Any, /) -> Any:
        return found[get_ident()](first)

    def two(first: Any, second: Any, /) -> Any:
        return found[get_ident()](first, second)

    def itself(self: Any) -> Any:
        return found[get_ident()](self)

    def other(*args: Any, **kwargs: Any) -> Any:
        return found[get_ident()](*args, **kwargs) if kwargs else found[get_ident()](*args)

    known = {
        "0 by position": none,
        "1 by position": one,
        "2 by position": two,
        "self": itself,
    }
    return known.get(parameters, other)


def _method(first: Method, found: ByOSThread) -> Method:
    get_ident = originals.get_ident

    @wraps(first.unbound)
    def unbound(*args: Any, **kwargs: Any) -> Any:
        return found[get_ident()].unbound(*args, **kwargs)

    def bind(instance: Any, cls: Any) -> Any:
        here = found[get_ident()]
        bound = here.bind(instance, cls)
        # A thread of another kernel may come to call it.
        return MethodType(unbound, instance) if _is_ours(bound, here) else bound

    return Method(first.original, bind, unbound)


def _is_ours(bound: Any, method: Method) -> bool:
    return type(bound) is MethodType and bound.__func__ is method.unbound
