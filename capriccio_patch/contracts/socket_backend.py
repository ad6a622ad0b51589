"""The contract of an I/O scheme.

The paper's interface (section 5.1) is four functions: ``is_available``, ``init``, ``add_request``
and ``poll``.  Here they are methods of a class, with more that closes, timeouts and other OS
threads make necessary.

1. ``is_available`` says why this machine can't run the scheme, or None.  It changes nothing.
2. ``init`` opens what the scheme needs.  It is called once; in a forked child a new object is made.
3. ``add_request(descriptor, events)`` has `poll` report the descriptor at least once for one of the
   ``events``, also when they hold already, and whatever was known of the number before (it may have
   been closed and reused).  It keeps ``descriptor.armed``: the events that are sure to be reported
   without another request.  ``descriptor.registration`` is the scheme's own.  Where
   ``descriptor.owned`` a scheme may register for good; otherwise the request is spent with the
   first report (``armed`` becomes 0).  It returns the events that hold at once for descriptors
   which the facility can't watch (regular files), else 0; with `REUSED` where it has found that the
   number stands for another file than at its last request (or it sets ``descriptor.reused``).
   Raises OSError for a bad descriptor.
4. ``poll(timeout)`` waits up to ``timeout`` seconds (None: for ever; 0: not at all), and returns
   (descriptor number, events) pairs.  It may return early, with none.  A report may be spurious
   and may come for a closed number.  Signals are taken as CPython takes them (PEP 475).
5. ``forget(descriptor)``: its number is about to be closed.  The close is to have its full effect.
6. ``withdraw(descriptor)``: nobody waits for it any longer.  It is called where ``holds_files``
   says that an unanswered request keeps the file open, and for what the runtime itself has watched.
7. ``notify`` ends a `poll` that waits, from any OS thread or signal handler; else the next one.
8. ``notified_by`` names a descriptor by which CPython's own signal handler does what `notify` does,
   if there is one: what comes on another OS thread, or just before a `poll`, does not end that.
9. ``close`` gives everything back.  A forked child calls it too, on its copy of the object.

Events are poll(2)'s: ``contracts.descriptor``.  All but `notify` is for the scheduler's OS thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from .descriptor import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

__all__ = ["REUSED", "Backend"]

REUSED = 1 << 30
"""Beside events: the number stands for another file than at the last request."""


class Backend(ABC):
    """A socket I/O scheme; see the module's text for the contract."""

    name: str
    """What it is chosen by."""
    edge_triggered: bool = False
    """Owned descriptors stay registered; their changes are reported, not their states."""
    holds_files: ClassVar[bool] = False
    """A request that is not answered keeps the file of its descriptor open."""

    @classmethod
    @abstractmethod
    def is_available(cls) -> str | None:
        """Why the scheme can't run here; None when it can."""

    @abstractmethod
    def init(self) -> None:
        """Open what the scheme needs.  OSError when there are no descriptors left."""

    @abstractmethod
    def add_request(self, descriptor: Descriptor, events: int) -> int:
        """Have `poll` report `descriptor` for `events`."""

    @abstractmethod
    def poll(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        """The descriptors that have something to tell, waiting up to `timeout` seconds."""

    def waitable(self) -> int:
        """A descriptor that is readable as soon as `poll` has something to report; -1: there is
        none.  Any OS thread."""
        return -1

    def notified_by(self, moved: Callable[[int], object]) -> int:
        """A non-blocking descriptor to which a byte is written to do what `notify` does; -1: none.

        ``moved(fd)`` is called when it has become another number, before the old one is closed, and
        with -1 when it is about to be closed itself.
        """
        return -1

    @abstractmethod
    def forget(self, descriptor: Descriptor) -> None:
        """The number of `descriptor` is about to be closed."""

    def withdraw(self, descriptor: Descriptor) -> None:  # noqa: B027
        """Nobody waits for `descriptor` any longer."""

    @abstractmethod
    def notify(self) -> None:
        """End the `poll` that is waiting.  Any OS thread, signal handlers."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back."""
