"""``_thread``: starting, identity and end of threads.

``threading`` stays as it is: its threads start, set their sentinel, join and shut down through the
functions below.  Until 3.12 the end of a thread is told by a lock (``_set_sentinel``), from 3.13 by
a C object (``_ThreadHandle``).  A green thread's handle is such an object too: one made by
``_make_thread_handle``, which stands for a thread that was started elsewhere, put into the object
that ``threading.Thread`` has held since its creation.

A thread started on an OS thread that is not the scheduler's is an OS thread, as in stock, and so is
one that asks for a larger stack than green threads share.
"""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable
from functools import cache, partial
from types import MethodType
from weakref import WeakSet

from ...contracts.thread import Thread
from ...cpython import frames, interpose, originals
from ...cpython.threads import renew_shutdown_lock, system_name, thread_handle_name
from ...io import os_threads
from ...kernel.core import Kernel
from ...kernel.parking import Lot
from ..base import Patch, Runtime, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_HANDLE = thread_handle_name()


def patches(runtime: Runtime, c_released: WeakSet[Any], core: Any = None) -> list[Patch]:
    """The rows of this module; it adds the locks to `c_released` that C code releases.

    `core` is the module of C, if that is to be used.
    """
    kernel = runtime.kernel
    get_ident = originals.get_ident
    original_count = originals.thread_count

    proxies = kernel.proxies

    def green_ident() -> int:
        ident: int = get_ident()
        if ident == kernel.os_ident:
            return kernel.current.ident
        return proxies.get(ident, ident)

    def count() -> int:
        return int(original_count()) + len(kernel.threads) - 1 - os_threads.count()

    _unraisable_type()
    kernel.report = _report_uncaught
    rows = [
        Patch("threading", "_thread", "get_ident", green_ident),
        Patch("threading", "_thread", "_count", count),
    ]
    stacks = _Stacks(kernel)
    rows += [stacks.patch(), *_start_patches(runtime, stacks.is_room)]
    if hasattr(_thread, "_set_sentinel"):
        rows += _sentinel_patches(runtime, c_released)
    if hasattr(_thread, "_ThreadHandle"):
        swap = (interpose if core is None else core).swap_thread_handles
        rows += _handle_patches(runtime, stacks.is_room, swap)
    if hasattr(_thread, "_get_main_thread_ident"):
        rows.append(_main_ident_patch(runtime))
    if originals.set_os_name is not None:
        rows += _name_patches(runtime)
    return rows


def _main_ident_patch(runtime: Runtime) -> Patch:
    kernel = runtime.kernel
    original = interpose.clone(_thread._get_main_thread_ident)  # type: ignore[attr-defined]
    getpid = originals.getpid
    process = getpid()

    def get_main_thread_ident() -> int:
        """In a child that a green thread has forked, that is the main thread."""
        if not kernel.is_mine():
            return int(original())
        # A hook for forks may ask before the kernel has been told of this one.
        return kernel.main.ident if getpid() == process else kernel.current.ident

    def after_fork() -> None:
        nonlocal process
        process = getpid()

    kernel.on_fork(after_fork)
    return Patch("threading", "_thread", "_get_main_thread_ident", get_main_thread_ident)


def _name_patches(runtime: Runtime) -> list[Patch]:
    """The OS thread's name is its main thread's; a green thread has that of its Thread alone."""
    kernel = runtime.kernel
    rows = []

    def set_name(name: Any) -> None:
        if kernel.is_mine() and kernel.current.ident != kernel.main.ident and type(name) is str:
            return
        originals.set_os_name(name)

    rows.append(Patch("threading", "_thread", "set_name", set_name))
    if originals.get_os_name is not None:

        def get_name() -> str:
            """What the system would tell: the name as far as it takes one."""
            if not kernel.is_mine() or kernel.current.ident == kernel.main.ident:
                return str(originals.get_os_name())
            return system_name(kernel.current.ident)

        rows.append(Patch("threading", "_thread", "_get_name", get_name))
    return rows


class _Call(partial["Any"]):
    """A raw thread's function with its arguments."""

    __slots__ = ()


