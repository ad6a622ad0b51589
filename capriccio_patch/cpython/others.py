"""Other runtimes of green threads that have patched this process: gevent, eventlet.

They replace attributes of modules, `_thread`'s classes among them; what they have put there is not
to be taken for CPython's own.
"""

from __future__ import annotations

import sys

__all__ = ["others"]


def others() -> list[str]:
    """The calls by which they have done so.  Any OS thread."""
    found = []
    if getattr(sys.modules.get("gevent.monkey"), "saved", None):
        found.append("gevent.monkey.patch_all()")
    if getattr(sys.modules.get("eventlet.patcher"), "already_patched", None):
        found.append("eventlet.monkey_patch()")
    return found
