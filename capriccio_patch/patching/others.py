"""Other runtimes of green threads that have patched this process already.

gevent and eventlet replace attributes of modules; what they have replaced is theirs, and their
threads wait in loops of their own, which stop ours.
"""

from __future__ import annotations

import sys
import warnings

from ..errors import CapriccioWarning

__all__ = ["warn_of_others"]


def warn_of_others(stacklevel: int) -> None:
    """A CapriccioWarning, attributed as in `warnings.warn`, if one of them is in force."""
    found = []
    if getattr(sys.modules.get("gevent.monkey"), "saved", None):
        found.append("gevent.monkey.patch_all()")
    if getattr(sys.modules.get("eventlet.patcher"), "already_patched", None):
        found.append("eventlet.monkey_patch()")
    if found:
        warnings.warn(
            f"{' and '.join(found)} has patched this process: threads of the one stop those of the "
            "other; take that call out",
            CapriccioWarning,
            stacklevel=stacklevel + 1,
        )
