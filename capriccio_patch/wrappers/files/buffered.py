"""Buffered objects of several threads: ``BufferedReader``, ``BufferedWriter``, ``BufferedRandom``.

Facts: their C methods hold a lock of the object while they call the raw file below.  Its owner is
an OS thread; a second entry by the owner is refused ("reentrant call inside"), because a signal
handler that interrupted a call would wait for itself.  All green threads are that owner.

Decision: the methods are called as they are, and a refusal is looked into: if this very thread is
in a call of the object, further down its stack, it is what stock would raise; otherwise another
green thread is parked inside, and the caller waits for it to leave, as stock's would.  So a call
that finds nobody inside costs one Python call more, and no lock or record of ours.

1. Who leaves wakes the first that waits; that one tries again, and goes back to the head of the
   queue if it was overtaken.
2. From before a try until its end the object is in `contended`, so no leaving goes unnoticed.
3. A call on another OS thread takes the C lock itself, and waits for it there.

Cost: a lock held by another OS thread is waited for on the scheduler's OS thread.
"""

from __future__ import annotations

import _io
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from ...cpython import originals
from ...kernel.parking import Lot
from ..base import Patch, Runtime

__all__ = ["patches"]

_REFUSAL = "reentrant call inside"

# The methods that take the lock, by what they may be called with.
_OPTIONAL = {"read": -1, "read1": -1, "readline": -1, "peek": 0, "truncate": None}
_ONE = ("readinto", "readinto1", "write")
_NONE = ("flush", "close")


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    turns = _Turns(runtime)
    rows = []
    for cls in (_io.BufferedReader, _io.BufferedWriter, _io.BufferedRandom):
        methods = vars(cls)
        for name in (*_OPTIONAL, *_ONE, *_NONE, "seek", "__next__"):
            if name in methods:
                replacement = turns.method(cls, name)
                rows.append(Patch("io", "_io", f"{cls.__name__}.{name}", replacement))
    return rows


class _Turns:
    """Who waits for which buffered object."""

    def __init__(self, runtime: Runtime) -> None:
        self._kernel = runtime.kernel
        self._lot = Lot(runtime.kernel, "file", pass_on=self._left)
        self._contended: set[int] = set()
        """The ids of the objects that somebody waits for, or tries again."""
        self._codes: set[CodeType] = set()
        self._leaves = 0
        runtime.kernel.on_fork(self._contended.clear)

    def method(self, cls: type, name: str) -> Any:
        """What stands for a C method of `cls`."""
        original = vars(cls)[name]
        if name == "seek":
            made = self._seek(original)
        elif name == "__next__":
            made = self._next(original, cls, vars(cls)["readline"])
        elif name in _NONE:
            made = self._without_argument(original)
        elif name in _ONE:
            made = self._with_argument(original)
        else:
            made = self._with_option(original, _OPTIONAL[name])
        self._codes.add(made.__code__)
        made.__doc__ = original.__doc__
        return made

    def _with_option(self, original: Any, default: Any) -> Any:
        contended, left, elsewhere, later = self._parts()

        def method(self: Any, argument: Any = default, /) -> Any:
            try:
                return original(self, argument)
            except RuntimeError as error:
                if not elsewhere(self, error):
                    raise
            finally:
                if contended:
                    left(self)
            return later(self, original, argument)

        return method

    def _with_argument(self, original: Any) -> Any:
        contended, left, elsewhere, later = self._parts()

        def method(self: Any, argument: Any, /) -> Any:
            try:
                return original(self, argument)
            except RuntimeError as error:
                if not elsewhere(self, error):
                    raise
            finally:
                if contended:
                    left(self)
            return later(self, original, argument)

        return method

    def _without_argument(self, original: Any) -> Any:
        contended, left, elsewhere, later = self._parts()

        def method(self: Any, /) -> Any:
            try:
                return original(self)
            except RuntimeError as error:
                if not elsewhere(self, error):
                    raise
            finally:
                if contended:
                    left(self)
            return later(self, original)

        return method

    def _seek(self, original: Any) -> Any:
        contended, left, elsewhere, later = self._parts()

        def method(self: Any, target: Any, whence: Any = 0, /) -> Any:
            try:
                return original(self, target, whence)
            except RuntimeError as error:
                if not elsewhere(self, error):
                    raise
            finally:
                if contended:
                    left(self)
            return later(self, original, target, whence)

        return method

    def _next(self, original: Any, cls: type, readline: Any) -> Any:
        """Iteration is readline, as in C for objects of just this class, and faster to call."""
        contended, left, elsewhere, later = self._parts()

        def method(self: Any, /) -> Any:
            exact = type(self) is cls
            try:
                line = readline(self) if exact else original(self)
            except RuntimeError as error:
                if not elsewhere(self, error):
                    raise
                line = None
            finally:
                if contended:
                    left(self)
            if line is None:
                line = later(self, readline if exact else original)
            if line or not exact:
                return line
            raise StopIteration

        return method

    def _parts(self) -> tuple[set[int], Callable[..., Any], Callable[..., Any], Any]:
        return self._contended, self._left, self._is_elsewhere, self._call_later

    def _is_elsewhere(self, file: Any, error: RuntimeError, depth: int = 2) -> bool:
        """Whether `error` says that another green thread is inside `file`.

        `depth` leads to the caller of the method that `error` comes from.
        """
        trace = error.__traceback__
        if (
            not self._kernel.is_mine()
            or (trace is not None and trace.tb_next is not None)
            or not str(error).startswith(_REFUSAL)
        ):
            return False
        frame: FrameType | None = sys._getframe(depth)
        while frame is not None:
            if frame.f_code in self._codes and frame.f_locals.get("self") is file:
                return False
            frame = frame.f_back
        return True

    def _call_later(self, file: Any, original: Any, *args: Any) -> Any:
        """Call `original` when it is this thread's turn."""
        again = False
        while True:
            self._contended.add(id(file))
            leaves = self._leaves
            try:
                result = original(file, *args)
            except RuntimeError as error:
                if not self._is_elsewhere(file, error, 3):
                    self._left(file)
                    raise
            except BaseException:
                self._left(file)
                raise
            else:
                self._left(file)
                return result
            self._wait(file, leaves, again)
            again = True

    def _wait(self, file: Any, leaves: int, again: bool) -> None:
        """Park until somebody leaves `file`; not if somebody has since the count was `leaves`."""
        try:
            self._lot.park(file, first=again, ready=lambda _: self._leaves != leaves)
        except BaseException:
            if not self._lot.waiters(file):
                self._contended.discard(id(file))
            raise

    def _left(self, file: Any) -> None:
        """The calling thread is not inside `file` any more: the first waiter's turn."""
        if originals.get_ident() != self._kernel.os_ident:
            self._kernel.call_soon(self._left, file)
            return
        if id(file) in self._contended:
            self._leaves += 1
            if not self._lot.wake_one(file):
                self._contended.discard(id(file))