class _Stacks:
    """Whether a thread that is started now is to be a green one.

    Green threads share the stack of their OS thread.  One that asks for more than there is
    (``threading.stack_size``) means to recurse through C code, which would crash.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._limit = _stack_limit()
        self._original = original = interpose.clone(_thread.stack_size)
        self._size: int = original()  # which sets it to the default
        original(self._size)

    def is_room(self) -> bool:
        """Any OS thread."""
        return self._size <= self._limit and self._kernel.is_mine()

    def patch(self) -> Patch:
        """The row that notes what is asked for."""

        def stack_size(*size: Any) -> Any:
            before = self._original(*size)
            self._size = size[0] if size else 0
            return before

        return Patch("threading", "_thread", "stack_size", stack_size)


def _stack_limit() -> float:
    """Bytes that the stack of the main OS thread may take."""
    try:
        import resource
    except ImportError:
        return float("inf")
    limit = resource.getrlimit(resource.RLIMIT_STACK)[0]
    return float("inf") if limit == resource.RLIM_INFINITY else limit


def _start_patches(runtime: Runtime, is_room: Callable[[], bool]) -> list[Patch]:
    kernel = runtime.kernel
    original = originals.start_new_thread

    def start_new_thread(function: Any, args: Any, kwargs: Any = None, /) -> int:
        if not is_room():
            return int(
                original(function, args) if kwargs is None else original(function, args, kwargs)
            )
        if (
            not callable(function)
            or not isinstance(args, tuple)
            or not (kwargs is None or isinstance(kwargs, dict))
        ):
            return int(original(function, args, kwargs))  # raises
        sys.audit("_thread.start_new_thread", function, args, kwargs)
        # The function itself where possible: an argument tuple is memory of each thread.
        call = _Call(function, *args, **(kwargs or {})) if args or kwargs else function
        thread = kernel.spawn(call)
        return thread.ident

    return [
        Patch("threading", "_thread", "start_new_thread", start_new_thread),
        Patch("threading", "_thread", "start_new", start_new_thread),
    ]


def _sentinel_patches(runtime: Runtime, c_released: WeakSet[Any]) -> list[Patch]:
    kernel = runtime.kernel
    original = originals.set_sentinel

    def set_sentinel() -> Any:
        if not kernel.is_mine():
            lock = original()
            c_released.add(lock)
            return lock
        lock = _thread.allocate_lock()
        kernel.current.on_exit = MethodType(release, lock)  # one object; a closure is three
        return lock

    def release(lock: Any) -> None:
        if lock.locked():
            lock.release()

    # OS threads that were started before the patch.
    for thread in list(threading._active.values()):  # type: ignore[attr-defined]
        if thread.ident != kernel.os_ident and thread._tstate_lock:
            c_released.add(thread._tstate_lock)
    kernel.on_fork(renew_shutdown_lock)
    rows = [Patch("threading", "_thread", "_set_sentinel", set_sentinel)]
    if hasattr(threading, "_maintain_shutdown_locks"):
        rows.append(_shutdown_locks_patch())
    return rows


def _shutdown_locks_patch() -> Patch:
    """Stock looks at the locks of all threads whenever one starts or ends: a start takes O(n).

    Of many, it is enough to look when their number has doubled since: the released ones are only
    dropped for the memory's sake.
    """
    original = threading._maintain_shutdown_locks  # type: ignore[attr-defined]
    few = 64
    limit = few

    def maintain_shutdown_locks() -> None:
        nonlocal limit
        locks = threading._shutdown_locks  # type: ignore[attr-defined]
        if len(locks) <= few or len(locks) >= limit:
            original()
            limit = max(few, 2 * len(locks))

    return Patch("threading", "threading", "_maintain_shutdown_locks", maintain_shutdown_locks)


def _handle_patches(
    runtime: Runtime, is_room: Callable[[], bool], swap: Callable[[Any, Any], Any]
) -> list[Patch]:
    kernel = runtime.kernel
    clock = kernel.clock
    Handle = originals.ThreadHandleType
    make_handle = originals.make_thread_handle
    original_start = originals.start_joinable_thread
    original_join = originals.handle_join
    original_is_done = originals.handle_is_done
    original_set_done = originals.handle_set_done
    original_shutdown = originals.thread_shutdown
    lot = Lot(kernel, "join", pass_on=lambda _: None)  # all are woken at once
    joining = lot.everywhere
    not_daemon: dict[int, Any] = kernel.shared("not daemons", {})
    launch = getattr(kernel, "launch", None)
    spawn = kernel.spawn if launch is None else kernel.prepare  # type: ignore[attr-defined]

    def start_joinable_thread(function: Any, handle: Any = None, daemon: bool = True) -> Any:
        if (
            not is_room()
            or not callable(function)
            or not (handle is None or isinstance(handle, Handle))
        ):
            return original_start(function, handle=handle, daemon=daemon)
        if handle is None:
            handle = Handle()
        elif handle.ident:
            raise RuntimeError("thread already started")
        sys.audit("_thread.start_joinable_thread", function, daemon, handle)
        thread = spawn(function)
        swap(handle, make_handle(thread.ident))
        if not daemon:
            not_daemon[thread.ident] = handle

        thread.on_exit = MethodType(set_done, handle)  # one object; a closure is four
        if launch is not None:
            launch(thread)
        elif thread.ident not in kernel.threads:
            set_done(handle)  # it has run meanwhile: a finalizer came, and waited
        return handle

    def set_done(self: Any) -> None:
        original_set_done(self)
        ident = self.ident
        if not_daemon.get(ident) is self:
            del not_daemon[ident]
        if joining and id(self) in joining:
            lot.wake_all(self)

    def join(self: Any, timeout: Any = None, /) -> Any:
        ident = self.ident
        if not kernel.is_mine() or not ident or original_is_done(self):
            return original_join(self, timeout)
        if ident == kernel.current.ident:
            raise RuntimeError("Cannot join current thread")
        limit = None
        if timeout is not None:
            limit = seconds(timeout, lambda: original_join(self, timeout))
            if limit < 0:
                limit = None
        if ident not in kernel.threads:
            return runtime.workers.call_alone(original_join, self, -1 if limit is None else limit)
        lot.park(self, None if limit is None else clock() + limit, ready=original_is_done)
        return None

    def shutdown() -> Any:
        """Join what is not a daemon: the green threads here, the OS threads on one of them."""
        if kernel.is_mine():
            mine = kernel.current.ident
            while others := [each for ident, each in not_daemon.items() if ident != mine]:
                join(others[0])
            active = list(threading._active.values())  # type: ignore[attr-defined]
            if any(not t.daemon and t.ident not in kernel.threads for t in active):
                return runtime.workers.call_alone(original_shutdown)
        return original_shutdown()

    def after_fork() -> None:
        """C has declared the ends of all threads but the one whose handle has the identifier of
        the OS thread: that is a thread of the parent's, unless it is the one that forked."""
        me = kernel.current
        host = threading._active.get(kernel.os_ident)  # type: ignore[attr-defined]
        if host is not None and host.ident != me.ident:
            original_set_done(getattr(host, _HANDLE))
        thread = threading._active.get(me.ident)  # type: ignore[attr-defined]
        handle = getattr(me.on_exit, "__self__", None) or getattr(thread, _HANDLE, None)
        if isinstance(handle, Handle) and original_is_done(handle):
            swap(handle, make_handle(me.ident))
        for ident in [ident for ident in not_daemon if ident != me.ident]:
            del not_daemon[ident]

    kernel.on_fork(after_fork)
    return [
        Patch("threading", "_thread", "start_joinable_thread", start_joinable_thread),
        Patch("threading", "_thread", "_ThreadHandle.join", join),
        Patch("threading", "_thread", "_ThreadHandle._set_done", set_done),
        Patch("threading", "_thread", "_shutdown", shutdown),
    ]


