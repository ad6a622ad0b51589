"""What of this room a patch has in force, as its settings ask for it.

What a program does not need until something goes wrong is not imported before.
"""

from __future__ import annotations

from ..config import Settings
from ..kernel.core import Kernel
from ..preemption.watchdog import Watchdog
from .deadlock import Deadlocks

__all__ = ["attach"]


def attach(kernel: Kernel, watchdog: Watchdog, settings: Settings) -> None:
    """Have a kernel's threads looked after.  Before the watchdog starts."""
    if settings.deadlock != "off":
        deadlocks = Deadlocks(kernel, settings.deadlock)
        kernel.idle = deadlocks.idle
        watchdog.look_around = deadlocks.look
