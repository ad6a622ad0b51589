"""One record for each descriptor somebody has waited on: who waits, and what is known of it.

What Capriccio calls ``fdstruct``.  Facts first:

* An edge-triggered scheme reports a descriptor when something *changes*, and costs one
  registration in a descriptor's life.  It is for descriptors whose close we see: sockets
  (``owned``).  The number of any other may be closed and reused in C, so each wait arms it anew.
* A read from a TCP socket that returns fewer bytes than asked has emptied it, unless the peer has
  sent its end (RDHUP) or urgent data (PRI) stands in between, both of which are reported.  Then the
  next read may park without trying: no failing call, no exception.  UNIX sockets stop at passed
  descriptors and datagrams at their end, so there a short read proves nothing.

How one waits is in `io.waits`; this module says what a number stands for: when it is opened, found
to be another file's, and closed.

1. A record is in ``table`` from when its number is first waited for, or is a socket's, until the
   number is about to be closed; then it belongs to those who wait.  It is marked ``closed`` when
   the number is free: a thread that has EBADF may close it again, and close nobody else's file.
2. On other OS threads a close lets green threads run.  One that comes to wait meanwhile makes a
   record of its own, which is looked at when the number is closed.
3. Who waits for a number that another file has taken over meanwhile gets EBADF, and nothing of what
   belongs to the other file's readers.
4. Where there are several kernels (`kernel.processors`) each has records and a scheme of its own;
   what opens and closes numbers tells all of them.

Scheduler's OS thread only, where nothing else is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ..contracts.descriptor import ERR, Descriptor
from ..kernel.core import Kernel
from .identity import identity_if_open
from .waits import Waits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

__all__ = ["Descriptors"]


class Descriptors(Waits):
    """The records of all descriptors."""

    __slots__ = ("kernel", "known", "peers")

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.kernel = kernel
        self.peers: Sequence[Descriptors] = kernel.peers("descriptors", self)
        self.known: Any = _Known(self.peers) if self.peers else self.table
        """The numbers of which there are records."""
        kernel.listens = self.listens
        kernel.on_fork(self.after_fork)

    def listens(self, fd: int) -> bool:
        """Whether a number is known to be a listening socket."""
        descriptor = self.table.get(fd)
        return descriptor is not None and descriptor.listens

    def opened(self, fd: int, *, owned: bool, exact: bool) -> Descriptor:
        """A socket object now stands for `fd`: what was known of the number is void."""
        for peer in self.peers:
            if peer is not self and fd in peer.table:
                peer._opened(fd, owned, exact)
        return self._opened(fd, owned, exact)

    def found(self, fd: int, *, owned: bool, exact: bool) -> Descriptor:
        """A socket object that stands for `fd` is used, and there is no record of it here."""
        for peer in self.peers:
            known = peer.table.get(fd)
            if known is not None and known.owned:  # it was opened there
                descriptor = self.table[fd] = Descriptor(fd, owned, exact)
                descriptor.private, descriptor.listens = known.private, known.listens
                return descriptor
        return self._opened(fd, owned, exact)

    def _opened(self, fd: int, owned: bool, exact: bool) -> Descriptor:
        descriptor = self.table.get(fd)
        if descriptor is None:
            descriptor = self.table[fd] = Descriptor(fd, owned, exact)
            return descriptor
        # Whoever waits goes on with this record: a second object for the same socket is no change.
        replaced = bool(descriptor.interest()) and not self._is_same(descriptor)
        descriptor.is_another_file(owned, exact)
        wake = self._abandon if replaced else self._wake_all
        if self._kernel.is_mine():
            wake(descriptor)
        else:
            self._kernel.call_soon(wake, descriptor)
        return descriptor

    def _identify(self, d: Descriptor) -> None:
        super()._identify(d)
        for peer in self.peers:
            there = peer.table.get(d.fd)
            if there is not None and there.file not in (None, d.file):
                peer.kernel.call_soon(peer.check, there)

    def check(self, descriptor: Descriptor) -> None:
        """Before a wait that the scheme is not asked for: the number of what we own may have been
        closed in C, and stand for a file that we don't own."""
        if descriptor.file is not None and not self._is_same(descriptor):
            descriptor.is_another_file()
            self._abandon(descriptor)

    def _is_same(self, descriptor: Descriptor) -> bool:
        """Whether its number stands for the file that was waited for; True where nobody knows."""
        return descriptor.file is None or descriptor.file == identity_if_open(descriptor.fd)

    def closing(self, fd: int) -> Descriptor | None:
        """`fd` is about to be closed or replaced: pass what this returns to `closed` then.

        Any OS thread.  On another than its own the scheme is not told: it meets a closed number,
        which it must stand anyway.
        """
        descriptor = self.table.pop(fd, None)
        if descriptor is not None and self._kernel.is_mine():
            self._kernel.backend.forget(descriptor)
        return descriptor

    def closed(self, descriptor: Descriptor | None) -> None:
        """The descriptor is closed: who waits for it finds out by trying.  Any OS thread."""
        if descriptor is None:
            return
        # Not before the call: who is told EBADF takes the number for free.
        descriptor.closed = True
        if self._kernel.is_mine():
            self._wake_all(descriptor)
            self._gave_up(descriptor)
            newer = self.table.get(descriptor.fd)
            if newer is not None:
                self._look_again(newer)
        else:
            self._kernel.call_soon(self.closed, descriptor)

    def _look_again(self, newer: Descriptor) -> None:
        """A record was made while its number was being closed: for the old file or for the next."""
        file = identity_if_open(newer.fd)
        if file is None:
            self.table.pop(newer.fd, None)  # another OS thread may be faster
            newer.closed = True
        elif newer.file is not None and newer.file != file:
            newer.is_another_file()
            self._abandon(newer)
            return
        self._wake_all(newer)

    def close(self, fd: int, close: Callable[..., T], *args: Any) -> T:
        """``close(*args)``, which closes `fd`; who waits for it finds out.  Any OS thread."""
        if self.peers:
            return self.close_all((fd,), close, *args)
        descriptor = self.closing(fd)
        try:
            return close(*args)
        finally:
            self.closed(descriptor)

    def pass_on_everywhere(self, d: Descriptor) -> None:
        """As `pass_on`, to the first reader of each kernel."""
        for peer in self.peers:
            there = peer.table.get(d.fd)
            if peer is not self and there is not None:
                there.can_read = True  # first: who queues meanwhile looks at it
                if there.readers is not None:
                    peer.kernel.call_soon(peer.pass_on, there)
        self.pass_on(d)

    def look_again(self, fd: int) -> None:
        """Have all who observe `fd`, on any kernel, look for themselves.  Any OS thread."""
        for each in self.everywhere():
            d = each.table.get(fd)
            if d is not None and d.observers:
                each.kernel.call_soon(each._wake_observers, d, ERR)

    def everywhere(self) -> Sequence[Descriptors]:
        """These records and those of the kernels beside this one.  Any OS thread."""
        return self.peers or (self,)

    def close_all(self, numbers: Iterable[int], close: Callable[..., T], *args: Any) -> T:
        """As `close`, which closes several numbers."""
        numbers = list(numbers)
        closing = [(each, each.closing(fd)) for each in self.everywhere() for fd in numbers]
        try:
            return close(*args)
        finally:
            for each, descriptor in closing:
                each.closed(descriptor)

    def after_fork(self) -> None:
        """In the child: nobody waits, and nothing is registered with its new backend."""
        self._calls.clear()
        for d in self.table.values():
            d.readers = d.writers = d.observers = None
            d.registration = None
            d.armed = 0
            d.can_read = True


class _Known:
    """The numbers of which any kernel has a record.  Any OS thread."""

    __slots__ = ("_all",)

    def __init__(self, descriptors: Sequence[Descriptors]) -> None:
        self._all = descriptors

    def __contains__(self, fd: int) -> bool:
        return any(fd in each.table for each in self._all)

    def __iter__(self) -> Iterator[int]:
        return iter({fd for each in self._all for fd in list(each.table)})
