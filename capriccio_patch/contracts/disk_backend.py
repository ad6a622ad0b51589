"""The contract of a disk I/O scheme.

The paper's interface is ``is_available``, ``init``, ``add_request`` and ``poll``.  A scheme whose
operations are completed by a descriptor has that watched (`Services.watch`), and its ``poll``
called when there is something to reap; one that has them done on OS threads has no need of it.

1. ``is_available`` says why this machine can't run the scheme, or None.  It leaves nothing changed.
2. ``init(services)`` opens what the scheme needs.  It is called once.
3. ``read_now`` and ``write_now`` carry out what the scheme can do without waiting for a device; -1
   says that it must become a request.  They promise nothing: a scheme may always return -1.  They
   may read fewer bytes than asked, but none only at the end of the file.  Errors are those of the
   system call.  A file that is not local (`Services.is_local`) always becomes a request, and that
   goes to a worker.  ``is_prompt`` decides the same for changes of directories and attributes.
4. ``add_request(request)`` begins an operation.  It returns True if it is complete already, with
   ``request.result`` or ``request.error`` set.  Otherwise ``request.complete()`` is called, later
   and on the scheduler's OS thread.  A scheme carries out every `Operation`; what it has no better
   way for it passes to `Services.submit`.
5. What fails in a way that the blocking call might not have, the scheme has a worker do again, so
   that every error is stock's own.
6. ``after_fork`` is called in a forked child, where nobody waits; ``close`` gives everything back.

Everything is for the scheduler's OS thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from .request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Protocol
else:
    Protocol = object

__all__ = ["DiskBackend", "Services"]


class Services(Protocol):
    """What the runtime does for a scheme."""

    @property
    def is_local(self) -> Callable[[int], bool]:
        """Whether the file of a descriptor waits for no other process: then ask the kernel."""

    def submit(self, request: Request) -> None:
        """Have a worker perform `request` and complete it."""

    def watch(self, fd: int, call: Callable[[], None]) -> None:
        """Have `call` made whenever `fd` becomes readable."""

    def unwatch(self, fd: int) -> None:
        """Undo `watch`; before `fd` is closed."""


class DiskBackend(ABC):
    """A disk I/O scheme; see the module's text for the contract."""

    kind: ClassVar[str]
    """The name that the scheme is chosen by."""

    try_flags: ClassVar[int] = 0
    """Flags of preadv2(2) with which any descriptor, a pipe too, may be tried before anything else;
    0: the scheme wants to be asked."""

    asks_cache: ClassVar[bool] = False
    """Whether a path that the kernel has in its cache of names is looked up, and a file opened,
    directly; else that is a request too."""

    services: Services

    @property
    def name(self) -> str:
        """What `status` tells: the scheme, and what it is made of."""
        return self.kind

    @classmethod
    @abstractmethod
    def is_available(cls) -> str | None:
        """Why the scheme can't run here; None when it can."""

    def init(self, services: Services) -> None:
        """Open what the scheme needs."""
        self.services = services

    @abstractmethod
    def add_request(self, request: Request) -> bool:
        """Begin `request`; True if it is complete already."""

    def read_now(self, fd: int, buffer: Any, offset: int) -> int:
        """Read into `buffer` without waiting; the number of bytes, or -1."""
        return -1

    def write_now(self, fd: int, data: Any, offset: int) -> int:
        """Write `data` without waiting; the number of bytes, or -1."""
        return -1

    @property
    def empties(self) -> bool:
        """Whether a file is emptied better by a request than directly: that waits for the device
        where the file system discards blocks at once.  Of schemes that ask the cache.
        """
        return False

    def is_prompt(self) -> bool:
        """Whether a call that changes a directory or a file's attributes may be made directly.

        It is then told by `note_time` how long that was.
        """
        return False

    def note_time(self, seconds: float) -> None:
        """A call that was made directly has taken so long."""
        self.took(seconds)

    def took(self, seconds: float) -> None:  # noqa: B027
        """As `note_time`, by the name that schemes of version 0.1 give it."""

    def poll(self) -> None:  # noqa: B027
        """Complete the requests that have been carried out."""

    def after_fork(self) -> None:  # noqa: B027
        """In the child."""

    def close(self) -> None:  # noqa: B027
        """Give everything back."""
