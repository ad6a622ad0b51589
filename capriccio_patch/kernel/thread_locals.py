"""What C code keeps for each OS thread, switched with the green thread.

Four places; a thread that uses none of them costs a truth test for each.  The first three are
exchanged at a switch when either side has something there.

1. The dictionary of the OS thread (PyThreadState_GetDict): ``threading.local`` until 3.12,
   asyncio's running loop, ctypes' errno.  Its *content* is exchanged: C code holds the dictionary.
2. From 3.13, two words by which ``threading.local`` knows the thread.
3. From 3.15, the set of the lazy imports that it has begun and not ended.
4. Four words with its trace and profile functions.  A thread takes them out itself before it lets
   others run, and puts them back when it runs again, so that they see neither what the kernel does
   nor what others do.  They are moved as they are, so the interpreter's count of traced threads
   stays right.

The hooks of asynchronous generators and the depth to which coroutines remember their origin go with
the first: who sets those has a running loop too.

asyncio's C code caches the running loop by OS thread, with a borrowed reference in CPython 3.11; so
the loop is taken out and put back through its own functions, and what they leave in the dictionary
outlives the switch in ``_keep``.  Where the loop is not in the dictionary
`wrappers.threads.asyncio` notes there that there is one.

Scheduler's OS thread only, but for `CState.frame`.
"""

from __future__ import annotations

import gc
import sys
from ctypes import get_errno

from ..cpython import interpose, originals, thread_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object

__all__ = ["CState"]

_LOOP = "__asyncio_running_event_loop__"
_REPR = "Py_Repr"
_ERRNO = "ctypes.error_object"
_OUR_IMPORTS = "capriccio_patch.imports"
_OUR_LOOP = "capriccio_patch.loop"
_OUR_TASK = "capriccio_patch.task"
_OUR_HOOKS = "capriccio_patch.hooks"
_OUR_DEPTH = "capriccio_patch.depth"
_OUR_LOCAL = "capriccio_patch.local"
_OURS = frozenset(
    {_LOOP, _REPR, _OUR_IMPORTS, _OUR_LOOP, _OUR_TASK, _OUR_HOOKS, _OUR_DEPTH, _OUR_LOCAL}
)
_HAS_TASK: bool = sys.version_info >= (3, 14)
_NO_HOOKS = (None, None)
_NO_LOCAL = (0, 0)
_NO_TRACE = (0, 0, 0, 0)
_OBJECTS = slice(2, None)
"""Of the four words: what the functions are called with."""


class Holder(Protocol):
    """Where the state of a thread is while it does not run."""

    c_state: dict[str, Any] | None
    trace: list[int] | None


