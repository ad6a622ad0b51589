"""What the wrappers share: the rows of their tables, and how they read a timeout."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from ..io.descriptors import Descriptors
from ..io.disk import Disk
from ..io.workers import Workers
from ..kernel.core import Kernel

__all__ = ["Late", "Patch", "Runtime", "is_path", "seconds"]


class Runtime:
    """What wrappers are made for, and what they offer each other."""

    def __init__(
        self, kernel: Kernel, descriptors: Descriptors, workers: Workers, disk: Disk
    ) -> None:
        self.kernel = kernel
        self.descriptors = descriptors
        self.workers = workers
        self.disk = disk
        self.adopters: dict[type, Callable[[Any], None]] = {}
        """By class: what to do with an instance that exists when the patch is applied."""
        self.releasers: dict[type, Callable[[Any], None]] = {}
        """By class: what to do with an instance that exists when the patch is undone."""
        self.resolve: Callable[[Any, Any], Any] = lambda sock, address: address
        """A socket's address with its host name looked up; set by `names`."""
        self.watchdog: Any = None
        """`preemption.watchdog.Watchdog`; set by `patching`."""
        self.locks: Any = None
        """The waits for plain locks (`lock_waits.LockWaits`); set by `locks`."""
        self.rlock_held: Callable[[Any], bool] = lambda lock: False
        """Whether the current green thread owns an RLock; set by `locks`."""
        self.offloaders: dict[type, Callable[[Any], Callable[..., Any]]] = {}
        """By class: what makes an offloading method of an original one, where that takes care."""
        self.socket_mode: Any = None
        """The program's timeouts of sockets (`socket_mode.SocketMode`); set by `socket`."""
        self.executed: Callable[[Any], Any] = lambda module: None
        """To be told of each C module that has been executed; set by `patching`."""


class Patch(NamedTuple):
    """One thing taken over.

    `group` is the public module it belongs to, for ``only`` and ``exclude``.  `path` is where it is
    found: a module, and an attribute of it or of a class in it.
    """

    group: str
    module: str
    path: str
    replacement: Any
    install: Callable[[], Callable[[], None]] | None = None
    """What else is to be done once the row is applied; it returns its own undo."""
    owner: Any = None
    """The class or module, where `path` tells of one that can't be found by name."""

    @property
    def name(self) -> str:
        """The dotted name: ``time.sleep``."""
        return f"{self.module}.{self.path}"


class Late(NamedTuple):
    """The rows of a module that many programs never import: made when it is."""

    group: str
    module: str
    """What their targets are found in, directly: ``_ssl``."""
    patches: Callable[[Runtime], list[Patch]]


def is_path(value: Any) -> bool:
    """Whether C code takes `value` for a path: ``os.PathLike`` asks in Python, which is traced."""
    return isinstance(value, (str, bytes)) or hasattr(type(value), "__fspath__")


def seconds(value: Any, refuse: Callable[[], Any]) -> float:
    """A duration as C code reads one: a float, or something with ``__index__``.

    `refuse` makes the original call, which raises what stock raises for anything else.
    """
    if isinstance(value, float):
        if value != value:
            refuse()
        return value
    try:
        return operator.index(value)
    except TypeError:
        refuse()
        raise
