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
4. Where there are several kernels their green threads have several owners, and C would keep the
   whole kernel waiting: a record says that somebody is inside, whom others wait for before C.

Cost: a lock held by another OS thread is waited for on the scheduler's OS thread.
"""

from __future__ import annotations

import _io
import sys
from collections.abc import Callable
from types import CodeType, FrameType

from ...cpython import originals
from ...kernel.parking import Lot
from ..base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_REFUSAL = "reentrant call inside"

_NONE: Any = object()
_WITH_ARGUMENT: dict[str, Any] = {
    "read": -1,
    "read1": -1,
    "readline": -1,
    "peek": 0,
    "truncate": None,
    **dict.fromkeys(("readinto", "readinto1", "write"), _NONE),
}
"""Methods that take the lock and one argument, with what stands for an argument left out."""
_OTHERS = ("seek", "flush", "close")


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    turns = _Turns(runtime) if len(runtime.kernel.all()) == 1 else _TurnsOfAll(runtime)
    rows = []
    for cls in (_io.BufferedReader, _io.BufferedWriter, _io.BufferedRandom):
        methods = vars(cls)
        found = {name: turns.method(methods[name]) for name in _OTHERS}
        for name in _WITH_ARGUMENT.keys() & methods.keys():
            found[name] = turns.with_argument(methods[name], _WITH_ARGUMENT[name])
        if "__next__" in methods:
            found["__next__"] = turns.next(cls, methods["__next__"], methods["readline"])
        for name, replacement in found.items():
            replacement.__doc__ = methods[name].__doc__
            rows.append(Patch("io", "_io", f"{cls.__name__}.{name}", replacement))
    return rows


class _Turns:
    """Who waits for which buffered object."""

    def __init__(self, runtime: Runtime) -> None:
        self._kernel = runtime.kernel
        self._lot = Lot(runtime.kernel, "file", pass_on=self._pass_on)
        self._contended: set[int] = set()
        """The ids of the objects that somebody waits for, or tries again."""
        self._codes: set[CodeType] = set()
        self._leaves = 0
        runtime.kernel.on_fork(self._contended.clear)

    def method(self, original: Any) -> Any:
        """What stands for a C method, which refuses what it can't take."""
        contended, left, elsewhere, later = self._parts()

        def method(*args: Any) -> Any:
            try:
                return original(*args)
            except RuntimeError as error:
                if not elsewhere(args[0], error):
                    raise
            finally:
                if contended and args:
                    left(args[0])
            return later(original, args)

        self._codes.add(method.__code__)
        return method

    def with_argument(self, original: Any, default: Any) -> Any:
        """As `method`, for one argument: written out, since a tuple of arguments costs a third of
        what it takes to read a few bytes.
        """
        contended, left, elsewhere, later = self._parts()

        def method(self: Any, argument: Any = default, /) -> Any:
            try:
                return original(self, argument)
            except RuntimeError as error:
                if not elsewhere(self, error):
                    raise
            except TypeError:
                if argument is not _NONE:
                    raise
                return original(self)  # for what C says about that
            finally:
                if contended:
                    left(self)
            return later(original, (self, argument))

        self._codes.add(method.__code__)
        return method

    def next(self, cls: type, original: Any, readline: Any) -> Any:
        """What stands for ``__next__``: readline, as in C for objects of just this class, and
        faster to call.  `method` written out, which saves each line of a file a call.
        """
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
                line = later(readline if exact else original, (self,))
            if line or not exact:
                return line
            raise StopIteration

        self._codes.add(method.__code__)
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
        return not self._is_below(file, sys._getframe(depth))

    def _is_below(self, file: Any, frame: FrameType | None) -> bool:
        """Whether this thread is in a call of `file`, in `frame` or one below it."""
        while frame is not None:
            if frame.f_code in self._codes:
                names = frame.f_locals
                if (names["self"] if "self" in names else names["args"][0]) is file:
                    return True
            frame = frame.f_back
        return False

    def _call_later(self, original: Any, args: tuple[Any, ...]) -> Any:
        """Call `original` when it is this thread's turn."""
        file = args[0]
        again = False
        while True:
            self._contended.add(id(file))
            leaves = self._leaves
            try:
                result = original(*args)
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

    def _pass_on(self, file: Any) -> None:
        """Who was woken does not go in."""
        self._left(file)

    def _left(self, file: Any) -> None:
        """The calling thread is not inside `file` any more: the first waiter's turn."""
        if originals.get_ident() != self._kernel.os_ident:
            self._kernel.call_soon(self._left, file)
            return
        if id(file) in self._contended:
            self._leaves += 1
            if not self._lot.wake_one(file):
                self._contended.discard(id(file))


class _TurnsOfAll(_Turns):
    """The same where there are several kernels."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self._inside: dict[int, object] = runtime.kernel.shared("inside buffers", {})
        """By id of an object that a green thread is inside: that call."""
        runtime.kernel.on_fork(self._inside.clear)

    def method(self, original: Any) -> Any:
        kernel, inside, enter = self._kernel, self._inside, self._enter
        waiting, wake = self._lot.everywhere, self._lot.wake_one

        def method(*args: Any) -> Any:
            if not args or originals.get_ident() != kernel.os_ident:
                return original(*args)
            file = args[0]
            call = object()
            if inside.setdefault(id(file), call) is not call and not enter(file, call):
                return original(*args)  # which refuses
            try:
                return original(*args)
            finally:
                inside.pop(id(file), None)
                if waiting and id(file) in waiting:
                    wake(file)

        self._codes.add(method.__code__)
        return method

    def _pass_on(self, file: Any) -> None:
        self._lot.wake_one(file)

    def with_argument(self, original: Any, default: Any) -> Any:
        return self.method(original)

    def next(self, cls: type, original: Any, readline: Any) -> Any:
        return self.method(original)

    def _enter(self, file: Any, call: object) -> bool:
        """Wait until nobody is inside; False if this very thread is."""
        if self._is_below(file, sys._getframe(2)):
            return False
        again = False
        while self._inside.setdefault(id(file), call) is not call:
            self._lot.park(file, first=again, ready=lambda _: id(file) not in self._inside)
            again = True
        return True
