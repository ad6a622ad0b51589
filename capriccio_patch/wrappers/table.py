"""Everything that is taken over: the families of wrappers, each made with what it needs.

What one family offers another is passed to it here, so whatever offers it is made first.  The rows
may be applied in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from weakref import WeakSet

from ..cpython.modules import imported
from ..cpython.threads import unite
from ..kernel.parking import Lot
from ..preemption.watchdog import Watchdog
from ..signals.handlers import Signals
from . import time
from .base import Existing, Late, Offloader, Patch, Runtime
from .files import console, descriptors, fileio, paths
from .files import locks as file_locks
from .offloaded import call
from .processes import fork, semlock, signal, wait
from .sockets import methods, names, select
from .sockets.mode import SocketMode
from .threads import (
    async_exc,
    conditions,
    cpu_time,
    events,
    greenlets,
    import_lock,
    start,
    switchinterval,
    tracing,
    uncaught,
)
from .threads import introspection as sys_
from .threads.lock_waits import LockWaits
from .threads.locks import Locks
from .threads.simple_queue import SimpleQueues
from .threads.waiters import Waits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .threads.owned_rlocks import OwnedRLocks
    from .threads.rlocks import RLocks

__all__ = ["Table", "ThreadParts"]


class ThreadParts:
    """Who waits for what of `threading`'s, and `queue`'s."""

    __slots__ = ("c_released", "events", "lock_waits", "rlock_waits", "simple_queues", "waits")

    def __init__(
        self,
        lock_waits: LockWaits,
        rlock_waits: LockWaits,
        c_released: WeakSet[Any],
        waits: Waits,
        events: Lot,
        simple_queues: SimpleQueues,
    ) -> None:
        self.lock_waits = lock_waits
        self.rlock_waits = rlock_waits
        self.c_released = c_released
        """The locks that C releases without calling us."""
        self.waits = waits
        self.events = events
        self.simple_queues = simple_queues


class Table:
    """What one patch takes over."""

    def __init__(
        self,
        runtime: Runtime,
        watchdog: Watchdog,
        executed: Callable[[Any], Any],
        failed: dict[str, str],
        core: Any = None,
    ) -> None:
        """`executed` is called with each C module that is executed while the patch is in force.

        In `failed` is noted, by module, why there are no rows for it.  `core` is the module of C,
        if that is to keep who owns recursive locks, and to be used otherwise.
        """
        c_released: WeakSet[Any] = WeakSet()
        used = cpu_time.CpuTime(runtime)
        plain = Locks(runtime, c_released)
        recursive = _recursive_locks(runtime, core)
        waits = Waits(runtime.kernel)
        happenings = events.Events(runtime.kernel, waits)
        simple = SimpleQueues(runtime)
        self.signals = signals = Signals(runtime.kernel, watchdog.preemption)
        """Its handlers; of several kernels the main one's are in force."""
        look_ups = names.pool_of(runtime.kernel)
        self.mode = mode = SocketMode(runtime)
        """What sockets are to the program."""
        self._runtime = runtime
        self.parts = ThreadParts(
            plain.waits, recursive.waits, c_released, waits, happenings.lot, simple
        )
        """What the compiled core works on."""
        existing = (recursive.existing, mode.existing)
        self.existing: tuple[Existing, ...] = tuple(each for each in existing if each is not None)
        """What is done with objects that exist already."""
        self.offloaded = call.maker(runtime)
        """How a function is offloaded of which nothing is known."""
        self.offloaders: dict[type, Offloader] = {}
        """By class: how its methods are, where that takes care."""
        self.late: tuple[Late, ...] = (
            _late("asyncio", "_asyncio", ".threads.asyncio", runtime),
            _late("faulthandler", "faulthandler", ".threads.faulthandler", runtime, signals),
            _late("queue", "queue", ".threads.queue", runtime),
            _late("socket", "socket", ".sockets.listeners"),
            _late("sqlite3", "_sqlite3", ".offloaded.sqlite3", runtime, self.offloaders),
            _late("ssl", "_ssl", ".sockets.ssl", runtime, mode),
            *(
                _late("interpreters", module, ".offloaded.interpreters", module, runtime)
                for module in ("_xxsubinterpreters", "_interpreters", "_interpchannels")
            ),
            *uncaught.late(),
            used.late(),
        )
        """The rows of modules that many programs never import."""
        self.rows: list[Patch] = [
            *time.patches(runtime),
            *used.patches(),
            *import_lock.patches(runtime, executed),
            *start.patches(runtime, c_released, core),
            *plain.rows(),
            *recursive.rows(),
            *conditions.patches(waits, recursive.held),
            *happenings.rows(),
            *sys_.patches(runtime),
            *tracing.patches(),
            *uncaught.patches(),
            *switchinterval.patches(runtime, watchdog),
            *greenlets.patches(runtime),
            *async_exc.patches(runtime),
            *simple.rows(),
            *names.patches(look_ups),
            *methods.patches(runtime, mode, names.resolver(look_ups)),
            *select.patches(runtime),
            *descriptors.patches(runtime),
            *paths.patches(runtime),
            *fork.patches(runtime),
            *file_locks.patches(runtime),
            *fileio.patches(runtime),
            *console.patches(runtime),
            *signal.patches(runtime, signals),
            *wait.patches(runtime),
            *semlock.patches(runtime),
            *(row for late in self.late if imported(late.module) for row in late.rows(failed)),
        ]
        """The rows of everything that is there now."""

    @classmethod
    def made(cls, *args: Any) -> Table:
        """``Table(*args)``; SystemError if CPython lacks a name that it needs."""
        try:
            return cls(*args)
        except (AttributeError, KeyError) as error:
            raise SystemError(f"names: {error!r}") from error

    def offloader(self, cls: type | None) -> Offloader:
        """How a method of `cls` is offloaded, or a function."""
        offloaded: Offloader = self.offloaded
        for each in () if cls is None else cls.__mro__:
            offloaded = self.offloaders.get(each, offloaded)
        return offloaded

    def again(self, rows: list[Patch], module: Any) -> list[Patch]:
        """The rows for another module of the name of one whose `rows` have been applied."""
        if module.__name__ == "_queue":
            return SimpleQueues(self._runtime, module).rows()
        if module.__name__ == "_thread":
            unite(module)
            return []
        return [row.owned_by(module) for row in rows if "." not in row.path]

    def awaited(self) -> list[Late]:
        """The late rows that wait for the import of their module."""
        return [late for late in self.late if not imported(late.module)]


def _late(group: str, module: str, wrappers: str, *args: Any) -> Late:
    """Of a module that `wrappers`, which is imported then, has the rows of."""

    def patches() -> list[Patch]:
        made: list[Patch] = import_module(wrappers, __package__).patches(*args)
        return made

    return Late(group, module, patches)


def _recursive_locks(runtime: Runtime, core: Any) -> RLocks | OwnedRLocks:
    """Of the two forms only the one that is used is imported."""
    if core is None:
        from .threads.rlocks import RLocks

        return RLocks(runtime)
    from .threads.owned_rlocks import OwnedRLocks

    return OwnedRLocks(runtime, core)
