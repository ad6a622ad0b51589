"""Whether this interpreter is laid out as the rest of `cpython` takes it to be.

1. Each check tries one assumption on scratch objects, before anything is taken over.  Where one
   fails nothing is: what would be redirected by a wrong layout is memory of something else.
2. No check asks for a version.
3. A name that the interpreter lacks is found by `names`, not here.

What a check makes it gives back.  Main OS thread; 1 ms in all, once for each process.
"""

from __future__ import annotations

import _thread
import atexit
import gc
import sys
from _operator import neg
from collections.abc import Callable, Sized
from types import FrameType, MethodType

from . import interpose, originals, standstill, thread_state

if standstill.IS_FREE_THREADED:
    from . import suspended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["CHECKS", "refusal", "unsafe_now"]

CHECKS: dict[str, Callable[[], str | None]] = {}
"""By name: returns what is wrong, or None.  They are made in this order."""

_passed: set[str] = set()


_HAVE_GC = 1 << 14
_MUTEX = 1
_SETTLING = 0.1
"""Seconds."""


def refusal() -> str | None:
    """The first check that fails, and why; None if this interpreter can be patched.

    What has passed once is not tried again.
    """
    for name, check in CHECKS.items():
        if name in _passed:
            continue
        try:
            reason = check()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        if reason is not None:
            return f"{name}: {reason}"
        _passed.add(name)
    return None


def unsafe_now(resting: Sized) -> str | None:
    """Why nothing may be taken over at this moment; None if it may.

    What exists is found and changed one by one.  With the GIL nobody sees half of it; nor do the
    OS threads in `resting`, which use nothing that is taken over.  One that has just done its
    work, or is about to end, is waited for.
    """
    if standstill.has_gil():
        return None
    deadline = originals.monotonic() + _SETTLING
    while (others := -len(resting) + originals.thread_count()) > 0:
        if originals.monotonic() > deadline:
            return f"without the GIL it must not be patched while other OS threads run: {others} do"
        originals.sleep(_SETTLING / 100)
    return None


def _check(name: str) -> Callable[[Callable[[], str | None]], Callable[[], str | None]]:
    def register(function: Callable[[], str | None]) -> Callable[[], str | None]:
        CHECKS[name] = function
        return function

    return register


@_check("implementation")
def _implementation() -> str | None:
    name = sys.implementation.name
    return None if name == "cpython" else f"{name} does not lay out its objects as CPython does"


@_check("suspended frames")
def _suspended_frames() -> str | None:
    return suspended.show() if standstill.IS_FREE_THREADED else None


@_check("standstill")
def _standstill() -> str | None:
    if not standstill.IS_FREE_THREADED:
        return None
    if not standstill.knows_what_is_due():
        return "what is due on an OS thread can't be read"
    with standstill.standstill:
        stands = not gc.isenabled()
    return None if stands else "other OS threads can't be stopped"


def _raise_overflow(*args: Any, **named: Any) -> Any:
    raise OverflowError(args, named)


@_check("builtins")
def _builtins() -> str | None:
    scratch = interpose.clone(neg)
    if scratch is neg or scratch(1) != -1:
        return "a builtin could not be cloned"
    redirect = interpose.Redirect(scratch, _raise_overflow)
    try:
        scratch(1, two=2)
        return "a redirected builtin did not call its replacement"
    except OverflowError as error:
        if error.args != ((1,), {"two": 2}):
            return "a redirected builtin passed other arguments"
    finally:
        redirect.undo()
    return None if scratch(1) == -1 else "a redirected builtin could not be restored"


@_check("methods")
def _methods() -> str | None:
    lock = originals.allocate_lock()
    method = lock.locked
    seen = MethodType(lambda *args, **named: (args, named), lock)
    redirect = interpose.MethodRedirect(method, seen)
    found: Any = method(1, two=2)
    redirect.undo()
    if found != ((lock, 1), {"two": 2}):
        return "a stored method did not call its replacement"
    return None if method() is False else "a stored method could not be restored"


