"""``_interpreters``, ``_interpchannels`` (earlier ``_xxsubinterpreters``): on worker OS threads.

Facts.  Code that runs in another interpreter runs on the caller's OS thread until it ends, with the
other interpreter's thread state.  Nothing there can park: the modules of that interpreter have
builtins of their own, which are not taken over, and a switch to a green thread would take the wrong
thread state along (it crashed).  Types that interpreters share, as 3.11 does ``FileIO``, lead to
our wrappers nevertheless, which act for the scheduler's OS thread only.

Decision.  Whatever runs code of another interpreter, which creating and destroying one does too, is
called on a worker.  There it waits and computes as it does under stock, where other threads go on.

Cost.  30-60 us a call; creating an interpreter takes milliseconds.

1. An interrupt of the caller takes effect at the end of the call, as in stock.
2. A thread's calls are all made on one OS thread, its companion: the ``threading`` of another
   interpreter takes the OS thread that imports it for its main thread, and must end on that.
3. From CPython 3.14 the companion has the name that the OS thread of its thread would have, as code
   of another interpreter asks the system for that.
4. Where the last reference to an interpreter's id ends it (`_IDENTIFIED`), that happens on the OS
   thread of the green ones.  Until 3.12 its ``threading._shutdown`` waits there for the lock of the
   main thread that it means to ignore: so the lock is taken off the list after each call.
5. Where there is no memory to have ``create`` called, it raises what it does without memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from importlib import import_module

from ...cpython import originals
from ...cpython.frames import make_events
from ...cpython.interpose import clone
from ...cpython.threads import thread_name
from ...io import os_threads
from ...io.workers import Job
from ...kernel.core import Kernel
from ..base import Patch, Runtime
from .call import call_to_the_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_IDENTIFIED = "InterpreterID"
_CREATE = "create"
_RUNNING = (_CREATE, "destroy", "decref", "run_string", "run_func", "exec", "call")
_CODE = ("run_string", "run_func", "exec", "call")
"""Those that run the program's code there."""
_GROUP = "interpreters"
_LEAVE_MAIN_THREAD_OUT = """exec('''
import sys
threading = sys.modules.get("threading")
locks = getattr(threading, "_shutdown_locks", None)
if locks:
    with threading._shutdown_locks_lock:
        locks.discard(threading._main_thread._tstate_lock)
''', {})"""


def patches(module: str, runtime: Runtime) -> list[Patch]:
    """The rows of one of the modules of interpreters, of which each Python has its own."""
    return (_sending if module == "_interpchannels" else _running)(module, runtime)


def _running(module: str, runtime: Runtime) -> list[Patch]:
    """What runs code of another interpreter."""
    found = import_module(module)
    rows = _offloaded(runtime, module, _RUNNING, lambda named: True)
    if hasattr(found, "RunFailedError"):
        # It counts thread states.  From 3.13 it asks whether the interpreter runs its main program.
        rows.append(Patch(_GROUP, module, "is_running", _is_running(runtime, found)))
    return rows


def _sending(module: str, runtime: Runtime) -> list[Patch]:
    """What waits until another interpreter has received an object."""

    def waits(named: dict[str, Any]) -> bool:
        return bool(named.get("blocking", True))

    return _offloaded(runtime, module, ("send", "send_buffer"), waits)


class _Companion:
    """An OS thread that makes calls, one after the other."""

    __slots__ = ("_jobs",)

    def __init__(self) -> None:
        self._jobs: Any = originals.SimpleQueueType()
        os_threads.start(self._work, ())

    def submit(self, job: Job | None) -> None:
        """Have it call ``job.run()``; None ends it."""
        originals.queue_put(self._jobs, job)

    def _work(self) -> None:
        while (job := originals.queue_get(self._jobs)) is not None:
            job.run()
            del job


class _Companions:
    """Those of the threads that have called another interpreter.  Scheduler's OS thread."""

    __slots__ = ("_by_ident", "_kernel")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._by_ident: dict[int, _Companion] = {}
        kernel.on_fork(self._by_ident.clear)

    def mine(self) -> _Companion:
        """That of the current thread; those of threads that have ended end when one is made."""
        ident = self._kernel.current.ident
        companion = self._by_ident.get(ident)
        if companion is None:
            for other in self._by_ident.keys() - self._kernel.threads.keys():
                self._by_ident.pop(other).submit(None)
            companion = self._by_ident[ident] = _Companion()
        return companion


def _offloaded(
    runtime: Runtime,
    module: str,
    names: tuple[str, ...],
    waits: Callable[[dict[str, Any]], bool],
) -> list[Patch]:
    found = import_module(module)
    kernel = runtime.kernel
    companions = _Companions(kernel)

    def offloaded(original: Any, made: Any, error: type[Exception] | None) -> Any:
        def companion_of(args: Any, named: Any) -> tuple[_Companion, Any] | None:
            """What makes the call, and what is to be called; None if it is made right here."""
            if originals.get_ident() != kernel.os_ident or not waits(named):
                return None
            function = partial(os_threads.with_mask, os_threads.mask(), made, *args, **named)
            if originals.set_os_name is not None:
                function = partial(_with_name, _os_name(kernel), function)
            try:
                return companions.mine(), function
            except RuntimeError:  # there are no more OS threads
                return None

        def call(*args: Any, **named: Any) -> Any:
            try:
                beside = companion_of(args, named)
            except MemoryError:
                if error is None:
                    raise
                raise error("interpreter creation failed")  # noqa: B904 (C has it as context, too)
            if beside is None:
                return original(*args, **named)
            return call_to_the_end(kernel, *beside)

        return call

    rows = []
    for name in names:
        if hasattr(found, name):
            original = clone(getattr(found, name))
            made = _with_end(found, original) if name in _CODE else original
            error = getattr(found, "InterpreterError", None) if name == _CREATE else None
            call = offloaded(original, made, error)
            if error is not None:
                make_events(call.__code__)  # it is entered without memory
            rows.append(Patch(_GROUP, module, name, call))
    return rows


def _os_name(kernel: Kernel) -> str | None:
    """The name of the current thread's OS thread under stock; None where it is not known."""
    ident = kernel.current.ident
    if ident == kernel.main.ident:
        return None if originals.get_os_name is None else str(originals.get_os_name())
    return thread_name(ident)


def _with_name(name: str | None, function: Callable[[], Any]) -> Any:
    """Call `function` on the calling OS thread, which has that name from now on."""
    if name is not None:
        try:
            originals.set_os_name(name)
        except OSError:
            pass  # as threading passes it over
    return function()


def _with_end(module: Any, original: Any) -> Any:
    """What does on a companion as `original`, and then what point 4 says."""
    if not hasattr(module, _IDENTIFIED) or not hasattr(threading, "_shutdown_locks"):
        return original
    run_string = clone(module.run_string)

    def call(*args: Any, **named: Any) -> Any:
        try:
            return original(*args, **named)
        finally:
            try:
                run_string(args[0] if args else named["id"], _LEAVE_MAIN_THREAD_OUT)
            except (LookupError, TypeError, ValueError, RuntimeError):
                pass  # there is no such interpreter, or it runs something else

    return call


def _is_running(runtime: Runtime, module: Any) -> Any:
    kernel = runtime.kernel
    original = clone(module.is_running)

    def is_running(id: Any) -> Any:  # noqa: A002
        """Our own OS threads are no threads of the program."""
        try:
            return original(id)
        except RuntimeError:
            if len(kernel.threads) > 1 or id != module.get_main():
                raise
            return True

    return is_running
