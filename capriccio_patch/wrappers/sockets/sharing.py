"""Which sockets other processes may hold too.

Facts: O_NONBLOCK belongs to the open file description, which a forked child, a program that is
executed and a process that a descriptor is sent to share with this one.  Each may change it between
any two calls of another.  accept(2) and connect(2) have no flag of their own for not waiting, so
where another process clears O_NONBLOCK in time they block the OS thread that makes them, and where
one sets it they fail in a process that wants to wait.

Decision: a socket is *private* when it was made here and has gone nowhere since, and no OS thread
of the program's own accepts from it; then its O_NONBLOCK may be set for the length of a call.  For
all others such a call is made on another OS thread, where it may block.

Cost: a switch of OS threads for each connection that a shared listener accepts.

A fork that C code makes by itself is not noticed.
"""

from __future__ import annotations

import _socket
import posix
from array import array
from collections.abc import Callable, Iterable

from ...contracts.descriptor import Descriptor
from ...cpython import originals
from ...io import os_threads
from ...io.descriptors import Descriptors
from ...io.identity import identity_if_open
from ..base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Sharing", "patches"]

_F_GETFD = 1
_FD_CLOEXEC = 1
_RIGHTS = (_socket.SOL_SOCKET, getattr(_socket, "SCM_RIGHTS", None))
_PASSED, _STANDARD = 3, slice(6, 12)
"""The arguments of ``fork_exec`` that name descriptors for the program."""


class Sharing:
    """What has gone to other processes."""

    __slots__ = ("_descriptors",)

    def __init__(self, runtime: Runtime) -> None:
        self._descriptors: Descriptors = runtime.descriptors
        runtime.kernel.around_fork(self._forks, _nothing)

    def is_private(self, d: Descriptor) -> bool:
        """Whether no other process can have the socket."""
        if not d.private:
            return False
        # Else every program that is executed has it.
        return bool(originals.fcntl(d.fd, _F_GETFD) & _FD_CLOEXEC)

    def send(self, ancillary: Iterable[Any]) -> None:
        """A message with these items is about to be sent."""
        for item in ancillary:
            if isinstance(item, tuple) and len(item) == 3 and item[:2] == _RIGHTS:
                numbers = array("i")
                data = memoryview(item[2]).tobytes()
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                self.share(numbers)

    def share(self, numbers: Iterable[Any]) -> None:
        """Another process gets these descriptors."""
        for fd in numbers:
            for each in self._descriptors.everywhere():
                d = each.get(fd)
                if d is not None:
                    d.private = False

    def share_listener(self, fd: int) -> None:
        """An OS thread accepts from `fd`, which may be a copy: nobody else is alone with the
        listener from now on.  Any OS thread."""
        file = identity_if_open(fd)
        for d in self._records():
            if d.private and (d.fd == fd or (file and identity_if_open(d.fd) == file)):
                d.private = False

    def _records(self) -> list[Descriptor]:
        return [d for each in self._descriptors.everywhere() for d in list(each.table.values())]

    def _forks(self) -> None:
        for d in self._records():
            d.private = False


def patches(sharing: Sharing) -> list[Patch]:
    """The rows of this module: how descriptors are passed to programs."""
    rows = []
    if originals.fork_exec is not None:
        rows.append(Patch("socket", "_posixsubprocess", "fork_exec", _make_fork_exec(sharing)))
    for name, original in originals.posix_spawns.items():
        rows.append(Patch("socket", "posix", name, _make_spawn(sharing, original)))
    return rows


def _make_fork_exec(sharing: Sharing) -> Callable[..., Any]:
    def fork_exec(*args: Any) -> Any:
        if len(args) > _STANDARD.stop:
            sharing.share((*args[_PASSED], *args[_STANDARD]))
        return os_threads.start_process(originals.fork_exec, *args)

    return fork_exec


def _make_spawn(sharing: Sharing, original: Callable[..., Any]) -> Callable[..., Any]:
    def posix_spawn(*args: Any, file_actions: Any = (), **named: Any) -> Any:
        if isinstance(file_actions, (list, tuple)):
            for action in file_actions:
                if isinstance(action, tuple) and action[:1] == (posix.POSIX_SPAWN_DUP2,):
                    sharing.share(action[1:2])
        return os_threads.start_process(original, *args, file_actions=file_actions, **named)

    posix_spawn.__name__ = posix_spawn.__qualname__ = original.__name__
    return posix_spawn


def _nothing() -> None:
    """The fork is over."""
