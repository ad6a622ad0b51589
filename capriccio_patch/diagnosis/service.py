"""The OS thread that answers for a program: dumps on a signal, and `ps` at a socket.

Facts.  A handler in Python runs when the main OS thread gets back to Python: not while C blocks.  A
handler in C can't walk the stacks of green threads.

Decision.  `faulthandler` has a handler in C that writes a stack to a descriptor: here that is a
pipe, whose other end an OS thread reads; what it reads says only that the signal has come.  The
same OS thread listens at a UNIX socket, if that was asked for.  It needs the GIL and nothing from
the scheduler: it answers while C blocks all threads, unless the C code keeps the GIL.

1. Nothing is opened unless asked.  The socket lies in a directory of mode 0700 that is the user's
   own, and who connects must be the same user, or root, where the system tells (Linux: SO_PEERCRED,
   macOS and the BSDs: LOCAL_PEERCRED); elsewhere the directory alone guards it.
2. The OS thread does not exist while the process forks; the child has a pipe, a socket and an OS
   thread of its own.
3. The program's own handler for the signal takes the place of this one.

`start` and `stop` are for the scheduler's OS thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..cpython import originals
from ..cpython.modules import standard
from ..io import os_threads
from ..io.reserved import Own, above_standard
from ..kernel.core import Kernel
from .answers import Listener, write_all
from .requests import answer_to
from .snapshot import snapshot
from .text import whole

__all__ = ["Service", "dumped", "open_service"]

_READ = 1
_STOP_LIMIT = 1.0


class _Pipe:
    """A pipe of the runtime's own, whose ends don't wait."""

    __slots__ = ("reader", "writer")

    def __init__(self) -> None:
        reader, writer = originals.pipe()
        originals.set_blocking(reader, False)
        originals.set_blocking(writer, False)
        self.reader, self.writer = Own(above_standard(reader)), Own(above_standard(writer))

    def drain(self) -> None:
        try:
            while originals.read(self.reader.fd, 4096):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        for own in (self.reader, self.writer):
            originals.close(own.release())


class Service:
    """What answers for a kernel's program; see the module's text."""

    __slots__ = ("_dump", "_ended", "_kernel", "_listener", "_signals", "_signum", "_wakeup")

    def __init__(
        self, kernel: Kernel, signum: int | None, listener: Listener | None, dump: Callable[[], str]
    ) -> None:
        """`signum` has what `dump` returns written to standard error; None: no signal does."""
        self._kernel = kernel
        self._signum = signum
        self._listener = listener
        self._dump = dump
        self._signals: _Pipe | None = None
        self._wakeup: _Pipe | None = None
        self._ended: Any = None

    def start(self) -> None:
        """Answer.  OSError if the socket can't be opened."""
        self._open()
        self._kernel.around_fork(self._pause, self._resume)
        self._kernel.on_fork(self._forked)

    def stop(self) -> None:
        """Answer no more, and close what was opened."""
        self._pause()
        if self._signum is not None:
            standard("faulthandler").unregister(self._signum)
        self._close()
        if self._listener is not None:
            self._listener.close()

    def _open(self) -> None:
        if self._listener is not None:
            self._listener.open()
        self._wakeup = _Pipe()
        if self._signum is not None:
            self._signals = _Pipe()
            register = standard("faulthandler").register
            register(self._signum, file=self._signals.writer.fd, all_threads=False, chain=False)
        self._resume()

    def _close(self) -> None:
        for pipe in (self._wakeup, self._signals):
            if pipe is not None:
                pipe.close()
        self._wakeup = self._signals = None

    # -- forks -------------------------------------------------------------------------------

    def _pause(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None and self._wakeup is not None:
            originals.write(self._wakeup.writer.fd, b"!")
            originals.lock_acquire(ended, True, _STOP_LIMIT)
            self._wakeup.drain()

    def _resume(self) -> None:
        if self._wakeup is None or self._ended is not None:
            return
        ended = originals.allocate_lock()
        originals.lock_acquire(ended)
        try:
            os_threads.start(self._run, (ended,))
        except RuntimeError:
            return  # the system has no more
        self._ended = ended

    def _forked(self) -> None:
        """In the child: what the parent has opened is the parent's."""
        self._ended = None
        self._close()
        if self._listener is not None:
            self._listener.forked()
        try:
            self._open()
        except OSError:
            self._close()  # no descriptor, or no socket, is to be had: nobody answers

    # -- the OS thread -----------------------------------------------------------------------

    def _run(self, ended: Any) -> None:
        try:
            self._answer()
        finally:
            originals.lock_release(ended)

    def _answer(self) -> None:
        assert originals.poll is not None
        assert self._wakeup is not None
        while True:
            poller = originals.poll()
            numbers = [self._wakeup.reader.fd]
            if self._signals is not None:
                numbers.append(self._signals.reader.fd)
            if self._listener is not None:
                numbers.append(self._listener.fd)
            for number in numbers:
                poller.register(number, _READ)
            ready = {fd for fd, _ in originals.poll_poll(poller, None)}
            if numbers[0] in ready:
                return
            if self._signals is not None and self._signals.reader.fd in ready:
                self._signals.drain()
                self._write_dump()
            if self._listener is not None and self._listener.fd in ready:
                self._listener.answer()

    def _write_dump(self) -> None:
        try:
            text = self._dump()
        except Exception as error:
            text = f"capriccio_patch: no dump: {error!r}\n"
        write_all(2, text)


def dumped(kernel: Kernel) -> str:
    """What a dump says.  Any OS thread that has the GIL."""
    return whole(snapshot(kernel))


def open_service(kernel: Kernel, signum: int | None, is_asked: bool) -> Service:
    """Have a program answer to the signal, and to `ps` if `is_asked`.

    OSError, RuntimeError or ValueError if that can't be had.
    """
    if originals.poll is None:
        raise RuntimeError("there is no poll() here to wait with")

    def answer(request: str) -> str:
        return answer_to(kernel, request)

    service = Service(
        kernel, signum, Listener(answer) if is_asked else None, lambda: dumped(kernel)
    )
    service.start()
    return service
