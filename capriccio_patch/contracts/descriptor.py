"""The record of one descriptor number, and the events of poll(2), in which all rooms speak.

What Capriccio calls ``fdstruct``.  `io.descriptors` and `io.waits` say what is kept true of it.

Two of its fields are the scheme's to set: ``armed``, the events that are sure to be reported
without another request, which each wait looks at; and ``registration``, whatever else the scheme
wants to know of its last request, which nobody else looks into.  Both are void (0, None) where the
number has come to stand for another file.
"""

from __future__ import annotations

from .thread import Slot, Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ERR", "HUP", "NVAL", "PRI", "RDHUP", "READ", "WRITE", "Descriptor"]

# The vocabulary of poll(2), which epoll shares; kqueue's filters are translated to it.
READ = 0x001
PRI = 0x002
WRITE = 0x004
ERR = 0x008
HUP = 0x010
NVAL = 0x020
RDHUP = 0x2000


class Descriptor:
    """What is known of one descriptor number."""

    __slots__ = (
        "armed",
        "can_read",
        "closed",
        "ended",
        "exact",
        "fd",
        "file",
        "listens",
        "observers",
        "owned",
        "private",
        "readers",
        "registration",
        "reused",
        "writers",
    )

    def __init__(self, fd: int, owned: bool = False, exact: bool = False) -> None:
        self.fd = fd
        self.owned = owned
        self.private = False
        self.exact = exact
        self.can_read = True
        self.closed = False
        self.ended = False
        self.listens = False
        self.registration: Any = None
        self.reused = False
        self.file: tuple[int, int] | None = None
        self.armed = 0
        self.readers: Slot = None
        self.writers: Slot = None
        self.observers: dict[Thread, int] | None = None

    def __repr__(self) -> str:
        return f"<Descriptor {self.fd}>"

    @property
    def registered(self) -> bool:
        """Whether its scheme has noted a registration; schemes of third parties set it."""
        return bool(self.registration)

    @registered.setter
    def registered(self, value: bool) -> None:
        self.registration = value and (self.registration or True)

    def is_another_file(self, owned: bool = False, exact: bool = False) -> None:
        """The number has come to stand for another file: what was known of it is void."""
        self.owned = owned
        self.exact = exact
        self.can_read = True
        self.ended = self.listens = self.private = False
        self.registration = None
        self.file = None
        self.armed = 0

    def interest(self) -> int:
        """The events that somebody waits for."""
        events = 0
        if self.readers is not None:
            events |= READ
        if self.writers is not None:
            events |= WRITE
        if self.observers:
            for wanted in self.observers.values():
                events |= wanted
        return events
