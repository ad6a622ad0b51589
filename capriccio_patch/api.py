"""``patch_all``, its undo, and what a program may ask of the patch in force.

What is taken over are rows of data (`wrappers.table`), which `patching.apply` applies, and puts
back in reverse.  This module puts the runtime together; it alone knows what is in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType

from .backends.sockets import recreate_backend
from .config import Settings
from .contracts.scheduler import Abilities
from .core.binding import Core
from .cpython import checks, interpose, originals, standstill
from .cpython.exit_order import Last
from .cpython.fork_hooks import register_first
from .cpython.modules import Importing, is_standard, standard
from .cpython.thread_names import thread_name
from .diagnosis.attach import attach, stop_answering
from .errors import PatchError, ThreadsAlive
from .io import os_threads
from .kernel.core import Kernel
from .libraries.hooks import Hooks
from .libraries.rules import Libraries, known
from .patching import threads
from .patching.apply import Application, found_at
from .patching.checkpoints import with_checkpoints
from .patching.children import set_environment
from .patching.offload import Offload
from .patching.others import warn_of_others
from .patching.outcome import Outcome
from .patching.post_import import hook_import, when_imported
from .patching.refusals import with_refusals
from .patching.select import Selection
from .preemption.watchdog import Watchdog
from .processors.choice import processors_for
from .processors.parts import runtime_for, watch_times
from .wrappers.base import Patch

__all__ = [
    "blocking_graph",
    "interrupt",
    "is_patched",
    "offload",
    "original",
    "patch_all",
    "program_failed",
    "set_priority",
    "status",
    "unpatch_all",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .graph.model import BlockingGraph


class _Applied(Application):
    """One patch: what it has taken over, and the runtime that serves it."""

    def __init__(self, settings: Settings) -> None:
        """Take over what `settings` ask for; if that fails nothing is left of it."""
        super().__init__()
        self.settings = settings
        try:
            self._put_in_force(settings, self.opened)
        except BaseException:
            self.close()
            raise

    def _put_in_force(self, settings: Settings, opened: list[Callable[[], None]]) -> None:
        self.processors = processors = processors_for(settings, self._wants)
        self.core = core = Core(settings.core, processors.no_core)
        opened.append(core.close)
        self.of_kinds = core.of_kinds
        make_kernel = processors.main(core.kernel)
        self.runtime = runtime_for(settings, opened, make_kernel, core.bind)
        kernel = self.runtime.kernel
        opened.append(processors.retire)
        processors.make(settings, self.executed, self.failed)
        times = watch_times(settings, kernel)
        self.watchdog = Watchdog(kernel, *times, core.pread, core.pulse)
        opened.append(attach(kernel, self.watchdog, settings))
        self.outcome = Outcome(kernel)
        self.table = core.table(self.runtime, self.watchdog, self.executed, self.failed)
        offloader = processors.offloader(self.table)
        self.offload = Offload(offloader, self.apply, self.undo, when_imported)
        rows = [*self.table.rows, *processors.in_all(self.outcome.patches())]
        self.selection = Selection(settings, rows, self.table.awaited(), known())
        hooks = Hooks(self.runtime, self.watchdog.preemption, core.module or core.form)
        how = (self.selection.wants, self.apply, self.offload.take_over, offloader(None))
        self.libraries = Libraries(self.runtime, settings.native, hooks, *how)
        opened.append(self.put_back)
        self.apply_all(self._wanted(rows), self.table.existing, self.table.again)
        self.undo += [self.watchdog.stop, self.libraries.end]
        self.watchdog.start()
        self.undo.append(set_environment(settings))
        processors.begin()

    def _wants(self, row: Patch) -> bool:
        return self.selection.wants(row)

    def here(self) -> Kernel:
        """That of the calling OS thread; the main one on those that have none."""
        return self.processors.here(self.runtime).kernel

    def _wanted(self, rows: list[Patch]) -> list[Patch]:
        rows = with_refusals([*filter(self.selection.wants, rows)], self.core.stands_for())
        rows = self.core.rows(with_checkpoints(self.runtime.kernel, rows))
        return self.processors.rows(rows)

    def imported(self, name: str, module: ModuleType) -> None:
        """A module is there whose rows were put off until its import, or one of the program's own
        that is called so."""
        if not is_standard(vars(module)):
            return
        for late in (each for each in self.table.late if each.module == name):
            rows = late.rows(self.failed)
            self.processors.importing(name, self.failed)
            for row in rows:
                self.selection.add(row)
            for row in self._wanted(rows):
                self.apply(row)
        self.warn_of_failures(stacklevel=1)


_applied: _Applied | None = None
_hooked = False
"""Whether the interpreter has our fork hooks, which it never gives back."""
patched_by = "patch_all()"
"""What called `patch_all`: ``python -m`` and the start-up hook say so before they do."""
_exit: Last | None = None
"""What is done at exit, while a patch is in force."""


def patch_all(
    *,
    only: Iterable[str] | None = None,
    exclude: Iterable[str] | None = None,
    sockio: str | None = None,
    diskio: str | None = None,
    scheduler: str | None = None,
    seed: int | str | None = None,
    graph: str | None = None,
    slice: float | None = None,  # noqa: A002
    blocked: float | str | None = None,
    deadlock: str | None = None,
    dump: str | None = None,
    ps: bool | str | None = None,
    offload: Iterable[str] | None = None,
    children: bool | str | None = None,
    native: Iterable[str] | None = None,
    processors: int | str | None = None,
) -> None:
    """Take over everything that blocks; from now on `threading`'s threads are green threads.

    May be called at any time, on the main thread, and twice: the second call does nothing.  `only`
    and `exclude` name modules (``"socket"``) or single functions (``"time.sleep"``); what is left
    unset is read from the environment (``CAPRICCIO_SOCKIO``, ...).  `children` has interpreters
    that this process starts patched with the same settings, or not.

    Raises ConfigError for an unknown name, BackendUnavailable for an I/O scheme that can't run
    here, PatchError on an OS thread that is not the main one, without the GIL while others run, and
    in a Python that fails one of `cpython.checks`, which it names; a function that can't be taken
    over gets a CapriccioWarning.
    """
    global _applied, _exit, _hooked
    arguments = locals()
    if originals.get_ident() != standard("threading").main_thread().ident:
        raise PatchError("patch_all() must be called on the main thread")
    if _applied is not None:
        return
    settings = Settings.load(**arguments)
    if (refusal := checks.unsafe_now(os_threads.resting) or checks.refusal()) is not None:
        raise PatchError(f"this Python can't be patched: {refusal}")
    try:
        with Importing():
            _applied = applied = _Applied(settings)
    except SystemError as error:
        raise PatchError(f"this Python can't be patched: {error}") from error
    for late in applied.table.awaited():
        hook_import(_imported, late.module)
    try:
        applied.offload.add(settings.offload)
        applied.libraries.begin(hook_import, applied.also_executed)
    except BaseException:
        unpatch_all()
        raise
    _exit = Last(_at_exit)
    if not _hooked:
        _hooked = True
        register_first(_before_fork, _after_fork_in_parent, _after_fork_in_child)
    applied.warn_of_failures(stacklevel=3)
    warn_of_others(2, hook_import, applied.undo)


def unpatch_all() -> None:
    """Put everything back as it was.  ThreadsAlive, naming them, if green threads still live."""
    global _applied
    applied = _applied
    if applied is None:
        return
    kernel = applied.runtime.kernel
    if originals.get_ident() != kernel.os_ident or kernel.current is not kernel.main:
        raise PatchError("unpatch_all() must be called on the main thread")
    alive = [thread for thread in kernel.threads.values() if thread is not kernel.main]
    if alive:
        names = ", ".join(thread_name(thread.ident) for thread in alive)
        raise ThreadsAlive(f"{len(alive)} green threads are alive: {names}")
    _applied = None
    if _exit is not None:
        _exit.cancel()
    applied.close()


def set_priority(value: int, thread: Any = None) -> None:
    """Have a thread run before others (`value` above 0) or after them (below), from its next wait.

    `value` is a whole number from -100 to 100; a thread begins with 0.  `thread` is a
    `threading.Thread` that has been started, or its identifier; None: the calling one.  The
    scheduler ``priority`` goes by it, the others don't; without a patch it does nothing.

    Any OS thread.  ValueError for a value out of range, RuntimeError for a thread not yet started.
    """
    threads.set_priority(_kernel(), value, thread)


def interrupt(thread: Any, error: BaseException | type[BaseException]) -> bool:
    """Have another thread raise `error` now: what it waits for is given up, what it computes ends.

    `thread` is as for `set_priority`.  Its ``with`` and ``finally`` blocks run.  False, and nothing
    happens, if it is no green thread that lives; the calling thread raises at once.

    Any OS thread.  RuntimeError for a thread not yet started, TypeError for what is no exception.
    """
    return threads.interrupt(_kernel(), thread, error)


def _kernel() -> Any:
    return None if _applied is None else _applied.runtime.kernel


def offload(*names: str) -> None:
    """Have calls of functions and methods made on worker OS threads, until `unpatch_all`.

    Each name is a dotted path, ``"sqlite3.Connection.execute"``; its module is imported.  The green
    thread that calls parks meanwhile and gets what the function returns or raises; on other OS
    threads nothing changes.  A name that is offloaded already is passed over.

    Raises ConfigError for a name that leads to nothing that can be offloaded, before any of the
    names takes effect; PatchError without `patch_all`.  Green threads.
    """
    if _applied is None:
        raise PatchError("offload() needs patch_all()")
    _applied.offload.add_now(names)


def is_patched(name: str) -> bool:
    """Whether the function at a dotted name (``"time.sleep"``), or anything of a module, is taken
    over.  Any OS thread."""
    if _applied is None:
        return False
    if any(row == name or row.startswith(name + ".") for row in _applied.how):
        return True
    if group := _applied.selection.group(name):
        return any(row in _applied.how for row in group)
    if any(name == late.group for late in _applied.table.awaited()):
        return _applied.selection.wants(Patch(name, name, "", None))
    try:
        return id(found_at(name)) in _applied.originals
    except (AttributeError, ImportError):
        return False


def original(name: str) -> Any:
    """The callable that a dotted name stood for before the patch: the paper's ``__real_`` symbol.

    A method of a class is returned as a function that takes the object first.  What is not patched
    is returned as it is.  AttributeError or ModuleNotFoundError when there is no such thing.
    """
    found = found_at(name)
    if isinstance(found, staticmethod):
        found = found.__func__
    if _applied is None:
        return found
    return _applied.originals.get(id(found), found)


def status() -> dict[str, Any]:
    """What is patched and how, what could not be and why, the I/O scheme, scheduler and threads."""
    if _applied is None:
        return {"patched": False}
    kernel = _applied.runtime.kernel
    blocked = _applied.processors.blocked(_applied.watchdog.blocked())
    return {
        "patched": True,
        "patched_by": patched_by,
        "gil": standstill.has_gil(),
        "core": _applied.core.form,
        "sockio": kernel.backend.name,
        "diskio": _applied.runtime.disk.backend.name,
        "scheduler": _applied.settings.scheduler,
        "seed": Abilities(kernel.scheduler).seed,
        "slice": _applied.settings.slice,
        "blocked": {"limit": _applied.settings.blocked, **blocked},
        "deadlock": _applied.settings.deadlock,
        "processors": _applied.processors.count(),
        "threads": len(kernel.threads),
        "os_threads": os_threads.count(),
        "how": dict(_applied.how),
        "failed": dict(_applied.failed),
        "offload": dict(_applied.offload.names),
        "libraries": _applied.libraries.status(),
    }


def blocking_graph() -> BlockingGraph:
    """Where threads wait now, and, as far as it is recorded, where they go from there.

    Recorded under the scheduler ``graph``, and under any other if `patch_all` was given `graph`
    (``--graph``); else the nodes are those where somebody is parked, and there are no edges.
    Without a patch it is empty.

    Green threads only: PatchError on any other OS thread.
    """
    from .graph.output import EMPTY, recorded

    if _applied is None:
        return EMPTY
    kernel = _applied.runtime.kernel
    if not kernel.is_mine():
        raise PatchError("blocking_graph() must be called in a green thread")
    return recorded(kernel)


def program_failed() -> None:
    """The program ends with an error, which the interpreter may not report: exit will tell."""
    if _applied is not None:
        _applied.outcome.failed = True


# -- at imports, at exit, at forks ---------------------------------------------------------------


def _imported(name: str, module: ModuleType) -> None:
    if _applied is not None:
        _applied.imported(name, module)


def _at_exit() -> None:
    """Non-daemon threads have ended, and exit callbacks have been called; daemon threads stop where
    they are, as in stock.

    Their greenlets must not be collected: that would raise GreenletExit in them and run their
    ``finally`` blocks.
    """
    global _applied
    applied = _applied
    if applied is None:
        return
    kernel = applied.runtime.kernel
    applied.outcome.tell()
    stop_answering()
    if applied.settings.graph is not None:
        from .graph.output import draw

        draw(kernel, applied.settings.graph)
    _applied = None
    applied.processors.halt()
    interpose.leak(kernel.threads)
    interpose.leak(kernel.spare)
    applied.put_back()


def _before_fork() -> None:
    if _applied is not None:
        _applied.here().before_fork()


def _after_fork_in_parent() -> None:
    if _applied is not None:
        _applied.here().end_fork()


def _after_fork_in_child() -> None:
    if _applied is not None:
        runtime = _applied.runtime = _applied.processors.keep(_applied.runtime)
        os_threads.after_fork()
        runtime.kernel.after_fork(recreate_backend(runtime.kernel.backend))
        runtime.workers.after_fork()
        _applied.processors.hand_over(_applied.table)
