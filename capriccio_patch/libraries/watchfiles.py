"""watchfiles: ``RustNotify.watch`` sleeps in Rust, and looks for changes and signals in between.

The call is made on an OS thread, where no signal handler runs.  So what interrupts the main thread
is a stop event to the library, which then returns as it does when a signal handler has raised.
"""

from __future__ import annotations

from greenlet import GreenletExit

from ..contracts.request import Call
from ..io import off_thread
from ..kernel.loans import Loan
from ..wrappers.base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_MODULE = "watchfiles._rust_notify"
_SIGNAL = "signal"
"""What it returns when a signal handler has raised, whatever that was."""


def patches(runtime: Runtime, module: Any) -> list[Patch]:
    """The row for ``watchfiles._rust_notify``."""
    kernel = runtime.kernel
    original = module.RustNotify.watch

    def watch(self: Any, debounce_ms: Any, step_ms: Any, timeout_ms: Any, stop_event: Any) -> Any:
        limits = debounce_ms, step_ms, timeout_ms
        if not kernel.is_mine() or not _is_event(stop_event):
            return original(self, *limits, stop_event)
        stop = _Stop(stop_event)
        call = Call(kernel, original, self, *limits, stop)
        call.loan = Loan(kernel)
        off_thread.begin(call)
        if kernel.current is not kernel.main:
            return off_thread.wait(kernel, call, to_the_end=True)
        while not call.done:
            try:
                off_thread.park(kernel, call, "worker")
            except GreenletExit:
                stop.is_left = True
                raise
            except BaseException:  # of a signal handler: Rust drops what it raises
                stop.is_left = True
        return _SIGNAL if stop.is_left else call.outcome()

    watch.__doc__ = original.__doc__
    return [Patch("watchfiles", _MODULE, "RustNotify.watch", watch)]


def _is_event(event: Any) -> bool:
    """Whether the library would take it."""
    return event is None or callable(getattr(event, "is_set", None))


class _Stop:
    """The program's stop event, if any, which is set as well when the caller is interrupted."""

    __slots__ = ("_event", "is_left")

    def __init__(self, event: Any) -> None:
        self._event = event
        self.is_left = False

    def is_set(self) -> Any:
        """Asked by the library between its sleeps.  The OS thread that makes the call."""
        return self.is_left or (self._event is not None and self._event.is_set())
