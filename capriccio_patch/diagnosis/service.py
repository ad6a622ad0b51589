"""The OS thread that answers for a program: dumps on a signal, and `ps` at a socket.

It waits for signals (`signal_pipe`) and at a UNIX socket, as far as was asked for.  It needs the
GIL and nothing from the scheduler: it answers while C blocks all threads, unless the C code keeps
the GIL.

1. Nothing is opened unless asked.  The socket lies in a directory of mode 0700 that is the user's
   own, and who connects must be the same user, or root, where the system tells (Linux: SO_PEERCRED,
   macOS and the BSDs: LOCAL_PEERCRED); elsewhere the directory alone guards it.
2. The OS thread does not exist while the process forks; the child has a pipe, a socket and an OS
   thread of its own.
3. At SIGTERM the graph is drawn and then the process ends by SIGTERM, as it would have: only where
   the program has set no handler.

`start` and `stop` are for the scheduler's OS thread.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial

from ..cpython import originals
from ..io import os_threads
from ..kernel.core import Kernel
from .answers import Listener, write_all
from .requests import answer_to
from .signal_pipe import Pipe, SignalPipe
from .snapshot import snapshot
from .text import whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Service", "dumped", "open_service"]

_READ = 1
_STOP_LIMIT = 3.0


class Service:
    """What answers for a kernel's program; see the module's text."""

    __slots__ = ("_blocked", "_calls", "_ended", "_kernel", "_listener", "_signals", "_wakeup")

    def __init__(
        self,
        kernel: Kernel,
        listener: Listener | None,
        calls: dict[int, Callable[[SignalPipe], None]],
    ) -> None:
        """`calls` has what is done at which signal, on the OS thread."""
        self._kernel = kernel
        self._calls = calls
        self._listener = listener
        self._signals: list[SignalPipe] = []
        self._blocked: set[int] = set()
        self._wakeup: Pipe | None = None
        self._ended: Any = None

    def start(self) -> None:
        """Answer.  OSError if the socket can't be opened."""
        try:
            self._open()
        except BaseException:
            self._close()
            if self._listener is not None:
                self._listener.close()
            raise
        self._kernel.around_fork(self._before_fork, self._after_fork)
        self._kernel.on_fork(self._forked)

    def stop(self) -> None:
        """Answer no more, and close what was opened."""
        self._pause()
        self._close()
        if self._listener is not None:
            self._listener.close()

    def _open(self) -> None:
        if self._listener is not None:
            self._listener.open()
        self._wakeup = Pipe()
        for signum in self._calls:
            self._signals.append(SignalPipe(signum))
        self._resume()

    def _close(self) -> None:
        for pipe in self._signals:
            pipe.close()
        self._signals.clear()
        if self._wakeup is not None:
            self._wakeup.close()
            self._wakeup = None

    # -- forks -------------------------------------------------------------------------------

    def _before_fork(self) -> None:
        """What comes for the child before that has a pipe of its own waits, or it would be taken
        for the parent's."""
        sigmask = originals.pthread_sigmask
        if sigmask is not None and self._signals:
            self._blocked = {*self._calls} - sigmask(signal.SIG_BLOCK, self._calls)
        self._pause()

    def _after_fork(self) -> None:
        self._resume()
        blocked, self._blocked = self._blocked, set()
        if blocked:
            originals.pthread_sigmask(signal.SIG_UNBLOCK, blocked)

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
            numbers += [pipe.reader.fd for pipe in self._signals]
            if self._listener is not None:
                numbers.append(self._listener.fd)
            for number in numbers:
                poller.register(number, _READ)
            ready = {fd for fd, _ in originals.poll_poll(poller, None)}
            for pipe in self._signals:
                if pipe.reader.fd in ready:
                    pipe.drain()
                    self._calls[pipe.signum](pipe)
            if numbers[0] in ready:
                return
            if self._listener is not None and self._listener.fd in ready:
                self._listener.answer()


def dumped(kernel: Kernel) -> str:
    """What a dump says.  Any OS thread that has the GIL."""
    return whole(snapshot(kernel))


def open_service(kernel: Kernel, signum: int | None, is_asked: bool, graph: str | None) -> Service:
    """Have a program dump its threads at a signal, answer to `ps` if `is_asked`, and draw its graph
    into a file at SIGTERM.

    OSError, RuntimeError or ValueError if that can't be had.
    """
    if originals.poll is None:
        raise RuntimeError("there is no poll() here to wait with")

    calls: dict[int, Callable[[SignalPipe], None]] = {}
    if graph is not None and originals.get_signal(signal.SIGTERM) == signal.SIG_DFL:
        calls[signal.SIGTERM] = partial(_draw_and_end, kernel, graph, os.getpid())
    if signum is not None:
        calls[signum] = partial(_write_dump, kernel)
    service = Service(kernel, Listener(partial(answer_to, kernel)) if is_asked else None, calls)
    service.start()
    return service


def _write_dump(kernel: Kernel, _: SignalPipe) -> None:
    try:
        text = dumped(kernel)
    except Exception as error:
        text = f"capriccio_patch: no dump: {error!r}\n"
    write_all(2, text)


def _draw_and_end(kernel: Kernel, graph: str, parent: int, pipe: SignalPipe) -> None:
    """What SIGTERM does; a forked child leaves a file of its parent's alone."""
    try:
        if os.getpid() == parent or "%p" in graph:
            from ..graph.output import save

            save(answer_to(kernel, f"graph {graph.rpartition('.')[2]}"), graph)
    except Exception as error:
        write_all(2, f"capriccio_patch: no graph is drawn: {error!r}\n")
    finally:
        pipe.give_back()
        os.kill(os.getpid(), signal.SIGTERM)
