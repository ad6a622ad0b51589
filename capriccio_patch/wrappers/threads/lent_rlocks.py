"""What both forms of ``_thread.RLock`` leave to Python: to wait, and to lend.

An OS thread that works for a green thread (`Kernel.proxies`) may take again what that one owns, as
it would on its own: C would refuse, so it is counted here.
"""

from __future__ import annotations

from ...cpython import originals
from ...io import os_threads
from ...kernel.core import Kernel
from .lock_waits import LockWaits
from .locks import limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = ["LentRLocks", "refuse"]


class LentRLocks:
    """The recursive locks; a form says how one is tried, and whose it is."""

    waits: LockWaits

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._borrowed: dict[tuple[int, int], int] = {}
        """How often an OS thread has taken a lock again that the thread it works for owns."""

    def try_acquire(self, lock: Any, blocking: bool, /) -> bool:
        """As C's, for the current green thread; `blocking` is False."""
        raise NotImplementedError

    def _is_lenders(self, lock: Any) -> bool:
        """Whether the thread that this other OS thread works for owns it."""
        raise NotImplementedError

    def _acquire(self, lock: Any, blocking: Any, timeout: Any) -> Any:
        kernel, ident = self.kernel, originals.get_ident()
        if ident != kernel.os_ident:
            if kernel.proxies and self._is_lenders(lock):
                key = id(lock), ident
                self._borrowed[key] = self._borrowed.get(key, 0) + 1
                return True
            if blocking:
                os_threads.waits_for_the_program()
            return originals.rlock_acquire(lock, blocking, timeout)
        most = limit(blocking, timeout, lambda: originals.rlock_acquire(lock, blocking, timeout))
        if self.try_acquire(lock, False):
            return True
        if most == 0:
            return False
        return self.waits.wait(lock, None if most is None else kernel.clock() + most)

    def _give_back(self, lock: Any) -> bool:
        """Whether this OS thread has borrowed it; once less then."""
        key = id(lock), originals.get_ident()
        again = self._borrowed.pop(key, 0)
        if again > 1:
            self._borrowed[key] = again - 1
        return again > 0


def refuse(lock: Any) -> NoReturn:
    """A release by a thread that does not own it."""
    raise RuntimeError("cannot release un-acquired lock")