@_check("types")
def _types() -> str | None:
    name = "capriccio_check"
    lock = originals.allocate_lock()
    interpose.set_attribute(originals.LockType, name, 1)
    found = getattr(lock, name, None)
    interpose.del_attribute(originals.LockType, name)
    if found != 1 or hasattr(lock, name):
        return "attributes of C types can't be set"
    return None


@_check("references")
def _references() -> str | None:
    probe = object()
    before = sys.getrefcount(probe)
    interpose.leak(probe)
    if sys.getrefcount(probe) != before + 1:
        return "one could not be added"
    interpose.release(id(probe))
    return None if sys.getrefcount(probe) == before else "one could not be given up"


@_check("collector")
def _collector() -> str | None:
    for kind in (originals.RLockType, type(originals.sleep)):
        if not kind.__flags__ & _HAVE_GC:
            return f"existing objects of {kind.__name__} can't be found"
    return None


@_check("poll objects")
def _poll_objects() -> str | None:
    if originals.poll is None:
        return None
    poll = originals.poll()
    poll.register(0, 1)
    found = interpose.poll_registrations(poll)
    return None if found == {0: 1} else f"the registrations of one were read as {found}"


@_check("thread handles")
def _thread_handles() -> str | None:
    if not hasattr(originals, "ThreadHandleType"):
        return None
    one, other = originals.make_thread_handle(1), originals.make_thread_handle(2)
    interpose.swap_thread_handles(one, other)
    found = (one.ident, other.ident)
    originals.handle_set_done(one)
    originals.handle_set_done(other)
    return None if found == (2, 1) else "two of them could not be exchanged"


@_check("shared semaphores")
def _shared_semaphores() -> str | None:
    if originals.SemLockType is None:
        return None
    name = f"/capriccio-{originals.getpid()}-{hash(originals.monotonic()):x}"
    try:
        lock = originals.SemLockType(_MUTEX, 1, 1, name, True)
    except OSError:
        return None  # the program can't have any either
    originals.semlock_acquire(lock)
    mine = originals.semlock_is_mine(lock)
    interpose.set_semlock_owner(lock, 0)
    others = originals.semlock_is_mine(lock)
    interpose.set_semlock_owner(lock, originals.get_ident())
    originals.semlock_release(lock)
    return None if (mine, others) == (True, False) else "the owner of one was not found"


@_check("thread-local values")
def _thread_local_values() -> str | None:
    before = len(thread_state.state_dict())
    scratch = _thread._local()
    scratch.used = True
    words = thread_state.local_words()
    found = len(thread_state.state_dict()) > before if words is None else all(words)
    return None if found else "they were not found"


@_check("lazy imports")
def _lazy_imports() -> str | None:
    found = thread_state.lazy_imports()
    return None if not found else "those in progress were not found"


@_check("trace functions")
def _trace_functions() -> str | None:
    words = thread_state.trace_words()
    set_ = (originals.getprofile(), originals.gettrace())
    expected = [0 if each is None else id(each) for each in set_]
    if [*words[2:]] != expected or [*map(bool, words[:2])] != [*map(bool, expected)]:
        return "they were not found"
    return None


@_check("depth of tracing")
def _depth_of_tracing() -> str | None:
    depth = thread_state.tracing_depth().value
    return None if 0 <= depth < 100 else f"it was read as {depth}"


@_check("frames")
def _frames() -> str | None:
    mine = sys._getframe().f_code

    def has_mine(told: FrameType | None) -> bool:
        while told is not None and told.f_code is not mine:
            told = told.f_back
        return told is not None

    found = thread_state.frame_reader()(has_mine)
    return None if found else "those of an OS thread were not found"


@_check("exit callbacks")
def _exit_callbacks() -> str | None:
    called: list[None] = []

    class Callback:
        def __call__(self) -> None:
            """Not reached."""

        def __del__(self) -> None:
            called.append(None)

    callback = Callback()
    atexit.register(callback)
    atexit.unregister(callback)
    del callback
    return None if called else "one that is let go of is still held"
