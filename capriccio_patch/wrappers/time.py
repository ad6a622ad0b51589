"""``time.sleep``."""

from __future__ import annotations

from ..cpython import originals
from .base import Patch, Runtime, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

# Beyond it (292 years) the original raises at once.
_TOO_LONG = 9223372036


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    kernel = runtime.kernel
    get_ident = originals.get_ident
    original = originals.sleep
    clock = kernel.clock
    sleep_until = kernel.sleep_until
    yield_ = kernel.yield_

    def sleep(duration: Any, /) -> Any:
        if get_ident() != kernel.os_ident:
            return original(duration)
        kind = type(duration)
        if kind is not float and kind is not int:
            duration = read(duration)
        if duration > 0:
            if duration >= _TOO_LONG:
                return original(duration)
            sleep_until(clock() + duration)
        elif duration == 0:
            yield_()
        else:
            return original(duration)  # ValueError: negative, or not a number
        return None

    def read(duration: Any) -> float:
        # Apart, because what a lambda uses costs each call of `sleep` a cell.
        return seconds(duration, lambda: original(duration))

    return [Patch("time", "time", "sleep", sleep)]
