"""The order of exit callbacks.

``atexit`` calls the last registered first, so our undo would come before the callbacks of what was
imported before the patch (``multiprocessing``'s joins threads that are green).  It has to come
after all of them, also after those that they register themselves.

Facts: ``atexit`` lets go of all callbacks when it has called the last one, and from CPython 3.14 it
calls those of a copy of its list, so that who takes callbacks out while it does changes nothing.
Decision: what is registered is an object that nobody else holds.  Its call notes that the exit has
begun, and when ``atexit`` lets go of it, the work is done.  Cost: an error there can only be
printed.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from weakref import ref

__all__ = ["Last"]


class Last:
    """Calls `call` at exit, when all exit callbacks have been called.  Main OS thread."""

    __slots__ = ("_registered",)

    def __init__(self, call: Callable[[], None]) -> None:
        registered = _Registered(call)
        self._registered = ref(registered)
        atexit.register(registered)

    def cancel(self) -> None:
        """There is nothing to be done at exit any more."""
        registered = self._registered()
        if registered is not None:
            registered.has_begun = False
            registered.is_cancelled = True
            atexit.unregister(registered)


class _Registered:
    __slots__ = ("__weakref__", "_call", "has_begun", "is_cancelled")

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self.has_begun = self.is_cancelled = False

    def __call__(self) -> None:
        self.has_begun = not self.is_cancelled

    def __del__(self) -> None:
        if self.has_begun:
            self._call()
