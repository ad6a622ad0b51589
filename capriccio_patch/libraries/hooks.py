"""Calls of libc that C libraries make, taken over where they are made (core/libc_calls.c).

Facts.  A C library waits in functions of libc, which it calls through slots of its shared object.
Whether it bears that others run meanwhile on the same OS thread can't be seen for certain from
outside: it may hold a lock in a form of its own, or have an OS thread of its own write to the stack
of the one that waits.

Decision.  The slots of the libraries that the table names are written, with those of the shared
objects that they need and that are not in `DENIED`; of others those that `untried` allows.  C asks
here only when a call would wait (`wait`), and when a call that has no descriptor is to be made by a
worker (`job`).

Cost.  A call that need not wait takes 2 to 100 ns more, one that parks some 8 us.

1. What ends a wait with an exception is raised in the thread as soon as the library looks for
   signals, or has returned: C gets EINTR, as from a signal handler under stock, and waits on if it
   chooses to.
2. Undone with the patch, and at the exit.  In a forked child the hooks serve its only thread.

Scheduler's OS thread, but for `DENIED` and `status`.
"""

from __future__ import annotations

from collections.abc import Callable

from greenlet import GreenletExit

from ..contracts.request import Call
from ..contracts.thread import Finalizer, Thread
from ..io import off_thread
from ..preemption.tick import Preemption
from ..wrappers.base import Runtime
from .objects import Object, Objects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["DENIED", "SYNCHRONISES", "Hooks", "denied"]

_LATE, _READY, _INTERRUPTED, _NOT_HERE = 0, 1, 2, 3
_WAITS, SYNCHRONISES = 1, 2
"""Which calls are taken over, as core/libc_calls.h has it."""

_SYNCHRONISING = ("libtcl",)
"""Whose waits on conditions may park too: nothing of theirs lies on a waiter's stack."""

DENIED: dict[str, str] = {
    **dict.fromkeys(
        ("ld-linux", "ld-musl", "linux-vdso", "libc.", "libc-", "libm.", "libdl.", "libpthread"),
        "it is libc",
    ),
    **dict.fromkeys(("librt.", "libutil.", "libresolv", "libnss_", "libgcc_s"), "it is libc's"),
    **dict.fromkeys(("libpython", "_greenlet", "_wrappers", "_core."), "the runtime stands on it"),
    **dict.fromkeys(("libffi", "_cffi_backend", "_ctypes"), "it calls whatever it is told to"),
    "libstdc++": "it serves libraries that are not known",
    **dict.fromkeys(("libasan", "libtsan", "libubsan"), "it takes the same calls over"),
    **dict.fromkeys(("libgomp", "libomp", "libtbb"), "its threads spin for each other"),
    "cygrpc": "its identities are by OS thread, and its threads write to the waiter's stack",
}
"""Beginnings of names of shared objects that are never taken over, and why."""
_DENIED = tuple(DENIED)


class Hooks:
    """The calls of libc that one patch has taken over."""

    def __init__(self, runtime: Runtime, preemption: Preemption, core: Any) -> None:
        """`core` is the C module, or why there is none."""
        self._kernel = runtime.kernel
        self._observe = runtime.descriptors.observe
        self._workers = runtime.workers
        self._preemption = preemption
        self._core: Any = core
        self.why_not: str | None = None
        """Why no call is taken over; None if that can be done."""
        if isinstance(core, str):
            self.why_not = f"no compiled core: {core}"
        elif not hasattr(core, "libc_begin"):
            self.why_not = "not on this system"
        elif not core.libc_fits():
            self.why_not = "the mutexes of this system are not known"
        self._objects = None if self.why_not is not None else Objects(core)
        self._begun = False
        self._taken: dict[tuple[str, int], set[str]] = {}
        """By path and address of a shared object: the functions whose calls are taken over."""

    def objects(self) -> Objects:
        """What is loaded now.  Only where calls can be taken over."""
        objects = self._objects
        assert objects is not None
        objects.update()
        return objects

    def traits(self, each: Object) -> int:
        """What the imports of an object tell of it, as bits; see core/libc_objects.c."""
        return int(self._core.libc_traits(each.address))

    def take(self, path: str) -> dict[str, list[str]]:
        """Take over the calls of the extension module at `path`, and of what it needs.

        Returns the functions, by name of the shared object; nothing for a module that is none.
        """
        if self.why_not is not None:
            return {}
        objects = self.objects()
        root = objects.at(path)
        if root is None:
            return {}
        taken: dict[str, list[str]] = {}
        for each in objects.with_needed(root, lambda each: denied(each.name) is None):
            synchronises = SYNCHRONISES if each.name.startswith(_SYNCHRONISING) else 0
            if functions := self._take(each, _WAITS | synchronises):
                taken[each.name] = sorted(functions)
        return taken

    def take_one(self, each: Object, which: int) -> list[str]:
        """Take over those calls of an object of which `which` is; nothing if that has been done."""
        if (each.path, each.address) in self._taken:
            return []
        return sorted(self._take(each, which))

    def _take(self, each: Object, which: int) -> set[str]:
        if not self._begun:
            self._begin()
        functions = self._taken.setdefault((each.path, each.address), set())
        functions |= self._core.libc_hook(each.address, which)
        return functions

    def _begin(self) -> None:
        self._begun = True
        self._tell_core()
        self._kernel.on_fork(self._tell_core)

    def _tell_core(self) -> None:
        if self._begun:
            self._core.libc_begin(self._kernel, Thread, Finalizer, self._wait, self._job)

    def end(self) -> None:
        """Put every slot back."""
        if self._begun:
            self._begun = False
            self._core.libc_end()
            self._core.libc_restore()
            self._taken.clear()

    # -- from C ------------------------------------------------------------------------------

    def _wait(self, wanted: dict[int, int], seconds: float) -> int:
        """Park until something happens on one of `wanted`, {number: events}, or for `seconds`;
        below 0: for ever."""
        kernel = self._kernel
        deadline = None if seconds < 0 else kernel.clock() + seconds
        if wanted:
            return self._answer(self._observed, wanted, deadline)
        if deadline is None or seconds == 0.0:
            return self._answer(kernel.yield_)
        return self._answer(kernel.sleep_until, deadline)

    def _observed(self, wanted: dict[int, int], deadline: float | None) -> bool:
        try:
            return self._observe(wanted, deadline)
        except OSError:
            return True  # closed, or nothing that can be waited for: the call itself says so

    def _job(self, address: int) -> int:
        """Have a worker do the job at `address`, to the end."""
        call = Call(self._kernel, self._core.libc_run, address)
        off_thread.begin(call)
        return self._answer(self._to_the_end, call)

    def _to_the_end(self, call: Call) -> None:
        off_thread.wait(self._kernel, call, to_the_end=True)

    def _answer(self, wait: Callable[..., bool | None], *args: Any) -> int:
        """What C is told: how ``wait(*args)`` has ended, and which signal number to trip."""
        kernel = self._kernel
        me = kernel.current
        how = _LATE
        try:
            if wait(*args):
                how = _READY
        except GreenletExit:
            how = _INTERRUPTED
        except BaseException as error:
            self._preemption.owe(me, error)
            how = _INTERRUPTED
        if self._preemption.owes(me):
            how |= (self._preemption.signum or 0) << 8
        return how


def denied(name: str) -> str | None:
    """Why the shared object of this name is never taken over; None if it may be.  Any OS thread."""
    if not name:
        return "it is the program itself"
    if not name.startswith(_DENIED):
        return None
    return next((why for start, why in DENIED.items() if name.startswith(start)), None)
