"""The record of one descriptor number, and the events of poll(2), in which all rooms speak.

What Capriccio calls ``fdstruct``.  `io.descriptors` says what is kept true of it.
"""

from __future__ import annotations

from .thread import Slot, Thread

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
        "exact",
        "fd",
        "file",
        "listens",
        "observers",
        "owned",
        "readers",
        "registered",
        "reused",
        "writers",
    )

    def __init__(self, fd: int, owned: bool = False, exact: bool = False) -> None:
        self.fd = fd
        self.owned = owned
        self.exact = exact
        self.can_read = True
        self.closed = False
        self.listens = False
        self.registered = False
        self.reused = False
        self.file: tuple[int, int] | None = None
        self.armed = 0
        self.readers: Slot = None
        self.writers: Slot = None
        self.observers: dict[Thread, int] | None = None

    def __repr__(self) -> str:
        return f"<Descriptor {self.fd}>"

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
