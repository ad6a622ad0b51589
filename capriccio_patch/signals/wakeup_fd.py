"""Giving a signal back to CPython, so that it calls the handler again between two later bytecodes.

That is ``interrupt_main``.  Two facts make it delicate:

* CPython would see the flag between the next two bytecodes of the caller itself and start over.  So
  giving back is the last thing a handler does.  Unpacking a ``map`` object calls C functions
  without such a look, and neither a return nor a comparison has one; calls and backward jumps do.
* ``interrupt_main`` writes the number to the program's wakeup descriptor, which would so get it
  twice for one signal (asyncio runs a callback for each).  While it runs that descriptor is a pipe
  of ours.  A signal that comes in those microseconds writes there too, and is passed on.

A signal that comes just before the kernel's poll, or on another OS thread, does not end it.  So
where the program has set no wakeup descriptor, CPython is given one whose bytes end the poll
(`Backend.notified_by`); the program is told that there is none.  A descriptor of the program's is
there to end the wait of the one who reads it.

The kernel's own number, by which it has busy threads step aside, takes the same way.

Scheduler's OS thread only, but for `Wakeup.trip`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from operator import call, index

from ..contracts.socket_backend import Backend
from ..cpython import interpose, originals, thread_state
from ..io.reserved import Own, standard_kept_free

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Wakeup"]

_interrupt_main = originals.interrupt_main


class _Request:
    """Asked by the evaluation loop whether it is true, it has `wakeup` give `signum` back."""

    __slots__ = ("signum", "wakeup")

    def __init__(self) -> None:
        self.wakeup: Wakeup | None = None
        self.signum = 0

    def __bool__(self) -> bool:
        wakeup, self.wakeup = self.wakeup, None
        if wakeup is not None:
            wakeup.give_back((self.signum,))
        return False


_request = _Request()
interpose.leak(_request)  # it may be asked after all else is gone


class Wakeup:
    """The program's wakeup descriptor (``signal.set_wakeup_fd``) and how to spare it."""

    __slots__ = ("_aside", "_back", "_follows", "_notifies", "_pipe", "fd")

    def __init__(self) -> None:
        self.fd = -1
        """What the program has set; -1 for none."""
        self._follows = False
        self._notifies = -1
        """What CPython has instead of none."""
        self._pipe: tuple[Own, Own] | None = None
        self._aside: Callable[[], Any] | None = None
        self._back: Callable[[], Any] | None = None

    def adopt(self) -> None:
        """Take over what the program has set."""
        fd = originals.set_wakeup_fd(-1)
        if fd != -1:
            self.set(fd, True)

    def follow(self, backend: Backend) -> None:
        """Have each signal end the poll of `backend`."""
        self._follows = True
        self._notify_by(backend.notified_by(self._notify_by))

    def after_fork(self, backend: Backend) -> None:
        """In the child, whose I/O scheme is `backend`."""
        self.close()
        if self._follows:
            self.follow(backend)

    def release(self) -> None:
        """Leave CPython what the program has set."""
        self._follows = False
        self._notify_by(-1)
        self.close()

    def _notify_by(self, fd: int) -> None:
        self._notifies = fd
        if self.fd == -1:
            originals.set_wakeup_fd(fd, warn_on_full_buffer=False)

    def set(self, fd: Any, warn_on_full_buffer: Any) -> int:
        """What ``signal.set_wakeup_fd`` does, in the main thread."""
        before = self.fd, self._back
        try:
            # Signals that come before it is set are given back as if it were.
            self.fd = index(fd)
            self._back = partial(
                originals.set_wakeup_fd, fd, warn_on_full_buffer=warn_on_full_buffer
            )
            old: int = self._back()
        except BaseException:
            self.fd, self._back = before
            raise
        known = self._notifies
        if self.fd == -1:
            self._notify_by(known)
        return -1 if old == known else old

    def give_back(self, signums: Collection[int]) -> None:
        """Have CPython call the handlers of `signums` again.  The caller returns at once."""
        if self.fd == -1:
            (*_,) = map(_interrupt_main, signums)
            return
        if self._pipe is None:
            self._open()
            assert self._pipe is not None
        expected = bytes(signums)
        steps: list[Any] = [self._aside]
        steps += [partial(_interrupt_main, signum) for signum in signums]
        steps += [self._back, partial(originals.read, self._pipe[0].fd, 4096)]
        try:
            (*_, written) = map(call, steps)
        except BlockingIOError:
            return  # the handler is gone, and nothing was written
        except (OSError, ValueError):
            self._closed()
            return
        if written != expected:
            self._pass_on(written, expected)

    def trip(self, signum: int) -> None:
        """Have CPython call the handler of `signum`, which nobody has sent.  Any OS thread."""
        if self.fd == -1:
            _interrupt_main(signum)
        else:
            # The wakeup descriptor can be changed on the main OS thread only.
            _request.signum = signum
            _request.wakeup = self
            thread_state.ask_later(_request)

    def trip_later(self, signum: int) -> None:
        """The same, in its handler; as with `give_back`, the caller returns at once."""
        if self.fd == -1:
            thread_state.trip_later(signum)
        else:
            self.give_back((signum,))

    def close(self) -> None:
        """Close the pipe; in a forked child too, where it is the parent's."""
        if _request.wakeup is self:
            _request.wakeup = None
        if self._pipe is not None:
            for own in self._pipe:
                originals.close(own.release())
            self._pipe = None

    def _open(self) -> None:
        with standard_kept_free():
            reader, writer = originals.pipe()
        originals.set_blocking(reader, False)
        originals.set_blocking(writer, False)
        self._pipe = Own(reader), Own(writer, self._writer_moved)
        self._set_aside(writer)

    def _writer_moved(self, old: int) -> None:
        assert self._pipe is not None
        self._set_aside(self._pipe[1].fd)

    def _set_aside(self, writer: int) -> None:
        self._aside = partial(originals.set_wakeup_fd, writer, warn_on_full_buffer=False)

    def _closed(self) -> None:
        """The program has closed the descriptor without a word."""
        self.fd = -1
        self._notify_by(self._notifies)
        self.close()

    def _pass_on(self, written: bytes, expected: bytes) -> None:
        """Write to the program's descriptor what was not `expected`: signals that have come."""
        numbers = bytearray(written)
        for signum in expected:
            if signum in numbers:
                numbers.remove(signum)
        try:
            originals.write(self.fd, numbers)
        except OSError:
            pass  # full: whoever reads it is about to look
