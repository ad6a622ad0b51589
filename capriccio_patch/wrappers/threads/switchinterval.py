"""``sys.setswitchinterval`` and ``sys.getswitchinterval``: the slice.

The interpreter's own interval follows from it (`preemption.watchdog`): how long an OS thread keeps
the GIL from others.
"""

from __future__ import annotations

from ...cpython import originals
from ...preemption.watchdog import Watchdog
from ..base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_SHORTEST = 1e-6
"""CPython counts microseconds; what is less than one it takes, and tells to be none."""


def patches(runtime: Runtime, watchdog: Watchdog) -> list[Patch]:
    """The rows of this module, for the watchdogs of all kernels."""
    watchdogs: list[Watchdog] = runtime.kernel.shared("watchdogs", [])
    watchdogs.append(watchdog)

    def setswitchinterval(interval: Any, /) -> None:
        originals.setswitchinterval(interval)  # raises, and rounds
        seconds = originals.getswitchinterval() or _SHORTEST
        for each in watchdogs:
            each.set_interval(seconds)

    def getswitchinterval() -> float:
        return watchdog.interval

    return [
        Patch("threading", "sys", "setswitchinterval", setswitchinterval),
        Patch("threading", "sys", "getswitchinterval", getswitchinterval),
    ]
