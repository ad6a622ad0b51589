"""The one way to what the package keeps to itself: what is in force in this process.

For tests, and for programs that tests run as text.
"""

from __future__ import annotations

import threading
from typing import Any

from capriccio_patch import api


def applied() -> Any:
    """The patch in force, with its runtime, its table and its watchdog."""
    assert api._applied is not None, "nothing is patched"
    return api._applied


def here() -> Any:
    """The runtime of the calling OS thread: the kernel there, and what it waits with."""
    return applied().processors.here(applied().runtime)


def is_parked(thread: threading.Thread) -> bool:
    """Whether a green thread waits, or has ended."""
    found = applied().runtime.kernel.threads.get(thread.ident)
    return found is None or found.parked
