"""``patch_all`` and its undo: rows of data in, applied in order, undone in reverse.

A row names one thing (`wrappers.base.Patch`).  How it is taken over follows from what it is:

* a C builtin is redirected in place (`interpose.Redirect`),
* an attribute of a class, C types included, is set there, and bound methods of existing instances
  that somebody stored are redirected one by one,
* where the interpreter does not allow either, the attribute of the module is replaced, and so are
  the globals of modules that hold it; threads stay OS threads then.  `status` says so.

wrapt resolves the targets and does the setting.  Its import takes most of the time of a start,
because it imports asyncio and importlib.metadata for features that are not used here: those two are
put off until wrapt wants them.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType, ModuleType
from typing import Any

from . import interpose, originals
from .backends import create_backend, recreate_backend
from .backends.disk import create_disk_backend
from .config import Settings
from .errors import PatchError, ThreadsAlive
from .exits import run_registered_before
from .offload import Offload
from .runtime import os_threads
from .runtime.disk import Disk
from .runtime.kernel import Kernel
from .runtime.watchdog import Watchdog
from .runtime.workers import Workers
from .scheduling import (
    Outcome,
    blocked_for,
    create_policy,
    draw,
    recorded,
    slice_for,
    with_checkpoints,
)
from .wrappers import tables
from .wrappers.base import Patch, Runtime

__all__ = [
    "blocking_graph",
    "is_patched",
    "original",
    "patch_all",
    "program_failed",
    "set_priority",
    "status",
    "unpatch_all",
]


TYPE_CHECKING = False
if TYPE_CHECKING:
    from .runtime.blocking_graph import BlockingGraph


class _Deferred(ModuleType):
    """Stands for a module that is imported at its first use."""

    def __getattr__(self, name: str) -> Any:
        from importlib import import_module

        return getattr(import_module(self.__name__), name)


@contextmanager
def _deferred(*names: str) -> Iterator[None]:
    """``import name`` binds a module that is loaded later, unless it is loaded already."""
    absent = [name for name in names if name not in sys.modules]
    for name in absent:
        sys.modules[name] = _Deferred(name)
    try:
        yield
    finally:
        for name in absent:
            if isinstance(sys.modules.get(name), _Deferred):
                del sys.modules[name]


with _deferred("asyncio", "importlib.metadata"):
    import wrapt


class _Applied:
    """What one `patch_all` has done, to tell of and to undo."""

    def __init__(self, runtime: Runtime, settings: Settings) -> None:
        self.runtime = runtime
        self.settings = settings
        self.undo: list[Callable[[], None]] = []
        self.how: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.originals: dict[int, Any] = {}
        """By id of what is found at a path now: the callable that was there."""
        self.keep: list[Any] = []
        self.outcome = Outcome(runtime.kernel)
        self.offload = Offload(
            runtime,
            lambda row: _apply(self, row, interpose.self_check()),
            self.undo,
            wrapt.register_post_import_hook,
        )


_applied: _Applied | None = None


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
    offload: Iterable[str] | None = None,
) -> None:
    """Take over everything that blocks; from now on `threading`'s threads are green threads.

    May be called at any time, on the main thread, and twice: the second call does nothing.  `only`
    and `exclude` name modules (``"socket"``) or single functions (``"time.sleep"``); what is left
    unset is read from the environment (``CAPRICCIO_SOCKIO``, ...).

    Raises ConfigError for an unknown name, BackendUnavailable for an I/O scheme that can't run
    here, PatchError on an OS thread that is not the main one.
    """
    global _applied
    if originals.get_ident() != _main_ident():
        raise PatchError("patch_all() must be called on the main thread")
    if _applied is not None:
        return
    settings = Settings.load(
        only=only,
        exclude=exclude,
        sockio=sockio,
        diskio=diskio,
        scheduler=scheduler,
        seed=seed,
        graph=graph,
        slice=slice,
        blocked=blocked,
        offload=offload,
    )
    policy = create_policy(settings)
    scheme = create_disk_backend(settings.diskio)
    backend = create_backend(settings.sockio)
    kernel = Kernel(backend, policy)
    if hasattr(policy, "attach"):
        policy.attach(kernel)
    workers = Workers(kernel)
    disk = Disk(kernel, workers, scheme)
    scheme.init(disk)
    runtime = Runtime(kernel, workers, disk)
    runtime.watchdog = Watchdog(kernel, slice_for(settings, policy), *blocked_for(settings, policy))
    applied = _Applied(runtime, settings)
    try:
        rows = [*tables.all_patches(runtime), *applied.outcome.patches()]
        _check_names(rows, settings)
        rows = [row for row in rows if _selected(row, settings)]
        rows = with_checkpoints(kernel, rows)
        reason = interpose.self_check()
        for row in rows:
            _apply(applied, row, reason)
        _rehash()
        serve_again = _serve_again(applied, rows, reason)
        _adopt(applied, rows, reason, serve_again)
        runtime.executed = serve_again
        runtime.watchdog.start()
        applied.undo.append(runtime.watchdog.stop)
    except BaseException:
        _undo(applied)
        scheme.close()
        backend.close()
        raise
    _applied = applied
    for late in tables.awaited():
        if late.module not in _awaited:
            _awaited.add(late.module)
            wrapt.register_post_import_hook(_imported, late.module)
    try:
        applied.offload.add(settings.offload)
    except BaseException:
        unpatch_all()
        raise
    atexit.register(_at_exit)
    import os

    if hasattr(os, "register_at_fork") and not _fork_hooks:
        os.register_at_fork(
            before=_before_fork,
            after_in_parent=_after_fork_in_parent,
            after_in_child=_after_fork_in_child,
        )
        _move_to_front(_after_fork_in_child)
        _fork_hooks.append(_after_fork_in_child)


_fork_hooks: list[Callable[[], None]] = []
_awaited: set[str] = set()
"""Modules for whose import wrapt has our hook, which does nothing while no patch is in force."""


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
        names = ", ".join(_thread_name(thread.ident) for thread in alive)
        raise ThreadsAlive(f"{len(alive)} green threads are alive: {names}")
    _applied = None
    atexit.unregister(_at_exit)
    _undo(applied)
    applied.runtime.disk.backend.close()
    kernel.backend.close()
    kernel.spare.clear()


def set_priority(value: int, thread: Any = None) -> None:
    """Have a thread run before others (`value` above 0) or after them (below), from its next wait.

    `value` is a whole number from -100 to 100; a thread begins with 0.  `thread` is a
    `threading.Thread` that has been started, or its identifier; None: the calling one.  The
    scheduler ``priority`` goes by it, the others don't; without a patch it does nothing.

    Any OS thread.  ValueError for a value out of range, RuntimeError for a thread not yet started.
    """
    if not isinstance(value, int) or not -100 <= value <= 100:
        raise ValueError("a priority is a whole number from -100 to 100")
    ident = getattr(thread, "ident", thread)
    if thread is not None and ident is None:
        raise RuntimeError("cannot set the priority of a thread before it is started")
    if _applied is None:
        return
    kernel = _applied.runtime.kernel
    if thread is None:
        ident = kernel.current.ident if kernel.is_mine() else None
    set_ = getattr(kernel.scheduler, "set_priority", None)
    target = kernel.threads.get(ident)  # None for an OS thread, which the system schedules
    if set_ is None or target is None:
        return
    if kernel.is_mine():
        set_(target, value)
    else:
        kernel.call_soon(set_, target, value)


def is_patched(name: str) -> bool:
    """Whether the function at a dotted name (``"time.sleep"``), or anything of a module, is taken
    over.  Any OS thread."""
    if _applied is None:
        return False
    if any(row == name or row.startswith(name + ".") for row in _applied.how):
        return True
    if name in _groups:
        return any(row in _applied.how for row in _groups[name])
    if any(name == late.group for late in tables.awaited()):
        return _selected(Patch(name, name, "", None), _applied.settings)
    found = _resolve(name)
    return found is not None and id(found) in _applied.originals


def original(name: str) -> Any:
    """The callable that a dotted name stood for before the patch: the paper's ``__real_`` symbol.

    A method of a class is returned as a function that takes the object first.  What is not patched
    is returned as it is.  AttributeError or ModuleNotFoundError when there is no such thing.
    """
    module, path = _split(name)
    _, _, found = wrapt.resolve_path(module, path)
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
    return {
        "patched": True,
        "sockio": kernel.backend.name,
        "diskio": _applied.runtime.disk.backend.name,
        "scheduler": _applied.settings.scheduler,
        "seed": getattr(kernel.scheduler, "seed", None),
        "slice": _applied.settings.slice,
        "blocked": _applied.settings.blocked,
        "threads": len(kernel.threads),
        "os_threads": os_threads.count(),
        "how": dict(_applied.how),
        "failed": dict(_applied.failed),
        "offload": dict(_applied.offload.names),
    }


def blocking_graph() -> BlockingGraph:
    """Where threads wait now, and, as far as it is recorded, where they go from there.

    Recorded under the scheduler ``graph``, and under any other if `patch_all` was given `graph`
    (``--graph``); else the nodes are those where somebody is parked, and there are no edges.
    Without a patch it is empty.

    Green threads only: PatchError on any other OS thread.
    """
    if _applied is None:
        from .runtime.blocking_graph import BlockingGraph

        return BlockingGraph((), (), 0, 0, 0.0)
    kernel = _applied.runtime.kernel
    if not kernel.is_mine():
        raise PatchError("blocking_graph() must be called in a green thread")
    return recorded(kernel)


def program_failed() -> None:
    """The program ends with an error, which the interpreter may not report: exit will tell."""
    if _applied is not None:
        _applied.outcome.failed = True


# -- applying ------------------------------------------------------------------------------------


_groups: dict[str, list[str]] = {}


def _check_names(rows: list[Patch], settings: Settings) -> None:
    """ConfigError if ``only`` or ``exclude`` name what there is no row for."""
    _groups.clear()
    for row in rows:
        _groups.setdefault(row.group, []).append(row.name)
    known = [*_groups, *(row.name for row in rows), *(f"{row.group}.{row.path}" for row in rows)]
    late = tuple(f"{each}." for late in tables.awaited() for each in (late.group, late.module))
    for name in (*(settings.only or ()), *settings.exclude):
        if not any(f"{each}.".startswith(f"{name}.") for each in known):
            if f"{name}.".startswith(late):
                continue
            from .errors import ConfigError

            raise ConfigError(f"nothing to patch is called {name!r}: {', '.join(_groups)}")


def _selected(row: Patch, settings: Settings) -> bool:
    def named(names: Iterable[str]) -> bool:
        public = f"{row.group}.{row.path}"
        return any(
            name == row.group or f"{each}.".startswith(f"{name}.")
            for name in names
            for each in (row.name, public)
        )

    return (not settings.only or named(settings.only)) and not named(settings.exclude)


def _imported(module: ModuleType) -> None:
    """A module is there whose rows were put off until its import."""
    applied = _applied
    if applied is None:
        return
    reason = interpose.self_check()
    for late in tables.LATE:
        if late.module == module.__name__:
            rows = with_checkpoints(applied.runtime.kernel, late.patches(applied.runtime))
            for row in rows:
                _groups.setdefault(row.group, []).append(row.name)
                if _selected(row, applied.settings):
                    _apply(applied, row, reason)


def _serve_again(
    applied: _Applied, rows: list[Patch], reason: str | None
) -> Callable[[Any], list[Patch]]:
    """What takes over a C module made in addition to one which has been taken over; its rows."""
    served = {row.module: sys.modules[row.module] for row in rows if row.module in sys.modules}

    def executed(module: Any) -> list[Patch]:
        name = vars(module).get("__name__")
        if served.get(name, module) is module or not _is_of_c(module):
            return []
        served[name] = module
        old = [row for row in rows if row.module == name and row.name in applied.how]
        again = tables.patches_again(applied.runtime, old, module)
        for row in again:
            _apply(applied, row, reason)
        return again

    return executed


def _is_of_c(module: ModuleType) -> bool:
    """Whether it was made by the import system of C code, and not as a stand-in by a program."""
    from importlib.machinery import BuiltinImporter, ExtensionFileLoader

    loader = getattr(vars(module).get("__spec__"), "loader", None)
    return loader is BuiltinImporter or isinstance(loader, ExtensionFileLoader)


def _find(row: Patch) -> tuple[Any, str, Any]:
    """Where a row's target is found: its parent, the attribute's name, and what is there now."""
    if row.owner is None:
        target = wrapt.resolve_path(row.module, row.path)
    else:
        target = wrapt.resolve_path(row.owner, row.path.rpartition(".")[2])
    return target


def _apply(applied: _Applied, row: Patch, reason: str | None) -> None:
    _take_over(applied, row, reason)
    if row.install is not None and row.name in applied.how:
        applied.undo.append(row.install())


def _take_over(applied: _Applied, row: Patch, reason: str | None) -> None:
    if reason is not None and row.group == "threading":
        # Threads would start as green ones, and block all others in the locks that are not ours.
        applied.failed[row.name] = reason
        return
    try:
        parent, attribute, found = _find(row)
    except AttributeError as error:
        applied.failed[row.name] = str(error)
        return
    if isinstance(parent, type):
        _apply_to_class(applied, row, parent, attribute, found, reason)
    elif isinstance(found, BuiltinFunctionType) and reason is None:
        real = interpose.clone(found)
        redirect = interpose.Redirect(found, row.replacement)
        applied.undo.append(redirect.undo)
        applied.originals[id(found)] = real
        applied.how[row.name] = "in place"
    else:
        wrapt.apply_patch(parent, attribute, row.replacement)
        applied.undo.append(lambda: wrapt.apply_patch(parent, attribute, found))
        applied.originals[id(row.replacement)] = found
        applied.how[row.name] = "attribute"
        if isinstance(found, BuiltinFunctionType):
            applied.undo.append(_replace_early_bound(found, row.replacement))
            applied.how[row.name] = f"attribute, and early-bound references: {reason}"


def _apply_to_class(
    applied: _Applied, row: Patch, cls: type, attribute: str, found: Any, reason: str | None
) -> None:
    own = attribute in vars(cls)
    if reason is not None and cls.__flags__ & 1 << 8:
        applied.failed[row.name] = reason
        return
    replacement = row.replacement
    if callable(replacement) and hasattr(replacement, "__name__"):
        replacement.__name__ = attribute
        replacement.__qualname__ = f"{cls.__qualname__}.{attribute}"
        replacement.__doc__ = found.__doc__
        replacement.__module__ = cls.__module__  # where pickle looks for it
        replacement.__annotations__ = {}  # `help` and `signature` show none of C's methods
    interpose.set_attribute(cls, attribute, replacement, wrapt.apply_patch)
    if own:
        applied.undo.append(
            lambda: interpose.set_attribute(cls, attribute, found, wrapt.apply_patch)
        )
    else:
        applied.undo.append(lambda: interpose.del_attribute(cls, attribute))
    applied.originals[id(replacement)] = found
    applied.how[row.name] = "in place"


def _adopt(
    applied: _Applied,
    rows: list[Patch],
    reason: str | None,
    serve_again: Callable[[Any], list[Patch]],
) -> None:
    """Serve what exists already: stored bound methods, state kept in instances, and C modules that
    were made more than once (tests do that)."""
    adopters = applied.runtime.adopters
    replaced: dict[type, dict[str, Any]] = {}
    for row in rows:
        if row.name in applied.how and "." in row.path:
            cls, attribute, found = _find(row)
            if isinstance(cls, type) and found is row.replacement:
                replaced.setdefault(cls, {})[attribute] = found
    found, methods = interpose.instances((*replaced, *adopters, ModuleType))
    again = [row for each in found if type(each) is ModuleType for row in serve_again(each)]
    for cls, adopt in adopters.items():
        if cls in replaced:
            for each in found:
                if isinstance(each, cls):
                    adopt(each)
    for method in methods if reason is None else ():
        owner = method.__self__
        for cls in type(owner).__mro__:
            replacement = replaced.get(cls, {}).get(method.__name__)
            if replacement is not None:
                redirect = interpose.MethodRedirect(method, replacement.__get__(owner))
                applied.undo.append(redirect.undo)
                break
    if again:
        _adopt(applied, again, reason, lambda module: [])


def _rehash() -> None:
    """Keep builtins members of ``os.supports_fd`` and the like: redirected they hash otherwise."""
    import os

    for name, each in vars(os).items():
        if name.startswith("supports_") and type(each) is set:
            members = list(each)
            each.clear()
            each.update(members)


def _replace_early_bound(found: Any, replacement: Any) -> Callable[[], None]:
    """Replace a function in the module globals that hold it; returns the undo."""
    changed: list[tuple[dict[str, Any], str]] = []
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if type(names) is dict and names.get("__name__") != originals.__name__:
            for name, value in list(names.items()):
                if value is found:
                    names[name] = replacement
                    changed.append((names, name))

    def undo() -> None:
        for names, name in changed:
            if names.get(name) is replacement:
                names[name] = found

    return undo


def _undo(applied: _Applied) -> None:
    releasers = applied.runtime.releasers
    if releasers and applied.how:
        for instance in interpose.instances(releasers)[0]:
            for cls, release in releasers.items():
                if isinstance(instance, cls):
                    release(instance)
    while applied.undo:
        applied.undo.pop()()
    _rehash()


def _at_exit() -> None:
    """Non-daemon threads have ended; daemon threads stop where they are, as in stock.

    Their greenlets must not be collected: that would raise GreenletExit in them and run their
    ``finally`` blocks.
    """
    global _applied
    if _applied is not None:
        run_registered_before(_at_exit)
    applied = _applied
    if applied is None:
        return
    applied.outcome.tell()
    if applied.settings.graph is not None:
        draw(applied.runtime.kernel, applied.settings.graph)
    _applied = None
    interpose.leak(applied.runtime.kernel.threads)
    interpose.leak(applied.runtime.kernel.spare)
    _undo(applied)


def _before_fork() -> None:
    if _applied is not None:
        _applied.runtime.kernel.before_fork()


def _after_fork_in_parent() -> None:
    if _applied is not None:
        _applied.runtime.kernel.end_fork()


def _move_to_front(hook: Callable[[], None]) -> None:
    """Have the interpreter call a hook, just registered, before those that are there already.

    What C resets in a child it resets before all hooks, and so must we: a hook of the program's may
    write, wait, or ask whether it is in the main thread (asyncio's does).  The interpreter keeps
    its hooks in a list; where it does not, they come in the order of registration.
    """
    for each in gc.get_referrers(hook):
        if type(each) is list and each[-1] is hook:
            each.insert(0, each.pop())


def _after_fork_in_child() -> None:
    if _applied is not None:
        kernel = _applied.runtime.kernel
        os_threads.after_fork()
        kernel.after_fork(recreate_backend(kernel.backend))
        _applied.runtime.workers.after_fork()


# -- names ---------------------------------------------------------------------------------------


def _split(name: str) -> tuple[str, str]:
    """The longest importable prefix of a dotted name, and the rest."""
    from importlib import import_module

    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:end])
        try:
            import_module(module)
        except ModuleNotFoundError:
            continue
        return module, ".".join(parts[end:])
    raise ModuleNotFoundError(f"no module in {name!r}")


def _resolve(name: str) -> Any:
    try:
        module, path = _split(name)
        return wrapt.resolve_path(module, path)[2]
    except (AttributeError, ImportError):
        return None


def _main_ident() -> int:
    threading = sys.modules.get("threading")
    if threading is None:
        return int(originals.get_ident())  # nobody has started a thread through it
    return int(threading.main_thread().ident)


def _thread_name(ident: int) -> str:
    threading = sys.modules.get("threading")
    if threading is not None:
        thread = threading._active.get(ident)
        if thread is not None:
            return repr(thread)
    return f"<thread {ident:#x}>"
