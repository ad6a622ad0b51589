"""Whose turn it is with a TLS object: to write, and where there are several kernels to call it.

OpenSSL wants a write that has begun finished with the same data, and each object used by one thread
at a time.  Within one kernel no call is interrupted by another; `Alone` sees to it among several.
"""

from __future__ import annotations

from collections.abc import Callable

from ...cpython import originals
from ...kernel.core import Kernel
from ...kernel.parking import Lot
from ..base import Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Alone", "Turns", "TurnsOfAll"]

_LOCKS = 64
_PATIENCE = 0.001
"""Seconds for which a kernel waits for another's call, before it lets other threads run."""


class Alone:
    """Where there are several kernels: methods of TLS objects, called by one thread at a time."""

    __slots__ = ("_kernel", "_locks", "_look_again", "_methods", "_progress", "_wants")

    def __init__(self, runtime: Runtime, module: Any) -> None:
        """`module` is ``_ssl``."""
        self._kernel = kernel = runtime.kernel
        self._look_again = runtime.descriptors.look_again
        locks = [originals.allocate_lock() for _ in range(_LOCKS)]
        self._locks: list[Any] = kernel.shared("locks of TLS", locks)
        """Of which each object has one, by its address."""
        self._progress: list[int] = kernel.shared("progress of TLS", [0] * _LOCKS)
        """By lock: how many calls have brought an object on."""
        self._methods = vars(module)["_SSLSocket"].__dict__
        self._wants = (module.SSLWantReadError, module.SSLWantWriteError)

    def call(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """`original`, a method that does not wait, by one thread at a time."""
        kernel, locks, wants = self._kernel, self._locks, self._wants
        version = self._methods["version"]
        brought_on = self._brought_on
        acquire, release = originals.lock_acquire, originals.lock_release

        def call(tls: Any, *args: Any) -> Any:
            number = _number_of(tls)
            lock = locks[number]
            while not acquire(lock, True, _PATIENCE):
                if kernel.is_mine():
                    kernel.yield_()
            try:
                before = version(tls)
                try:
                    result = original(tls, *args)
                except wants:
                    if version(tls) != before:  # it has completed the handshake
                        brought_on(tls, number)
                    raise
                brought_on(tls, number)
                return result
            finally:
                release(lock)

        return call

    def _brought_on(self, tls: Any, number: int) -> None:
        self._progress[number] += 1
        sock = self._methods["owner"].__get__(tls)
        if isinstance(sock, originals.SocketType):
            self._look_again(originals.socket_fileno(sock))

    def progress(self, tls: Any) -> Callable[[], bool]:
        """Whether another thread has brought `tls` on from now on: asked by who observes it, and is
        about to park.  Those who are observing by then are told."""
        progress, number = self._progress, _number_of(tls)
        now = progress[number]
        return lambda: progress[number] != now


def _number_of(tls: Any) -> int:
    return (id(tls) >> 4) % _LOCKS


class Turns:
    """Who may write to a TLS object while one write to it is not finished."""

    __slots__ = ("_lot", "taken")

    def __init__(self, kernel: Kernel) -> None:
        self.taken: set[int] = set()
        """Ids of the TLS objects, which their writers keep alive, that have a turn under way."""
        self._lot = Lot(kernel, "write", self._pass_on)
        kernel.on_fork(self.taken.clear)

    def take(self, tls: Any, deadline: float | None) -> bool:
        """Have the turn, parking until the others have had theirs; False when `deadline` passed."""
        if id(tls) in self.taken:
            return self._lot.park(tls, deadline)
        self.taken.add(id(tls))
        return True

    def _pass_on(self, tls: Any) -> None:
        """Who was given a turn does not take it."""
        self.give(tls)

    def give(self, tls: Any) -> None:
        """The turn is over: it is the next one's who waits, or nobody's."""
        if not self._lot.wake_one(tls):
            self.taken.discard(id(tls))


class TurnsOfAll(Turns):
    """The same where there are several kernels: who is woken may find the turn taken again."""

    __slots__ = ("_under_way",)

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.taken = _Anything()
        self._under_way: dict[int, object] = kernel.shared("writes to TLS", {})
        kernel.on_fork(self._under_way.clear)

    def take(self, tls: Any, deadline: float | None) -> bool:
        turn, writes = object(), self._under_way
        again = False
        while writes.setdefault(id(tls), turn) is not turn:
            if not self._lot.park(tls, deadline, first=again, ready=lambda t: id(t) not in writes):
                return False
            again = True
        return True

    def _pass_on(self, tls: Any) -> None:
        self._lot.wake_one(tls)

    def give(self, tls: Any) -> None:
        self._under_way.pop(id(tls), None)
        self._lot.wake_one(tls)


class _Anything(set["Any"]):
    """Each object counts as taken: who writes has to queue."""

    def __contains__(self, key: object) -> bool:
        return True
