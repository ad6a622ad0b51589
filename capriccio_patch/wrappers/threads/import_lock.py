"""``_imp``: the import lock, which C code keeps by OS thread, and modules that are made once more.

1. Green threads exclude each other here (`holder`, `count`); on the OS thread that runs them the C
   lock is taken as often as they have taken theirs, which keeps other OS threads out.
2. An OS thread that works for the one that holds the lock (`Kernel.proxies`) takes it as that one
   does again: finders look for modules under it, and what they call may import (an audit hook).
3. ``os.fork`` takes the lock, so that a child never sees a module half made: its hooks do so here.
   They run in the thread that forks, which waits like any other.
4. A C module that was removed from ``sys.modules`` and is imported again has other functions and
   classes: `executed` takes them over as well.
"""

from __future__ import annotations

import _imp
from collections.abc import Callable
from types import ModuleType

from ...cpython import originals
from ...cpython.interpose import clone
from ...kernel.parking import Lot
from ..base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]


def patches(runtime: Runtime, executed: Callable[[Any], Any]) -> list[Patch]:
    """The rows of this module; `executed` is called with each C module that has been executed."""
    kernel = runtime.kernel
    get_ident = originals.get_ident
    original_acquire = clone(_imp.acquire_lock)
    original_release = clone(_imp.release_lock)
    holder: Any = None
    count = 0
    lot = Lot(kernel, "import lock", pass_on=lambda _: count or lot.wake_one(lot))
    """There is one import lock: threads wait for the lot itself."""
    borrowed: dict[int, int] = {}
    """How often OS threads have taken it that work for the holder."""
    release_after_fork: Callable[[], None] = original_release

    def acquire_lock() -> None:
        nonlocal holder, count
        ident = get_ident()
        if ident == kernel.os_ident:
            me = kernel.current.ident
            while count and holder != me:
                lot.park(lot)
            holder = me
            count += 1
        elif ident in borrowed or (count and kernel.proxies.get(ident) == holder):
            borrowed[ident] = borrowed.get(ident, 0) + 1
            return
        original_acquire()

    def give_back() -> None:
        ident = get_ident()
        borrowed[ident] -= 1
        if not borrowed[ident]:
            del borrowed[ident]

    def release_lock() -> None:
        nonlocal count
        if get_ident() in borrowed:
            give_back()
            return
        if get_ident() != kernel.os_ident:
            original_release()
            return
        if not count or holder != kernel.current.ident:
            raise RuntimeError("not holding the import lock")
        original_release()
        count -= 1
        if not count and lot.waiting:
            lot.wake_one(lot)

    def before_fork() -> None:
        nonlocal release_after_fork
        mine = get_ident() == kernel.os_ident
        acquire_lock()
        lent = get_ident() in borrowed
        release_after_fork = release_lock if mine else give_back if lent else original_release

    def after_fork() -> None:
        release_after_fork()

    kernel.around_fork(before_fork, after_fork)

    def execution(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def execute(module: Any, /) -> Any:
            result = function(module)
            if isinstance(module, ModuleType):
                executed(module)
            return result

        return execute

    rows = [
        Patch("importlib", "_imp", name, execution(clone(getattr(_imp, name))))
        for name in ("exec_builtin", "exec_dynamic")
        if hasattr(_imp, name)
    ]
    return [
        *rows,
        Patch("threading", "_imp", "acquire_lock", acquire_lock),
        Patch("threading", "_imp", "release_lock", release_lock),
    ]
