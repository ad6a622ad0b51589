"""io_uring(7) for sockets and pipes: poll requests, submitted with the next wait.

Facts:

* Handing over requests, waiting and learning what happened is one io_uring_enter(2); arming a
  descriptor is a write to shared memory, not a system call.
* A request holds the file that its descriptor stands for.  close(2) neither ends the request nor
  the file: the peer would see no end, and a port would stay in use.
* A multishot request tells of changes, as edge-triggered epoll does, and would have to be cancelled
  by a system call before every close.
* POLLPRI alone is never answered: io_uring leaves it out when it looks whether a wake-up concerns a
  request.  TCP wakes with POLLRDBAND as well, a state which it never has.
* Receiving by io_uring takes data out of the kernel before the program asks for it, which
  MSG_PEEK, select and descriptors shared with other processes would notice.

Decision: requests of POLL_ADD, each for one report.  What nobody waits for any longer is cancelled:
with the next wait, or at once where its number is about to be closed.

Cost: a quarter to a half more CPU than epoll for a request of a client (`docs/schemes.md`), because
what C does for the other schemes is Python over shared memory here.  So it is not chosen
automatically.

Needs Linux 5.11, for timeouts with the wait.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from ...contracts.descriptor import ERR, NVAL, PRI, READ, Descriptor
from ..limits import MAX_TIMEOUT
from ..notifier import NotifiedBackend, Notifier, notice_reuse
from ..ring import FEAT_EXT_ARG, FOREVER, Ring, unavailable

__all__ = ["IoUringBackend"]

_ENTRIES = 512
_COMPLETIONS = 4096

# linux/io_uring.h
_POLL_ADD, _POLL_REMOVE = 6, 7

_RDBAND = 0x80

# A request's key: its descriptor in the lower half, then a serial number.  0 is for cancellations.
_DESCRIPTOR = 0xFFFFFFFF
_SERIAL = 1 << 32
_KEYS = (1 << 64) - 1


class _Request:
    """A poll request that has not been answered."""

    __slots__ = ("descriptor", "events", "key")

    def __init__(self, descriptor: Descriptor, events: int, key: int) -> None:
        self.descriptor = descriptor
        self.events = events
        self.key = key


class IoUringBackend(NotifiedBackend):
    """One-shot poll requests in a ring of the scheduler's OS thread."""

    name = "io_uring"
    holds_files = True

    __slots__ = ("_reader", "_requests", "_ring", "_serial")

    @classmethod
    def is_available(cls) -> str | None:
        """Linux 5.11 and later, where it is not forbidden."""
        return unavailable(FEAT_EXT_ARG)

    def init(self) -> None:
        """One ring and one pipe."""
        self._ring = Ring(_ENTRIES, _COMPLETIONS)
        self._requests: dict[int, _Request] = {}
        self._serial = 0
        try:
            self._notifier = Notifier(self._watch_notifier)
        except OSError:
            self._ring.close()
            raise
        self._watch_notifier()

    def _watch_notifier(self, old: int = -1) -> None:
        if old in self._requests:
            self._cancel(self._requests[old])
        self._reader = Descriptor(self._notifier.reader, owned=True)
        self.add_request(self._reader, READ)

    def add_request(self, descriptor: Descriptor, events: int) -> int:
        """No system call: the next `poll` hands it over."""
        reused = notice_reuse(descriptor)
        fd = descriptor.fd
        request = self._requests.get(fd)
        if request is not None:
            if (
                request.events == events
                and request.descriptor is descriptor
                and descriptor.armed == events
                and not reused
            ):
                return 0
            self._cancel(request)
        self._serial = key = self._serial + _SERIAL & _KEYS or _SERIAL
        self._requests[fd] = _Request(descriptor, events, key | fd)
        mask = events | _RDBAND if events & PRI else events
        self._ring.push(_POLL_ADD, fd, 0, 0, 0, mask, key | fd)
        descriptor.armed = events
        return reused

    def poll(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        """One io_uring_enter(2); none where there is something to report and nothing to ask."""
        ring = self._ring
        if ring.has_completions():
            if ring.has_submissions():
                ring.enter()
        elif timeout == 0:
            ring.enter()
        else:
            ring.wait(FOREVER if timeout is None else min(timeout, MAX_TIMEOUT))
        found = []
        requests = self._requests
        for key, result in ring.reap():
            fd = key & _DESCRIPTOR
            request = requests.get(fd)
            if request is None or request.key != key:
                continue  # cancelled, or a cancellation
            del requests[fd]
            if request.descriptor is self._reader:
                self._notifier.drain()
                self.add_request(self._reader, READ)
            elif result > 0:
                found.append((fd, result))
            elif result != -errno.ECANCELED:
                found.append((fd, NVAL if result == -errno.EBADF else ERR))
        return found

    def waitable(self) -> int:
        """The ring."""
        return self._ring.fd

    def withdraw(self, descriptor: Descriptor) -> None:
        """Cancel the request, with the next `poll`."""
        request = self._requests.get(descriptor.fd)
        if request is not None and request.descriptor is descriptor:
            self._cancel(request)
            descriptor.armed = 0

    def forget(self, descriptor: Descriptor) -> None:
        """Cancel the request now: it would keep the file open."""
        if descriptor.fd in self._requests:
            self._cancel(self._requests[descriptor.fd])
        if self._ring.has_submissions():
            self._ring.enter()

    def close(self) -> None:
        """Close the ring and the pipe."""
        self._ring.close()
        self._notifier.close()

    def _cancel(self, request: _Request) -> None:
        del self._requests[request.descriptor.fd]
        self._ring.push(_POLL_REMOVE, -1, 0, request.key, 0, 0, 0)
