"""``os``: the calls that close descriptors.

The runtime's own descriptors are not the program's, and can't be closed; a number that the program
wants for something else they leave (`io.reserved`).
Closing tells whoever waits: they get EBADF.  Stock leaves a thread in read(2) on a closed
descriptor, with a file that nobody else can reach.

Any OS thread.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from operator import index

from ...cpython import originals
from ...io.reserved import RESERVED
from ...kernel.core import Kernel
from ..base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_PATIENCE = 5.0


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    closing = _Closing(runtime)

    def closerange(fd_low: Any, fd_high: Any, /) -> None:
        closing.close_range(index(fd_low), index(fd_high))

    def dup2(fd: Any, fd2: Any, inheritable: Any = True) -> Any:
        return closing.dup2(fd, fd2, inheritable)

    return [
        Patch("os", "posix", "close", _make_close(runtime)),
        Patch("os", "posix", "closerange", closerange),
        Patch("os", "posix", "dup2", dup2),
    ]


def _make_close(runtime: Runtime) -> Callable[[Any], None]:
    descriptors = runtime.descriptors
    table = descriptors.known
    original = originals.close
    disk = runtime.disk
    alone = disk.alone

    def close(fd: Any) -> None:
        number = index(fd)
        if number in table and number not in RESERVED:
            descriptors.close(number, original, fd)
        elif number in RESERVED:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        elif alone():
            original(fd)
        else:
            disk.close(number, original, fd)

    return close


class _Closing:
    """The calls that close numbers which they are not told of one by one."""

    def __init__(self, runtime: Runtime) -> None:
        self._kernel = runtime.kernel
        self._descriptors = runtime.descriptors

    def close_range(self, low: int, high: int) -> None:
        """As ``os.closerange``."""
        for fd in sorted(fd for fd in RESERVED if low <= fd < high):
            self._close_range(low, fd)
            low = fd + 1
        self._close_range(low, high)

    def _close_range(self, low: int, high: int) -> None:
        """Where no number is reserved."""
        descriptors = self._descriptors
        numbers = [fd for fd in list(descriptors.known) if low <= fd < high]
        descriptors.close_all(numbers, originals.closerange, low, high)

    def dup2(self, fd: Any, fd2: Any, inheritable: Any) -> Any:
        """As ``os.dup2``."""
        if _is_reserved(fd2) and fd != fd2:
            made = self._take_over(fd, index(fd2), inheritable)
        else:
            made = originals.dup2(fd, fd2, inheritable)
        if made in self._descriptors.known and made != index(fd):
            self._descriptors.close(made, _nothing)
        return made

    def _take_over(self, fd: Any, fd2: int, inheritable: Any) -> Any:
        """``os.dup2`` onto a number that the runtime has to leave."""
        kernel = self._kernel_that_uses(fd2)
        if kernel.is_mine():
            RESERVED[fd2].move()
        else:
            self._have_moved(kernel, fd2)
        try:
            return originals.dup2(fd, fd2, inheritable)
        except BaseException:
            originals.close(fd2)
            raise

    def _kernel_that_uses(self, fd: int) -> Kernel:
        """This one, if no other does."""
        ident = RESERVED[fd].os_ident
        kernel: Kernel
        for kernel in self._kernel.all():
            if kernel.os_ident == ident:
                return kernel
        return self._kernel

    def _have_moved(self, kernel: Kernel, fd: int) -> None:
        """Have it moved by the scheduler; EBUSY, which dup2(2) knows, if that does not do it."""
        over = originals.allocate_lock()
        originals.lock_acquire(over)

        def move() -> None:
            try:
                RESERVED[fd].move()
            except (KeyError, OSError):
                pass
            finally:
                originals.lock_release(over)

        kernel.call_soon(move)
        originals.lock_acquire(over, True, _PATIENCE)
        if fd in RESERVED:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def _is_reserved(fd: Any) -> bool:
    """Whether a call that takes `fd` would take a descriptor of the runtime's."""
    try:
        return index(fd) in RESERVED
    except TypeError:
        return False  # the original has an error for it


def _nothing() -> None:
    """dup2(2) has closed the descriptor already."""
