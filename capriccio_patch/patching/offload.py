"""``offload``: calls of the functions that the program names are made on worker OS threads.

For what blocks and can't be parked: C code that sleeps or computes, a library with sockets of its
own.  What of the standard library is such is offloaded without being named
(`wrappers.offloaded.sqlite3`).

1. A name is a dotted path: ``module.function`` or ``module.Class.method``.  Whoever holds a
   reference to the function is served: a Python function gets another code object, a C function is
   redirected, a method of a C type is replaced in its class.
2. A name from a setting whose module is not imported yet waits for its import, unless the module is
   the standard library's: importing a program's modules at its start could change what they do.
3. A call takes 30-60 us longer, and goes on when an interrupt takes the caller away.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from types import BuiltinFunctionType, FunctionType

from ..cpython import interpose
from ..cpython.modules import standard
from ..errors import ConfigError
from ..wrappers.base import Method, Offloader, Patch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Offload"]

_ClassMethodOfC = type(dict.__dict__["fromkeys"])
_MethodOfC = (type(str.join), type(str.__len__))
_TARGET = "the call's target"
_STATIC = int.__flags__ & 1 << 1
"""The flag of types whose attributes can't be set at all, from CPython 3.12."""
_LATER = 0x20 | 0x80 | 0x100 | 0x200
"""Flags of generators, coroutines and asynchronous generators."""


class Offload:
    """What one patch has offloaded.

    ``offloader(cls)`` makes offloaded ones of the methods of a class, ``offloader(None)`` of
    functions.  `apply` applies a row; `undo` takes what is to be done at the end; `when_imported`
    makes a call after the import of a module.
    """

    def __init__(
        self,
        offloader: Callable[[type | None], Offloader],
        apply: Callable[[Patch], None],
        undo: list[Callable[[], None]],
        when_imported: Callable[[Callable[[Any], None], str], None],
    ) -> None:
        self._offloader = offloader
        self._apply = apply
        self._undo = undo
        self._when_imported = when_imported
        self._in_force: dict[int, Any] = {}
        """By id: functions that are offloaded, or that do the offloading."""
        self._attributes: dict[int, Any] = {}
        """By id of a function that can only be replaced where it is an attribute of a module: what
        replaces it."""
        self.names: dict[str, bool] = {}
        """Whether each is in force; one that is not waits for its import."""
        undo.append(self.names.clear)

    def add(self, names: Iterable[str]) -> None:
        """Offload what a setting names, now or when it is imported."""
        for name in names:
            self._try(_Target(name))

    def add_now(self, names: Iterable[str]) -> None:
        """Offload what the program names, all of it or, with ConfigError, none."""
        targets = [_Target(name) for name in names]
        for target in targets:
            target.resolve()
        for target in targets:
            self._take_over(target)

    def take_over(self, name: str, offloader: Offloader) -> None:
        """Have what `name` leads to called as `offloader` has it; ConfigError if that can't be."""
        target = _Target(name)
        target.resolve()
        self._put_in_force(target, offloader)

    def _try(self, target: _Target) -> None:
        module = target.awaited()
        if module is None:
            target.resolve()
            self._take_over(target)
        else:
            self.names[target.name] = False
            self._when_imported(partial(self._imported, target), module)

    def _imported(self, target: _Target, _module: Any) -> None:
        if self.names.get(target.name) is False:  # else the patch has been undone
            self._try(target)

    def _take_over(self, target: _Target) -> None:
        """Put a resolved target that the program has named in force."""
        self.names[target.name] = True
        cls = target.parent if isinstance(target.parent, type) else None
        self._put_in_force(target, self._offloader(cls))

    def _put_in_force(self, target: _Target, offloaded: Offloader) -> None:
        function = target.function
        if id(function) in self._in_force:
            if id(function) in self._attributes:  # of another module as well
                found = self._attributes[id(function)]
                self._apply(Patch("offload", target.module, target.path, found))
            return
        self._in_force[id(function)] = function
        if isinstance(function, FunctionType):
            self._undo.append(_exchange_code(function, offloaded))
            return
        replacement: Any = offloaded(interpose.clone(function))
        self._in_force[id(replacement)] = replacement
        if isinstance(target.found, (classmethod, _ClassMethodOfC)):
            replacement = classmethod(replacement)
        elif isinstance(target.found, staticmethod):
            replacement = staticmethod(replacement)
        if not isinstance(function, BuiltinFunctionType) and not isinstance(target.parent, type):
            self._attributes[id(function)] = replacement
        self._apply(Patch("offload", target.module, target.path, replacement))


