"""The order of exit callbacks.

``atexit`` calls the last registered first, so our undo would come before the callbacks of what was
imported before the patch (``multiprocessing``'s joins threads that are green).  They are run first.
What has run already is recognized by comparing; a callable whose class compares unequal to any
other would run twice.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import Any

__all__ = ["run_registered_before"]


class _Since:
    """Equal to `callback` and to what is compared after it."""

    __slots__ = ("_callback", "reached")

    __hash__ = object.__hash__

    def __init__(self, callback: Callable[..., Any]) -> None:
        self._callback = callback
        self.reached = False

    def __eq__(self, other: object) -> bool:
        self.reached = self.reached or other is self._callback
        return self.reached


def run_registered_before(callback: Callable[..., Any]) -> None:
    """Run what was registered with ``atexit`` before `callback`, which it is calling now."""
    since: Any = _Since(callback)
    atexit.unregister(since)  # compares in the order of registration: what has been called goes
    if since.reached:
        atexit._run_exitfuncs()
