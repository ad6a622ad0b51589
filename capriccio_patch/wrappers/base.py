"""What the wrappers share: the parts they are made for, their rows, how they read arguments."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import FunctionType

from ..cpython import originals
from ..cpython.modules import standard
from ..io.descriptors import Descriptors
from ..io.disk import Disk
from ..io.workers import Workers
from ..kernel.core import Kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "Existing",
    "Late",
    "Method",
    "Offloader",
    "Patch",
    "Runtime",
    "is_path",
    "name_as",
    "seconds",
]

Offloader = Callable[["Any"], Callable[..., "Any"]]
"""Makes of a function one that does the same on a worker's OS thread."""


# Plain classes: a NamedTuple takes as long to make as ten of them, and each start makes them anew.


class Runtime:
    """The parts of the runtime that every wrapper is made for."""

    __slots__ = ("descriptors", "disk", "kernel", "workers")

    def __init__(
        self, kernel: Kernel, descriptors: Descriptors, workers: Workers, disk: Disk
    ) -> None:
        self.kernel = kernel
        self.descriptors = descriptors
        self.workers = workers
        self.disk = disk


class Existing:
    """What is done with objects that exist already: their state moves from C to us and back."""

    __slots__ = ("adopt", "cls", "release")

    def __init__(
        self,
        cls: type,
        adopt: Callable[[Any], None],
        release: Callable[[Any], None] | None = None,
    ) -> None:
        self.cls = cls
        self.adopt = adopt
        """Called with each instance when the rows of the class have been applied."""
        self.release = release
        """Called with each instance before they are undone."""


class Patch:
    """One thing taken over.

    `group` is the public module it belongs to, for ``only`` and ``exclude``.  `path` is where it is
    found: a module, and an attribute of it or of a class in it.
    """

    __slots__ = ("group", "install", "module", "name", "owner", "path", "replacement")

    def __init__(
        self,
        group: str,
        module: str,
        path: str,
        replacement: Any,
        install: Callable[[], Callable[[], None]] | None = None,
        owner: Any = None,
    ) -> None:
        self.group = group
        self.module = module
        self.path = path
        self.replacement = replacement
        self.install = install
        """What else is to be done once the row is applied; it returns its own undo."""
        self.owner = owner
        """The class or module, where `path` tells of one that can't be found by name."""
        self.name = f"{module}.{path}"
        """The dotted name: ``time.sleep``."""

    def replaced_by(self, replacement: Any) -> Patch:
        """The same row, with another replacement."""
        return Patch(self.group, self.module, self.path, replacement, self.install, self.owner)

    def owned_by(self, owner: Any) -> Patch:
        """The same row, found in another class or module."""
        return Patch(self.group, self.module, self.path, self.replacement, self.install, owner)

    def parent(self) -> Any:
        """The class or module that has it as an attribute; None if it is not to be found."""
        if self.owner is not None:
            return self.owner
        try:
            found = standard(self.module)
        except ModuleNotFoundError:
            return None
        for name in self.path.split(".")[:-1]:
            found = getattr(found, name, None)
        return found


class Late:
    """The rows of a module that many programs never import: made when it is."""

    __slots__ = ("group", "module", "patches")

    def __init__(self, group: str, module: str, patches: Callable[[], list[Patch]]) -> None:
        self.group = group
        self.module = module
        """What their targets are found in, directly: ``_ssl``."""
        self.patches = patches
        """Makes them; it is called once for each patch, when the module is there."""

    def rows(self, failed: dict[str, str]) -> list[Patch]:
        """`patches`; if what makes them can't be imported, or lacks a private name, none, and why
        is noted in `failed`."""
        try:
            return self.patches()
        except (AttributeError, ImportError, KeyError) as error:
            failed[self.module] = f"{type(error).__name__}: {error}"
            return []


class Method:
    """A method of a C type that is decided upon when it is looked up.

    So no frame of ours stands between the program and the C method where that is called, and its
    warnings name the program's line.
    """

    __slots__ = ("bind", "original", "unbound")

    def __init__(self, original: Any, bind: Callable[[Any, Any], Any], unbound: Any) -> None:
        self.original = original
        self.bind = bind
        self.unbound = unbound

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self.unbound if instance is None else self.bind(instance, type(instance))


def name_as(function: Any, cls: type, name: str, found: Any) -> None:
    """Give `function` the names and the text of `found`, the attribute `name` of `cls`."""
    function.__name__ = name
    function.__qualname__ = f"{cls.__qualname__}.{name}"
    function.__doc__ = found.__doc__
    function.__module__ = cls.__module__  # where pickle looks for it
    while type(function) is FunctionType:
        function.__annotations__ = {}  # `help` and `signature` show none of C's methods
        function = getattr(function, "__wrapped__", None)


def is_path(value: Any) -> bool:
    """Whether C code takes `value` for a path: ``os.PathLike`` asks in Python, which is traced."""
    return isinstance(value, (str, bytes)) or hasattr(type(value), "__fspath__")


def seconds(value: Any, refuse: Callable[[], Any]) -> float:
    """A duration as C code reads one: a float, or something with ``__index__``; from CPython 3.15
    anything with ``__float__``.

    `refuse` makes the original call, which raises what stock raises for anything else.
    """
    if not isinstance(value, float):
        try:
            return operator.index(value)
        except TypeError:
            if not _TAKES_REAL_NUMBERS or isinstance(value, str):
                refuse()
                raise
        try:
            value = float(value)
        except TypeError:
            refuse()
            raise
    if value != value:
        refuse()
    return value  # type: ignore[no-any-return]


class _RealNumber:
    """A real number that is no float."""

    def __float__(self) -> float:
        return 0.0


def _takes_real_numbers() -> bool:
    try:
        originals.sleep(_RealNumber())
    except TypeError:
        return False
    return True


_TAKES_REAL_NUMBERS = _takes_real_numbers()