class _Target:
    """A dotted name and what it leads to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._parts = name.split(".") if isinstance(name, str) else []
        if len(self._parts) < 2 or not all(part.isidentifier() for part in self._parts):
            raise self._error("is no dotted path of a function: module.function, for instance")
        self.module = self.path = ""
        self.parent: Any = None
        self.found: Any = None
        """What is in the dictionary of the module or class."""
        self.function: Any = None
        """What is called in the end."""

    def _error(self, reason: str) -> ConfigError:
        return ConfigError(f"offload: {self.name!r} {reason}")

    def awaited(self) -> str | None:
        """The module whose import to wait for; None if there is none, or none to be expected."""
        name = self._parts[0]
        if name in sys.stdlib_module_names:
            return None
        for part in self._parts[1:]:
            module = sys.modules.get(name)
            if module is None:
                return name
            child = f"{name}.{part}"
            if child not in sys.modules:
                if hasattr(module, part) or not hasattr(module, "__path__"):
                    return None
                if part == self._parts[-1] or not standard("importlib.util").find_spec(child):
                    return None
                return child
            name = child
        return None

    def resolve(self) -> None:
        """Find what the name leads to, importing its module; ConfigError if that can't be done."""
        parent, rest = self._import()
        for part in rest[:-1]:
            try:
                parent = getattr(parent, part)
            except AttributeError as error:
                raise self._error(f"does not exist: {error}") from None
        attribute = rest[-1]
        if not hasattr(parent, attribute):
            raise self._error(f"does not exist: {parent!r} has no attribute {attribute!r}")
        self.path = ".".join(rest)
        self.parent = parent
        self.found = found = getattr(parent, attribute)
        if isinstance(parent, type):
            self.found = found = next(
                vars(cls)[attribute] for cls in parent.__mro__ if attribute in vars(cls)
            )
        if isinstance(found, (classmethod, staticmethod)):
            found = found.__func__
        elif isinstance(found, Method):
            found = found.original
        self._check(parent, found)
        self.function = found

    def _import(self) -> tuple[Any, list[str]]:
        for end in range(len(self._parts) - 1, 0, -1):
            self.module = ".".join(self._parts[:end])
            try:
                return import_module(self.module), self._parts[end:]
            except ModuleNotFoundError as error:
                if error.name is None or not f"{self.module}.".startswith(f"{error.name}."):
                    raise  # of a module that this one imports
        raise self._error(f"does not exist: there is no module {self._parts[0]!r}")

    def _check(self, parent: Any, found: Any) -> None:
        if isinstance(found, type):
            raise self._error("is a class; name its methods: __init__, for instance")
        if not callable(found) and not isinstance(found, (_ClassMethodOfC, *_MethodOfC)):
            raise self._error("is not a function")
        if isinstance(found, FunctionType) and found.__code__.co_flags & _LATER:
            raise self._error(
                "does its work after the call, which returns an iterator or awaitable"
            )
        if isinstance(parent, type) and parent.__flags__ & _STATIC:
            raise self._error(f"belongs to {parent.__name__}, which is built into the interpreter")
        # What compilers for C extensions make of methods has types of their own: who binds is one.
        binds = hasattr(type(found), "__get__") or isinstance(found, BuiltinFunctionType)
        if isinstance(parent, type) and not binds:
            raise self._error(f"is a {type(found).__name__}, not a method")


def _exchange_code(
    function: FunctionType, offloaded: Callable[[Any], Callable[..., Any]]
) -> Callable[[], None]:
    """Have a Python function call its offloaded self; returns the undo."""
    code = function.__code__
    original = FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    original.__kwdefaults__ = function.__kwdefaults__
    original.__qualname__ = function.__qualname__
    original.__annotations__ = function.__annotations__
    function.__code__ = _calling(offloaded(original), function)
    follows = "__wrapped__" not in function.__dict__
    if follows:
        function.__wrapped__ = original  # type: ignore[attr-defined]  # for its signature

    def undo() -> None:
        function.__code__ = code
        if follows:
            function.__dict__.pop("__wrapped__", None)

    return undo


def _calling(target: Callable[..., Any], function: FunctionType) -> Any:
    """A code object for `function` that calls `target`.

    It has as many free variables as the function's own, because the function keeps its closure.
    """
    old = function.__code__
    names = [f"free{n}" for n in range(len(old.co_freevars))]
    source = (
        f"def outer({', '.join(names)}):\n"
        " def inner(*args, **kwargs):\n"
        f"  if 0: {', '.join(names) or 'pass'}\n"
        f"  target = {_TARGET!r}\n"
        "  return target(*args, **kwargs)\n"
    )
    outer = _inner_code(compile(source, old.co_filename, "exec"))
    inner = _inner_code(outer)
    return inner.replace(
        co_consts=tuple(target if each == _TARGET else each for each in inner.co_consts),
        co_name=old.co_name,
        co_qualname=old.co_qualname,
        co_firstlineno=old.co_firstlineno,
    )


def _inner_code(code: Any) -> Any:
    return next(each for each in code.co_consts if type(each) is type(code))
