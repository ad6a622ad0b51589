"""Putting the compiled core in place of the Python functions that it stands for.

1. C is used if it was built, is not switched off, and finds everything where it looks for it; each
   layout is looked up in living objects.  Otherwise `Core.form` says why not, and Python is used.
2. The kernel is a `Kernel` whose hot methods are C's.  Until `bind`, and after `close`, each of
   them calls the Python method.  After `close` any other function of C that a program has kept
   calls what there was before the patch.
3. Under a scheduler that is asked before calls (`Abilities.checkpoint`) the rows stay Python's.
4. A forked child binds again before any other hook of the kernel's: its OS thread, scheme and
   timers may be others.

Main OS thread.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Collection
from types import FunctionType

from ..backends.notifier import Notifier
from ..contracts.descriptor import Descriptor
from ..contracts.scheduler import Abilities, Scheduler
from ..contracts.socket_backend import Backend
from ..contracts.thread import Finalizer, Thread, WaitQueue
from ..cpython import collector, interpose, originals
from ..diagnosis.waiting import FROM_INSIDE
from ..errors import PatchError
from ..io.waits import Waits
from ..kernel import lifecycle
from ..kernel.core import Kernel
from ..kernel.slices import Slices
from ..kernel.timers import Timers
from ..preemption.sleeper import Pulse
from ..preemption.watchdog import Watchdog
from ..wrappers.base import Patch, Runtime, name_as
from ..wrappers.sockets.mode import SocketMode
from ..wrappers.table import Table
from . import table, transfers, waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["COMPILED", "Core"]

COMPILED = "compiled"
_VARIABLE = 0x04
"""Flag of code: CO_VARARGS."""


class CompiledKernel(Kernel):
    """A kernel whose hot methods are in C."""

    __slots__ = ()


class Core:
    """What one patch uses of the compiled core."""

    def __init__(self, wanted: str, why_not: str = "") -> None:
        """`wanted`: ``auto``, ``python`` (no C) or ``compiled`` (PatchError where it can't be).
        `why_not` says why it can't be used here at all."""
        self.form = why_not or ("CAPRICCIO_CORE=python" if wanted == "python" else COMPILED)
        """`COMPILED`, or why it is not."""
        self._module: Any = None
        self._waits: Waits | None = None
        self._is_bound = False
        self._kernel: Kernel | None = None
        self._left: dict[str, str] = {}
        """By subject: why it stays Python's."""
        self._made: set[str] = set()
        """The rows that are C's."""
        if self.form == COMPILED:
            try:
                self._load()
            except ImportError:
                self.form = "not built"
            except (KeyError, SystemError) as error:
                self.form = f"it does not fit: {error}"
        if wanted == COMPILED != self.form:
            raise PatchError(f"there is no compiled core: {self.form}")

    @property
    def module(self) -> Any:
        """The module of C; None where Python is used."""
        return self._module

    @property
    def pread(self) -> Any:
        """`os.pread` for a few bytes of a file that answers at once."""
        return originals.pread if self._module is None else self._module.pread_now

    @property
    def of_kinds(self) -> Any:
        """`collector.of_kinds`."""
        return (collector if self._module is None else self._module).of_kinds

    @property
    def pulse(self) -> Pulse | None:
        """What tells without the GIL whether threads switch."""
        return self._module if hasattr(self._module, "watch") else None

    def _load(self) -> None:
        from . import _core  # type: ignore[attr-defined]

        named = {*table.KERNEL, *table.METHODS.values(), *table.BUILTINS.values()}
        functions = set(table.FUNCTIONS)
        if set(_core.STAND_INS) != named or not functions <= set(vars(_core)):
            raise SystemError("it was built from other sources")
        before = originals.monotonic()
        if not before <= _core.now() <= originals.monotonic():
            raise SystemError("its clock is not that of time.monotonic")
        waiting.try_locks(_core)
        for name in table.KERNEL:
            slow = Kernel.__dict__[name]
            setattr(CompiledKernel, name, _core.method(CompiledKernel, name, slow, slow, name, ""))
        self._module = _core

    def kernel(
        self,
        backend: Backend,
        scheduler: Scheduler,
        clock: Callable[[], float] = originals.monotonic,
    ) -> Kernel:
        """A new kernel."""
        if self._module is None:
            return Kernel(backend, scheduler, clock)
        kernel = self._kernel = CompiledKernel(backend, scheduler, clock)
        kernel.on_fork(self._bind_kernel)
        return kernel

    def bind(self, waits: Waits | None) -> None:
        """Have C work for the kernel, whose descriptors are `waits`; without, it has none."""
        if self._module is None:
            return
        self._waits = waits
        self._is_bound = True
        try:
            self._bind_kernel()
        except (KeyError, SystemError) as error:
            self.close()
            self.form = f"it does not fit: {error}"

    def _bind_transfers(self, runtime: Runtime, mode: SocketMode) -> None:
        """Have C work on sockets, whose timeouts are `mode`'s, and on files."""
        if self._module is None or self._waits is None:
            return
        transfers.bind_waits(self._module, self._waits)
        self._left |= transfers.bind(self._module, runtime, mode)

    def _for_rows(self) -> Any:
        """The module of C, if rows are to be C's; else None."""
        kernel = self._kernel
        if self._module is None or kernel is None or Abilities(kernel.scheduler).checkpoint:
            return None
        return self._module

    def table(
        self,
        runtime: Runtime,
        watchdog: Watchdog,
        executed: Callable[[Any], Any],
        failed: dict[str, str],
    ) -> Table:
        """What the patch takes over; the arguments are those of `Table`.  C works on it then."""
        module = self._for_rows()
        made = Table.made(runtime, watchdog, executed, failed, module)
        if module is not None:
            self._left |= waiting.bind(module, runtime.kernel, made.parts)
        self._bind_transfers(runtime, made.mode)
        for subject, reason in self._left.items():
            self.form += f", but for {subject}: {reason}"
        return made

    def rows(self, rows: list[Patch]) -> list[Patch]:
        """`rows`, with C's functions where there are any."""
        names = self.stands_for()
        return [self._row(row) if row.name in names else row for row in rows]

    def stands_for(self) -> Collection[str]:
        """The names of the rows for which there are functions of C."""
        return () if self._for_rows() is None else {*table.METHODS, *table.BUILTINS}

    def close(self) -> None:
        """The patch is undone, or C is not to be used after all."""
        if self._module is not None:
            self._module.unbind()
            self._module = self._waits = self._kernel = None

    def _row(self, row: Patch) -> Patch:
        slow, name = row.replacement, row.path.rpartition(".")[2]
        owner: Any = row.parent()
        stock = vars(owner).get(name) if owner is not None else None
        if stock is None:
            return row
        which = table.BUILTINS.get(row.name) or table.METHODS.get(row.name, "")
        first = which.partition("_")[0]
        subject = transfers.SUBJECTS.get(first) or waiting.SUBJECTS.get(first)
        if subject in self._left:
            return row
        if row.name in table.BUILTINS:
            made = self._module.builtin(
                table.BUILTINS[row.name], slow, interpose.clone(stock), name, ""
            )
        elif row.name in table.METHODS and row.name not in self._made:
            if subject == "queue":
                waiting.bind_queue(self._module)
            elif first == "listener":
                transfers.bind_listeners(self._module)
            if isinstance(slow, FunctionType):  # its name shows in messages
                name_as(slow, owner, name, stock)
            made = self._module.method(owner, which, slow, stock, name, _text(stock))
        else:
            return row
        self._made.add(row.name)
        return row.replaced_by(made)

    def _bind_kernel(self) -> None:
        kernel, waits = self._kernel, self._waits
        if kernel is None or not self._is_bound:
            return
        backend: Any = kernel.backend
        scheme = _epoll(backend)
        has_local = kernel.has_locals
        notifier: Any = None if scheme is None else backend._notifier
        self._module.bind("lots", {"WaitQueue": WaitQueue}, {})
        self._module.bind("pace", {"Kernel": Kernel}, {"step_aside": Kernel.step_aside})
        self._module.bind(
            "kernel",
            {
                "kernel": kernel,
                "Thread": Thread,
                "Finalizer": Finalizer,
                "from_inside": FROM_INSIDE,
                "Descriptor": Descriptor,
                "EpollBackend": scheme,
                "Notifier": Notifier,
                "Timers": Timers,
                "Slices": Slices,
                "table": {} if waits is None else waits.table,
                "append": deque.append,
                "popleft": deque.popleft,
                "own_turn": scheme is not None and kernel.clock is originals.monotonic,
                "traced": ctypes.addressof(kernel.is_traced),
                "profiled": ctypes.addressof(kernel.is_profiled),
                "has_local": 0 if has_local is None else ctypes.addressof(has_local),
            },
            {
                "_exchange": Kernel._exchange,
                "_go_on": Kernel._go_on,
                "_drain_inbox": Kernel._drain_inbox,
                "_push_and_notify": kernel._push_and_notify,
                "finish_wake_ups": kernel.finish_wake_ups,
                "restore_trace": kernel.c_state.restore_trace,
                "next_deadline": kernel.timers.next_deadline,
                "add_timer": kernel.timers.add,
                "make_room": kernel.timers.make_room,
                "grant": kernel._slices.grant,
                "dispatch": kernel.dispatch,
                "notify": backend.notify,
                "drain_notifier": _nothing if notifier is None else notifier.drain,
            },
        )
        self._module.bind(
            "stacks",
            {"thread": Thread()},
            {
                "run_interrupt": lifecycle.run_interrupt,
                "finish": lifecycle.finish,
                "take_spare": lifecycle.take_spare,
            },
        )


def _epoll(backend: Any) -> type | None:
    """The class of `backend`, if it is this package's for epoll."""
    if backend.name != "epoll":
        return None
    from ..backends.sockets.epoll import EpollBackend

    return EpollBackend if type(backend) is EpollBackend else None


def _nothing() -> None:
    """The scheme has no notifier that C would know."""


def _text(found: Any) -> str:
    """What C has for the doc string of the method `found`, signature included."""
    doc = getattr(found, "__doc__", None) or ""
    signature = getattr(found, "__text_signature__", None)
    if type(found) is FunctionType:
        signature = _signature(found)
    return f"{found.__name__}{signature}\n--\n\n{doc}" if signature else doc


def _signature(method: FunctionType) -> str:
    """The parameters of `method`, in the form of ``__text_signature__``."""
    code = method.__code__
    count = code.co_argcount
    values = method.__defaults__ or ()
    names = list(code.co_varnames[:count])
    for at, value in enumerate(values, count - len(values)):
        names[at] += f"={value!r}"
    if code.co_flags & _VARIABLE:
        names.append(f"*{code.co_varnames[count + code.co_kwonlyargcount]}")
    return f"(${', '.join(names)})"
