"""Extension modules that no row of the `table` names: whether they may park, by what they import.

Facts.  A library that waits with a lock held, and whose caller parks, makes the next caller wait
for that lock on the same OS thread.  If the lock is one that libc knows the hooks see it; a lock of
the library's own making (on futexes, as Rust's are) they don't, and what was late would be for
ever.
State that a library keeps by OS thread is shared by all green threads that are in it at a time, and
an OS thread of its own may write to the stack of the one that waits for it.

Decision.  What an object imports tells which of these it may do (`_REASONS`).  One that does is
left alone, and so is all that it calls.  The rest is taken over: freely, if nothing among it makes
OS threads; else it parks for sockets and terminals only, and while it has no lock
(core/libc_careful.c).

Cost.  0.01 to 0.05 ms for each shared object that an import brings.

1. Nothing is taken over by `Untried` that the table serves, nor `DENIED` objects.
2. An object that is left alone is told of if it waits for sockets, or something that it calls
   does.

With the global lock held.
"""

from __future__ import annotations

import mmap

from .hooks import SYNCHRONISES, Hooks, denied
from .objects import Object

__all__ = ["Untried", "written_in"]

_THREADS, _CONDITIONS, _FUTEXES, _OWN_STATE, _SEMAPHORES, _STACKS, _CALLS, _SOCKETS = (
    1 << bit for bit in range(8)
)
"""As core/libc_objects.c has them."""
_WATCHFUL, _STRICT = 4, 8

_REASONS = {
    _FUTEXES: "it may have locks of its own making",
    _OWN_STATE: "it keeps state by OS thread",
    _SEMAPHORES: "it waits for semaphores",
    _STACKS: "it has stacks of its own",
    _THREADS | _CONDITIONS: "its callers wait for its OS threads",
}
"""By what the imports of an object tell: why it is left alone."""

_TRIED = ("libcrypto", "libssl", "libpq", "libldap", "libcurl", "libmariadb", "libmysqlclient")
"""Beginnings of names of shared objects that libraries of the table need, and that bear it."""

_COMPUTE = ("libgomp", "libomp", "libtbb")
"""Shared objects whose users have OS threads."""


class Untried:
    """What is done for extension modules that nobody has tried."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._traits: dict[int, int] = {}
        self._removals = 0

    def take(self, path: str) -> tuple[dict[str, list[str]], str | None]:
        """Take over what may be of the extension module at `path` and of what it needs.

        Returns the functions, by name of the shared object, and why others are left alone.
        """
        objects = self._hooks.objects()
        root = objects.at(path)
        if root is None:
            return {}, None
        if objects.removals != self._removals:
            self._removals = objects.removals
            self._traits.clear()
        those = list(objects.with_needed(root, _passes))
        if not any(self._traits_of(each) & _CALLS for each in those):
            return {}, None
        makes_threads = any(self._makes_threads(each) for each in those)
        left: dict[int, str] = {}
        why: list[str] = []
        for each in those:
            reason = self._reason(each)
            if reason is None or each.address in left:
                continue
            calls = list(objects.with_needed(each, _passes))
            if any(self._traits_of(other) & _SOCKETS for other in calls):
                why.append(f"{each.name}: {reason}")
            for other in calls:
                if other is each or not other.name.startswith(_TRIED):
                    left[other.address] = reason
        taken = {}
        for each in those:
            if each.address not in left and self._traits_of(each) & _CALLS:
                which = _STRICT if makes_threads else _WATCHFUL | SYNCHRONISES
                if functions := self._hooks.take_one(each, which):
                    taken[each.name] = functions
        return taken, "; ".join(why) or None

    def _traits_of(self, each: Object) -> int:
        traits = self._traits.get(each.address)
        if traits is None:
            traits = self._traits[each.address] = self._hooks.traits(each)
        return traits

    def _makes_threads(self, each: Object) -> bool:
        if each.name.startswith(_TRIED):
            return False
        return bool(self._traits_of(each) & _THREADS) or any(
            name.startswith(_COMPUTE) for name in each.needed
        )

    def _reason(self, each: Object) -> str | None:
        """Why an object is left alone; None if it may park."""
        if each.name.startswith(_TRIED):
            return None
        traits = self._traits_of(each)
        return next((why for signs, why in _REASONS.items() if traits & signs == signs), None)


def written_in(path: str) -> str | None:
    """Rust or Go, if the file at `path` is of that, whose runtimes make system calls of their own;
    else None.  Takes as long as to read the file.  Any OS thread."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            if text.find(b"/rustc/") >= 0:
                return "Rust"
            return "Go" if text.find(b"Go build ID: ") >= 0 else None
    except (OSError, ValueError):
        return None


def _passes(each: Object) -> bool:
    return denied(each.name) is None
