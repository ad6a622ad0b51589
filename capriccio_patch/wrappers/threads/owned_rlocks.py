"""``_thread.RLock`` with the compiled core: the C lock's own owner is the green thread.

1. The methods are C's; the functions here do what those leave to Python, and wait.
2. The identifier of a green thread is never that of an OS thread.  That of the thread that patches
   is the same before and after, so a lock that it holds stays its own.
3. After a fork a lock that another thread held stays taken in the child, as in stock.
"""

from __future__ import annotations

from collections.abc import Callable

from ...contracts.thread import Thread
from ...cpython import originals
from ..base import Patch, Runtime
from .lent_rlocks import LentRLocks, refuse
from .lock_waits import LockWaits
from .locks import method

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["OwnedRLocks"]

_RLock: Any = originals.RLockType


class OwnedRLocks(LentRLocks):
    """The recursive locks; `core` is the C module."""

    existing = None

    def __init__(self, runtime: Runtime, core: Any) -> None:
        super().__init__(runtime.kernel)
        self._core = core
        self.held: Callable[[Any], bool] = core.rlock_is_mine
        """Whether the current green thread owns it."""
        self.take_for: Callable[[Any, Thread], bool] = core.rlock_take_for
        self.drop: Callable[[Any], None] = core.rlock_drop
        self.waits = LockWaits(runtime.kernel, "rlock", self)

    def rows(self) -> list[Patch]:
        """The rows of this module."""
        methods: dict[str, Callable[..., Any]] = {
            "__enter__": self._acquirer(),
            "acquire": self._acquirer(),
            "release": method(self._release_borrowed),
            "__exit__": method(self._release_borrowed),
            "_is_owned": method(self._is_lenders),
            "_release_save": method(refuse),
            "_acquire_restore": _RLock._acquire_restore,
        }
        if originals.rlock_recursion_count is not None:  # from 3.11.4
            methods["_recursion_count"] = originals.rlock_recursion_count
        return [
            Patch("threading", "_thread", f"RLock.{name}", function)
            for name, function in methods.items()
        ]

    def try_acquire(self, lock: Any, blocking: bool, /) -> bool:
        """As C's, for the current green thread; `blocking` is False."""
        return self._core.rlock_try(lock)  # type: ignore[no-any-return]

    def release(self, lock: Any, /) -> None:
        """As the method."""
        _RLock.release(lock)

    def _acquirer(self) -> Callable[..., Any]:
        acquire_slowly = self._acquire

        def acquire(self: Any, blocking: bool = True, timeout: float = -1) -> Any:
            return acquire_slowly(self, blocking, timeout)

        return acquire

    def _is_lenders(self, lock: Any) -> bool:
        """Whether the thread that this other OS thread works for owns it."""
        lender = self.kernel.proxies.get(originals.get_ident())
        return lender is not None and self._core.rlock_owner(lock) == lender

    def _release_borrowed(self, lock: Any, *args: Any) -> None:
        """By a thread that does not own it."""
        if not self._give_back(lock):
            refuse(lock)