class CState:
    """The state of the scheduler's OS thread, which is the calling one, and whose it is.

    `current`, `has_locals`, `lazy_imports`, `is_profiled` and `is_traced` are true while there is
    something in the respective place.  ``read_frame(function)`` calls it with the innermost frame
    there (`thread_state.frame_reader`); any OS thread.
    """

    __slots__ = (
        "_keep",
        "_local",
        "_trace",
        "current",
        "read_frame",
        "has_locals",
        "is_profiled",
        "is_traced",
        "lazy_imports",
    )

    def __init__(self) -> None:
        self.current = thread_state.state_dict()
        self.read_frame = thread_state.frame_reader()
        self._local = thread_state.local_words()
        self._trace = thread_state.trace_words()
        self.has_locals: Any = None if self._local is None else thread_state.is_set(self._local)
        self.lazy_imports = thread_state.lazy_imports()
        self.is_profiled = thread_state.is_set(self._trace, 0)
        self.is_traced = thread_state.is_set(self._trace, 1)
        self._keep: Any = None

    def save(self, holder: Holder) -> None:
        """Take the current state out, for `holder`."""
        saved: dict[str, Any] = {}
        local = self._local
        if local is not None and local[0]:
            saved[_OUR_LOCAL] = thread_state.exchange_words(local, _NO_LOCAL)
        current = self.current
        if current:
            if _REPR in current and not current[_REPR]:
                del current[_REPR]  # what a finished repr() of a list leaves behind
            if _ERRNO in current and not get_errno():
                del current[_ERRNO]  # as it is where none was kept
            saved.update(current)
            hooks = sys.get_asyncgen_hooks()
            if hooks != _NO_HOOKS:
                saved[_OUR_HOOKS] = hooks
                sys.set_asyncgen_hooks(*_NO_HOOKS)
            depth = sys.get_coroutine_origin_tracking_depth()
            if depth:
                saved[_OUR_DEPTH] = depth
                sys.set_coroutine_origin_tracking_depth(0)
            if _LOOP in current:
                loop = _asyncio()._get_running_loop()
                if loop is None:
                    del saved[_LOOP]  # what a finished loop leaves behind
                else:
                    saved[_OUR_LOOP] = loop
                    task = _swap_task(loop, None)
                    if task is not None:
                        saved[_OUR_TASK] = task
                self._set_loop(None)
            current.clear()
        lazy_imports = self.lazy_imports
        if lazy_imports:
            saved[_OUR_IMPORTS] = tuple(lazy_imports)
            lazy_imports.clear()
        if saved:
            holder.c_state = saved

    def exchange(self, me: Holder | None, new: Holder) -> None:
        """Take the current state out, for `me`, and install what was saved for `new`; without `me`
        there must be none.

        The collector does not run meanwhile: a finalizer that waited would have others run, and a
        state would be in two halves.
        """
        collects = gc.isenabled()
        gc.disable()
        try:
            if me is not None:
                self.save(me)
            self.borrow(new)
        finally:
            if collects:
                gc.enable()

    def restore(self, holder: Holder) -> None:
        """Install the state that was saved for `holder`; the current one must be empty."""
        if holder.c_state is not None:
            self.exchange(None, holder)

    def borrow(self, holder: Holder) -> None:
        """As `restore`, on the OS thread that works for `holder`: a finalizer has no others run
        there, and two OS threads that keep the collector away by turns could leave it so."""
        saved, holder.c_state = holder.c_state, None
        if saved is not None:
            self._install(saved)

    def _install(self, saved: dict[str, Any]) -> None:
        local = saved.pop(_OUR_LOCAL, None)
        hooks = saved.pop(_OUR_HOOKS, None)
        depth = saved.pop(_OUR_DEPTH, 0)
        loop = saved.pop(_OUR_LOOP, None)
        task = saved.pop(_OUR_TASK, None)
        lazy_imports = saved.pop(_OUR_IMPORTS, ())
        self.current.update(saved)
        if lazy_imports:
            assert self.lazy_imports is not None
            self.lazy_imports.update(lazy_imports)
        if loop is not None:
            self._set_loop(loop)
            if task is not None:
                _swap_task(loop, task)
        if hooks is not None:
            sys.set_asyncgen_hooks(*hooks)
        if depth:
            sys.set_coroutine_origin_tracking_depth(depth)
        if local is not None:
            assert self._local is not None
            thread_state.exchange_words(self._local, local)

    def copy(self, holder: Holder) -> None:
        """Note for `holder` what the running thread has, and keeps; `drop` what that refers to."""
        saved: dict[str, Any] = {}
        local = self._local
        if local is not None and local[0]:
            saved[_OUR_LOCAL] = _shared(local, slice(None))
        current = self.current
        if current:
            saved.update(current)
            saved.pop(_REPR, None)
            hooks = sys.get_asyncgen_hooks()
            if hooks != _NO_HOOKS:
                saved[_OUR_HOOKS] = hooks
            depth = sys.get_coroutine_origin_tracking_depth()
            if depth:
                saved[_OUR_DEPTH] = depth
            if _LOOP in saved:
                saved[_OUR_LOOP] = _asyncio()._get_running_loop()
                if saved[_OUR_LOOP] is None:
                    del saved[_LOOP], saved[_OUR_LOOP]
        if self.lazy_imports:
            saved[_OUR_IMPORTS] = tuple(self.lazy_imports)
        if saved:
            holder.c_state = saved
        if self.is_traced or self.is_profiled:
            holder.trace = _shared(self._trace, _OBJECTS)

    def adopt(self, holder: Holder) -> None:
        """Give the running thread what `holder` has in addition: what was made anew elsewhere,
        with a copy of its state."""
        saved = holder.c_state
        if saved is None:
            return
        local = self._local
        if local is not None and not local[0] and _OUR_LOCAL in saved:
            thread_state.exchange_words(local, saved.pop(_OUR_LOCAL))
        for key in saved.keys() - self.current.keys() - _OURS:
            self.current[key] = saved[key]

    @staticmethod
    def drop(holder: Holder) -> None:
        """Give up what `holder` has."""
        saved, holder.c_state = holder.c_state, None
        trace, holder.trace = holder.trace, None
        words = [*(saved or {}).get(_OUR_LOCAL, ()), *(trace or ())[_OBJECTS]]
        for word in words:
            if word:
                interpose.release(word)

    def trade_trace(self, holder: Holder) -> None:
        """Take the trace and profile functions out, for `holder`, which runs; or put back, on its
        stack, what was taken out.

        One function for both: a profiler sees the call of one and the return of the other, and
        takes them for one call, in which the thread has waited.
        """
        trace = holder.trace
        found = thread_state.exchange_tracing(self._trace, trace or _NO_TRACE)
        if trace is None:
            holder.trace = found
            return
        holder.trace = None
        for word in found[_OBJECTS]:
            if word:  # set for nobody, while no thread ran
                interpose.release(word)

    save_trace = restore_trace = trade_trace

    def discard(self) -> None:
        """Drop the current state: its thread has ended.  Destructors of thread-locals run here."""
        if self.is_profiled:
            sys.setprofile(None)
        if self.is_traced:
            originals.settrace(None)
        current = self.current
        if _LOOP in current:
            self._set_loop(None)
        if current:
            sys.set_asyncgen_hooks(*_NO_HOOKS)
            sys.set_coroutine_origin_tracking_depth(0)
        if self.lazy_imports:
            self.lazy_imports.clear()
        local = self._local
        while current or self.has_locals:
            if local is not None and local[0]:
                for word in thread_state.exchange_words(local, _NO_LOCAL):
                    interpose.release(word)
            dropped = dict(current)
            current.clear()
            del dropped

    def _set_loop(self, loop: Any) -> None:
        _asyncio()._set_running_loop(loop)
        self._keep = self.current.get(_LOOP)


def _shared(words: memoryview[int], owned: slice) -> list[int]:
    """A copy of words, of which those at `owned` get one reference more."""
    copied = words.tolist()
    for word in copied[owned]:
        if word:
            interpose.retain(word)
    return copied


def _asyncio() -> Any:
    return sys.modules.get("_asyncio") or sys.modules["asyncio.events"]


def _swap_task(loop: Any, task: Any) -> Any:
    """Put in the task that runs on the running `loop`; the one that was there.

    Until CPython 3.13, and without the C module, a loop has its task in a dictionary: there is
    nothing to exchange.
    """
    asyncio: Any = sys.modules.get("_asyncio")
    if asyncio is None or not _HAS_TASK:
        return None
    return asyncio._swap_current_task(loop, task)
