"""OS threads of the package's own: workers, the watchdog, waits for what C alone can wait for.

The program did not start them, and what tells of threads must not tell of them: `count` says how
many live, `idents` which, `starting` how many are about to, and `lingering` how many the system
still knows that have ended.

A collection may begin on any OS thread, and with it the program's finalizers.  One that waits there
for a green thread must not keep an OS thread from what lets that run: `replaced_by` says who takes
its part meanwhile.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stub
from collections import deque
from collections.abc import Callable

from ..cpython import late_threads, originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

__all__ = [
    "after_fork",
    "count",
    "forget_mask",
    "idents",
    "lingering",
    "mask",
    "native_ids",
    "note_mask",
    "replaced_by",
    "resting",
    "start",
    "start_hearing",
    "start_process",
    "starting",
    "take_mask",
    "waits_for_the_program",
    "with_mask",
]


_OF_THE_THREAD = {
    getattr(_signal, name, 0)
    for name in (
        *("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP"),
        *("SIGPIPE", "SIGXFSZ", "SIGTTIN", "SIGTTOU"),
    )
}
"""What a thread's own doing brings about."""
_OF_THE_PROCESS = originals.valid_signals() - _OF_THE_THREAD

_alive: dict[int, int] = {}
"""By identifier: the system's number of the thread, or 0.  Setting and deleting are atomic."""
_starting: list[Callable[..., Any]] = []
"""What those are to call that the system may have made already."""
_stand_ins: dict[int, Callable[[], None]] = {}
"""By identifier of one that must not wait for the program: starts another in its place."""
_ended: list[int] = []
"""The system's numbers of those that may still be on their way out."""
_noted: Any = None
"""The main thread's signal mask, where our OS threads run green threads too (`note_mask`)."""
resting: deque[None] = deque()
"""One for each that waits for something to do, that of an undone patch too; it uses nothing that is
taken over."""


def start(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Call ``function(*args)`` on a new OS thread.  RuntimeError when the system has no more.

    It takes none of the process's signals: one that is there before the program blocks a signal
    would get it in the program's stead.
    """
    if originals.pthread_sigmask is None:
        _start(function, args)
        return
    old = originals.pthread_sigmask(_signal.SIG_BLOCK, _OF_THE_PROCESS)
    try:
        _start(function, args)
    finally:
        originals.pthread_sigmask(_signal.SIG_SETMASK, old)


def start_hearing(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """As `start`, with the program's signal mask, which a program that it executes inherits."""
    if _is_noted():
        _start(with_mask, (_noted, function, *args))
    else:
        _start(function, args)


def _start(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    def run() -> None:
        ident = originals.get_ident()
        number = originals.get_native_id()
        _alive[ident] = number  # not earlier: CPython's own count begins here
        _starting.remove(run)
        try:
            function(*args)
        finally:
            _ended.append(number)
            _alive.pop(ident, None)
            _stand_ins.pop(ident, None)

    _starting.append(run)
    try:
        try:
            originals.start_new_thread(run, ())
        except RuntimeError as error:
            late_threads.start(run, error)
    except BaseException:
        _starting.remove(run)
        raise


def replaced_by(start_another: Callable[[], None]) -> None:
    """Have `start_another` called if the calling OS thread, one of ours, waits for the program."""
    _stand_ins[originals.get_ident()] = start_another


def waits_for_the_program() -> None:
    """The program's code is about to wait on this OS thread, perhaps for a green thread.

    Any OS thread but the scheduler's.
    """
    start_another = _stand_ins.pop(originals.get_ident(), None)
    if start_another is not None:
        start_another()


def note_mask() -> None:
    """The signal mask of the calling OS thread is what processes inherit that our OS threads start.
    The main OS thread."""
    global _noted
    if originals.pthread_sigmask is not None:
        _noted = originals.pthread_sigmask(_signal.SIG_BLOCK, ())


def forget_mask() -> None:
    """From now on it is that of who starts them."""
    global _noted
    _noted = None


def take_mask() -> None:
    """In a forked child: its only OS thread has the program's mask from now on."""
    if _is_noted():
        originals.pthread_sigmask(_signal.SIG_SETMASK, _noted)
    forget_mask()


def _is_noted() -> bool:
    return _noted is not None and originals.get_ident() in _alive


def mask() -> Any:
    """The signal mask of the program on the calling OS thread, for `with_mask`."""
    sigmask = originals.pthread_sigmask
    if _is_noted():
        return _noted
    return None if sigmask is None else sigmask(_signal.SIG_BLOCK, ())


def with_mask(mask: Any, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """``function(*args, **kwargs)``, on an OS thread that `start` has started."""
    sigmask = originals.pthread_sigmask
    if sigmask is None:
        return function(*args, **kwargs)
    old = sigmask(_signal.SIG_SETMASK, mask)
    try:
        return function(*args, **kwargs)
    finally:
        sigmask(_signal.SIG_SETMASK, old)


def start_process(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """``function(*args, **kwargs)``, with the mask that a process inherits which it starts."""
    if _is_noted():
        return with_mask(_noted, function, *args, **kwargs)
    return function(*args, **kwargs)


def count() -> int:
    """How many of them live.  Any OS thread."""
    return len(_alive)


def idents() -> list[int]:
    """The identifiers of those that live.  Any OS thread."""
    return list(_alive)


def native_ids() -> list[int]:
    """The system's numbers of those that live.  Any OS thread."""
    return list(_alive.values())


def starting() -> int:
    """How many have been started and do not run yet.  Any OS thread."""
    return len(_starting)


def lingering() -> int:
    """How many have ended but are still in /proc.  Scheduler's OS thread."""
    left = [number for number in list(_ended) if originals.access(f"/proc/self/task/{number}", 0)]
    _ended[:] = left
    return len(left)


def after_fork() -> None:
    """In a forked child: none does."""
    _alive.clear()
    _stand_ins.clear()
    _starting.clear()
    _ended.clear()
    resting.clear()
