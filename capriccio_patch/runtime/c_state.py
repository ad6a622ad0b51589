"""What C code keeps for each OS thread, switched with the green thread.

CPython's ``threading.local`` (until 3.12), asyncio's running loop, ctypes' errno and others live in
one dictionary of the OS thread (PyThreadState_GetDict).  Its *content* is exchanged at a switch, and
only when either side has any: a thread that uses none of it costs one truth test a switch.  From 3.13
``threading.local`` has two words of its own in the OS thread's record, exchanged likewise.

Trace and profile functions belong to the OS thread too; `wrappers.sys` notes them in that dictionary
under the keys below, so that the same truth test finds them.

asyncio's C code caches the running loop by OS thread, with a borrowed reference in CPython 3.11; so
the loop is taken out and put back through its own functions, and what they leave in the dictionary
outlives the switch in ``_keep``.

Scheduler's OS thread only.
"""

from __future__ import annotations

import sys
from typing import Any

from .. import interpose, originals
from .thread import Thread

__all__ = ["PROFILE", "TRACE", "CState"]

TRACE = "capriccio_patch.trace"
PROFILE = "capriccio_patch.profile"
_LOOP = "__asyncio_running_event_loop__"
_OUR_LOOP = "capriccio_patch.loop"
_LOCAL = "capriccio_patch.local"
_REPR = "Py_Repr"


class CState:
    """The state of the scheduler's OS thread, which is the calling one, and whose it is."""

    __slots__ = ("_keep", "_local", "current", "local_key")

    def __init__(self) -> None:
        self.current = interpose.thread_state_dict()
        self._local = interpose.local_words()
        self.local_key: Any = None if self._local is None else interpose.is_set(self._local)
        """True while the running thread has values in a ``threading.local``, where such words exist."""
        self._keep: Any = None

    def exchange(self, old: Thread, new: Thread) -> None:
        """Put away the state of `old`, which stops running, and install that of `new`."""
        self.save(old)
        self.restore(new)

    def save(self, thread: Thread) -> None:
        """Take the current state out, for `thread`."""
        current = self.current
        if _REPR in current and not current[_REPR]:
            del current[_REPR]  # what a finished repr() of a list leaves behind
        local = self._local
        if local is None or not local[0]:
            if not current:
                return
            saved = dict(current)
        else:
            saved = dict(current)
            saved[_LOCAL] = local.tolist()
            local[0] = local[1] = 0
        if _LOOP in current:
            saved[_OUR_LOOP] = _asyncio()._get_running_loop()
            self._set_loop(None)
        if TRACE in current:
            originals.settrace(None)
        if PROFILE in current:
            originals.setprofile(None)
        current.clear()
        thread.c_state = saved

    def restore(self, thread: Thread) -> None:
        """Install the state that was saved for `thread`; the current one must be empty."""
        saved = thread.c_state
        if saved is None:
            return
        thread.c_state = None
        words = saved.pop(_LOCAL, None)
        if words is not None:
            assert self._local is not None
            self._local[0], self._local[1] = words
        loop = saved.pop(_OUR_LOOP, None)
        self.current.update(saved)
        if loop is not None:
            self._set_loop(loop)
        if TRACE in saved:
            originals.settrace(saved[TRACE])
        if PROFILE in saved:
            originals.setprofile(saved[PROFILE])

    def discard(self) -> None:
        """Drop the current state: its thread has ended.  Destructors of thread-locals run here."""
        current = self.current
        if TRACE in current:
            originals.settrace(None)
        if PROFILE in current:
            originals.setprofile(None)
        if _LOOP in current:
            self._set_loop(None)
        local = self._local
        while current or (local is not None and local[0]):
            if local is not None and local[0]:
                key, sentinel = local
                local[0] = local[1] = 0
                interpose.release(key)
                interpose.release(sentinel)
            dropped = dict(current)
            current.clear()
            del dropped

    def _set_loop(self, loop: Any) -> None:
        _asyncio()._set_running_loop(loop)
        self._keep = self.current.get(_LOOP)


def _asyncio() -> Any:
    return sys.modules.get("_asyncio") or sys.modules["asyncio.events"]