def _report_uncaught(thread: Thread) -> None:
    """What stock prints for an exception that leaves a raw thread's function."""
    kind, error, _ = sys.exc_info()
    frames.hide(error)
    trace = error and error.__traceback__
    function = thread.run.func if type(thread.run) is _Call else thread.run
    if sys.version_info >= (3, 13):
        text, subject = f"Exception ignored in thread started by {function!r}", None
    else:
        text, subject = "Exception ignored in thread started by", function
    unraisable = _unraisable_type()((kind, error, trace, text, subject))
    hook = getattr(sys, "unraisablehook", None)
    if hook is None:
        sys.__unraisablehook__(unraisable)
        return
    try:
        hook(unraisable)
    except BaseException as raised:
        text = "Exception ignored in sys.unraisablehook"
        frames.hide(raised)
        _forget_context(raised, error)
        args = (type(raised), raised, raised.__traceback__, text, hook)
        try:
            sys.__unraisablehook__(_unraisable_type()(args))
        except BaseException:
            pass  # as in C: whoever switched to this thread must not get what it can't print


def _forget_context(raised: BaseException, handled: BaseException | None) -> None:
    """C calls a hook when it handles nothing: from CPython 3.15 contexts are printed."""
    last = raised
    while last.__context__ is not None and last.__context__ is not handled:
        last = last.__context__
    last.__context__ = None


@cache
def _unraisable_type() -> Any:
    """``UnraisableHookArgs``, which only a call of the hook shows."""
    seen: list[Any] = []

    class Probe:
        def __del__(self) -> None:
            raise RuntimeError

    hook = getattr(sys, "unraisablehook", sys.__unraisablehook__)
    sys.unraisablehook = lambda args: seen.append(type(args))
    try:
        probe = Probe()
        del probe
    finally:
        sys.unraisablehook = hook
    return seen[0]
