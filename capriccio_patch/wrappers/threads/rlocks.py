"""``_thread.RLock`` in Python: existing ones and new ones alike.

The C lock stays the lock: its state is what OS threads, C code and ``repr`` see.  What is added is
who waits for it among the green threads, and which of them owns it.

1. How green threads wait and are woken: `lock_waits`.
2. C code keeps the owner of an RLock by OS thread, so all green threads would be one: C gives it to
   whichever asks.  ``owners`` says which green thread has it and ``deeper`` how often it has taken
   it again; C counts those too, and for a moment each one that has asked C and not yet looked here.
   So C's count may be higher, and full is the release that the notes say is full.
3. A finalizer may come at any call of C and any allocation, wait, and have other threads take and
   release the same lock meanwhile.  So a note is looked at and written with no call in between, and
   what was seen before C was asked is looked at again.

Where the core is compiled the owner lies in the C lock itself: `owned_rlocks`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...contracts.thread import Thread
from ...cpython import originals
from ..base import Existing, Patch, Runtime
from .lent_rlocks import LentRLocks, refuse
from .lock_waits import LockWaits
from .locks import leaver, method

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["RLocks"]

_original_acquire = originals.rlock_acquire
_original_release = originals.rlock_release
_original_count: Any = originals.rlock_recursion_count
_original_repr = originals.RLockType.__repr__
_is_owned = originals.rlock_is_owned


class RLocks(LentRLocks):
    """The recursive locks, whose owners are noted here."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime.kernel)
        self.owners: dict[int, int] = {}
        """By id of a lock: the identifier of the green thread that owns it."""
        self.deeper: dict[int, int] = {}
        """How often the owner has taken it again; not 0.  Only locks that have an owner."""
        self.waits = LockWaits(runtime.kernel, "rlock", self)
        self._peers: Sequence[RLocks] = runtime.kernel.peers("recursive locks", self)
        self.existing = Existing(originals.RLockType, self._adopt)
        self.release = self._releaser()
        runtime.kernel.on_fork(self._after_fork)

    def rows(self) -> list[Patch]:
        """The rows of this module."""
        methods: dict[str, Callable[..., Any]] = {
            "__enter__": self._acquirer(),
            "acquire": self._acquirer(),
            "release": self.release,
            "__exit__": leaver(self.release),
            "_is_owned": method(self._owned),
            "_release_save": method(self._release_save),
            "_acquire_restore": method(self._acquire_restore),
            "__repr__": method(self._represent),
        }
        if _original_count is not None:  # from 3.11.4
            methods["_recursion_count"] = method(self._recursion_count)
        return [
            Patch("threading", "_thread", f"RLock.{name}", function)
            for name, function in methods.items()
        ]

    def held(self, lock: Any) -> bool:
        """Whether the current green thread owns it."""
        return self.owners.get(id(lock)) == self.kernel.current.ident and bool(_is_owned(lock))

    # -- what the waits need -----------------------------------------------------------------

    def try_acquire(self, lock: Any, blocking: bool, /) -> bool:
        """As C's, for the current green thread; `blocking` is False."""
        return self._take(lock, self.kernel.current.ident)

    def take_for(self, lock: Any, thread: Thread, /) -> bool:
        """As `try_acquire`, for another green thread."""
        if id(lock) in self.owners and _is_owned(lock):
            return False
        return self._take(lock, thread.ident)

    def drop(self, lock: Any, /) -> None:
        """What `take_for` has taken is free again."""
        self._free(lock)

    def _take(self, lock: Any, ident: int) -> bool:
        # In one step: without the GIL, an OS thread that has it may take its note away in between.
        if self.owners.get(id(lock), ident) != ident and _is_owned(lock):
            return False  # another's
        if not _original_acquire(lock, False):
            return False
        if self._note(lock, ident):
            return True
        _original_release(lock)
        return False

    def _note(self, lock: Any, ident: int) -> bool:
        """C has given the lock to this OS thread: whether it is `ident`'s, which is noted then."""
        key = id(lock)
        owners, deeper = self.owners, self.deeper
        count = _c_count(lock) if key in owners else 1
        if key not in owners:
            owners[key] = ident
        elif count == 1:  # the note is that of a lock at this address which died while held
            owners[key] = ident
            deeper.pop(key, None)
        elif owners[key] == ident:
            deeper[key] = deeper[key] + 1 if key in deeper else 1
        else:
            return False
        return True

    def _free(self, lock: Any) -> bool:
        """The owner releases it once; whether it is free now."""
        key = id(lock)
        deeper = self.deeper
        if key not in deeper:
            # The note goes first: once the lock is free another OS thread may leave one of its own.
            del self.owners[key]
            _original_release(lock)
            return True
        if deeper[key] > 1:
            deeper[key] -= 1
        else:
            del deeper[key]
        _original_release(lock)
        return False

    # -- acquiring ---------------------------------------------------------------------------

    # `acquire` and `release` do without a look at the OS thread.  Another one notes the wrong
    # owner, but only while it holds the lock; and C does not give it to anyone here for as long.
    # Identifiers are compared as objects: it is the owner's own that is noted.

    def _acquirer(self) -> Callable[..., Any]:
        kernel, owners = self.kernel, self.owners
        original_acquire = _original_acquire
        acquired_again, acquire_slowly = self._acquired_again, self._acquire

        def acquire(self: Any, blocking: bool = True, timeout: float = -1) -> Any:
            if timeout == -1 and original_acquire(self, False):
                key = id(self)
                ident = kernel.current.ident
                if key not in owners:
                    owners[key] = ident
                    return True
                return acquired_again(self, blocking)
            return acquire_slowly(self, blocking, timeout)

        return acquire

    def _acquired_again(self, lock: Any, blocking: bool) -> Any:
        """C has given the lock to this OS thread, and somebody is noted as its owner."""
        if originals.get_ident() != self.kernel.os_ident:
            return True
        key = id(lock)
        ident = self.kernel.current.ident
        if key in self.owners and self.owners[key] is ident and self._note(lock, ident):
            return True
        _original_release(lock)
        return self._acquire(lock, blocking, -1)

    def _is_lenders(self, lock: Any) -> bool:
        """Whether the thread that this other OS thread works for owns it, as C says too."""
        kernel = self.kernel
        is_noted = self.owners.get(id(lock)) == kernel.proxies.get(originals.get_ident(), -1)
        return is_noted and f"owner={kernel.os_ident} " in _original_repr(lock)

    # -- releasing ---------------------------------------------------------------------------

    def _releaser(self) -> Callable[[Any], None]:
        kernel, owners, is_owned = self.kernel, self.owners, _is_owned
        free, release_elsewhere = self._free, self._release_elsewhere
        waiting, wake = self.waits.everywhere, self.waits.wake

        def release(self: Any) -> None:
            key = id(self)
            if owners.get(key) is not kernel.current.ident or not is_owned(self):
                release_elsewhere(self)
            elif free(self) and waiting and key in waiting:
                wake(self)

        return release

    def _release_elsewhere(self, lock: Any) -> None:
        """By a thread that does not own it, or that is not of this OS thread."""
        if originals.get_ident() == self.kernel.os_ident:
            refuse(lock)
        if self._give_back(lock):
            return
        self._forget_foreign(lock)
        _original_release(lock)
        self._wake(lock)

    def _forget_foreign(self, lock: Any) -> None:
        """Another OS thread is about to release: a note of the lock is its own, or of the dead."""
        key = id(lock)
        if _is_owned(lock):
            self.deeper.pop(key, None)
            self.owners.pop(key, None)

    def _wake(self, lock: Any) -> None:
        if id(lock) in self.waits.everywhere:
            self.waits.wake(lock)

    # -- the others --------------------------------------------------------------------------

    def _owned(self, lock: Any) -> bool:
        if originals.get_ident() != self.kernel.os_ident:
            return bool(_is_owned(lock)) or (bool(self.kernel.proxies) and self._is_lenders(lock))
        return self.held(lock)

    def _recursion_count(self, lock: Any) -> int:
        if originals.get_ident() != self.kernel.os_ident:
            return int(_original_count(lock))
        return 1 + self.deeper.get(id(lock), 0) if self.held(lock) else 0

    def _release_save(self, lock: Any) -> Any:
        if originals.get_ident() != self.kernel.os_ident:
            self._forget_foreign(lock)
            state = originals.rlock_release_save(lock)
        else:
            # Not by C's own function, which would release what others have asked C for as well.
            key = id(lock)
            ident = self.kernel.current.ident
            owners, deeper = self.owners, self.deeper
            if not _is_owned(lock) or key not in owners or owners[key] != ident:
                refuse(lock)
            again = 0
            if key in deeper:
                again = deeper[key]
                del deeper[key]
            del owners[key]
            _original_release(lock)
            for _ in range(again):
                _original_release(lock)
            state = (again + 1, ident)
        self._wake(lock)
        return state

    def _acquire_restore(self, lock: Any, state: Any, /) -> None:
        if originals.get_ident() != self.kernel.os_ident:
            originals.rlock_acquire_restore(lock, state)
            return
        count, _ = state
        if not self.try_acquire(lock, False):
            self.waits.wait(lock, None)
        for _ in range(count - 1):
            _original_acquire(lock, False)
            self._note(lock, self.kernel.current.ident)

    def _represent(self, lock: Any) -> str:
        text: str = _original_repr(lock)
        for each in self._peers or (self,):
            owner = each.owners.get(id(lock))
            if owner is not None:
                text = text.replace(f"owner={each.kernel.os_ident} ", f"owner={owner} ")
        return text

    # -- patching and forking ----------------------------------------------------------------

    def _adopt(self, lock: Any) -> None:
        """An RLock that exists at the patch, perhaps held by the thread that patches."""
        if _is_owned(lock):
            self.owners[id(lock)] = self.kernel.current.ident
            if (count := _c_count(lock)) > 1:
                self.deeper[id(lock)] = count - 1

    def _after_fork(self) -> None:
        mine = self.kernel.current.ident
        for key in [key for key, owner in self.owners.items() if owner != mine]:
            del self.owners[key]
            self.deeper.pop(key, None)


def _shown_count(lock: Any) -> int:
    """How often C counts an RLock as taken; before CPython 3.11.4 it says so nowhere else."""
    return int(_original_repr(lock).rpartition(" count=")[2].split()[0])


_c_count: Callable[[Any], int] = _original_count or _shown_count
