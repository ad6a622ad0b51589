"""Waiting for child processes (``os.wait`` and its relatives) and for ``os.system``.

``subprocess``, ``os.popen``, ``pty`` and ``multiprocessing`` are Python over these, over pipes and
over ``fork``.  Each wait first makes the original call with ``WNOHANG``.  If there is nothing to
tell:

* *One child, until it exits*: a descriptor of the process (pidfd_open(2)), which becomes readable.
* *Any of several, or until one stops or continues*, or no descriptor to be had (an older system,
  none left): an OS thread waits with ``WNOWAIT``, which reaps nothing.  Green threads that wait for
  the same share it.  One whose waiters have given up stays until the next change and ends with it.

Then the original call is made with ``WNOHANG`` again.

1. A child is reaped by the program's own call and by nothing else; one that somebody else reaps
   meanwhile is ECHILD, as in stock.
2. The descriptor is opened, the call tried again, and only then is the thread parked: a child that
   exits or is reaped in between is not missed, nor another one that got its number.
3. Where neither facility exists (no ``waitid``), the original call is made on a worker.

``fork``, ``posix_spawn`` and ``_posixsubprocess.fork_exec`` are left as they are: they return once
the child runs, and stock stops every thread for as long, because they keep the GIL.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable

from ...contracts.descriptor import READ
from ...contracts.request import Call
from ...cpython import originals
from ...io import off_thread, os_threads
from ...io.reserved import Own, above_standard
from ...kernel.core import Kernel
from ..base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_WAITPID_FLAGS = os.WUNTRACED | getattr(os, "WCONTINUED", 0)
_WAITID = originals.waitid is not None
_EXITED = os.WEXITED if _WAITID else 0
_STOPPED = os.WSTOPPED if _WAITID else 0
_CONTINUED = os.WCONTINUED if _WAITID else 0
_KEEP = os.WNOWAIT if _WAITID else 0
_ONE = os.P_PID if _WAITID else 1
_GROUP = os.P_PGID if _WAITID else 2
_ANY = os.P_ALL if _WAITID else 0
_DESCRIPTOR = getattr(os, "P_PIDFD", -1)


class _Change:
    """What is waited for, in the words of waitid(2)."""

    __slots__ = ("kind", "number", "states")

    def __init__(self, kind: int, number: int, states: int) -> None:
        self.kind = kind
        self.number = number
        self.states = states

    @property
    def key(self) -> tuple[int, int, int]:
        """The same for the same change."""
        return self.kind, self.number, self.states


Wait = Callable[[Callable[[], "Any"], _Change, Callable[[], "Any"]], "Any"]
"""``wait(attempt, change, block)``: what `attempt` returns once that is not None.  `block` makes
the original call, for a system that has nothing better to offer."""


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    wait = _make_wait(runtime)
    rows = [*_wait_patches(runtime, wait), _system_patch(runtime)]
    if _WAITID:
        rows.append(_waitid_patch(runtime, wait))
    return rows


def _wait_patches(runtime: Runtime, wait_until: Wait) -> list[Patch]:
    kernel = runtime.kernel
    original_waitpid = originals.waitpid
    original_wait3: Any = originals.wait3
    original_wait4: Any = originals.wait4

    def until_told(call: Callable[[Any], Any], pid: Any, options: Any) -> Any:
        """`call(options)`, an original that returns what became of `pid`, and parks."""
        if not kernel.is_mine():
            return call(options)
        try:
            flags = operator.index(options)
        except TypeError:
            return call(options)  # raises
        if flags & ~_WAITPID_FLAGS:
            return call(options)  # does not block, or asks for what only the caller's OS thread has

        def attempt() -> Any:
            found = call(flags | os.WNOHANG)
            return found if found[0] else None

        found = attempt()
        if found is None:
            found = wait_until(attempt, _child(operator.index(pid), flags), lambda: call(flags))
        return found

    def wait() -> Any:
        return waitpid(-1, 0)

    def waitpid(pid: Any, options: Any, /) -> Any:
        return until_told(lambda flags: original_waitpid(pid, flags), pid, options)

    def wait3(options: Any) -> Any:
        return until_told(original_wait3, -1, options)

    def wait4(pid: Any, options: Any) -> Any:
        return until_told(lambda flags: original_wait4(pid, flags), pid, options)

    rows = [
        Patch("os", "posix", "wait", wait),
        Patch("os", "posix", "waitpid", waitpid),
    ]
    if original_wait3 is not None:
        rows.append(Patch("os", "posix", "wait3", wait3))
    if original_wait4 is not None:
        rows.append(Patch("os", "posix", "wait4", wait4))
    return rows


def _child(pid: int, flags: int) -> _Change:
    """What ``waitpid(pid, flags)`` waits for."""
    states = _EXITED
    if flags & os.WUNTRACED:
        states |= _STOPPED
    if flags & ~os.WUNTRACED:
        states |= _CONTINUED
    if pid > 0:
        return _Change(_ONE, pid, states)
    if pid == -1:
        return _Change(_ANY, 0, states)
    return _Change(_GROUP, -pid or os.getpgrp(), states)


def _waitid_patch(runtime: Runtime, wait_until: Wait) -> Patch:
    kernel = runtime.kernel
    original: Any = originals.waitid
    known = _EXITED | _STOPPED | _CONTINUED | _KEEP

    def waitid(idtype: Any, number: Any, options: Any, /) -> Any:
        if not kernel.is_mine():
            return original(idtype, number, options)
        try:
            kind, key, flags = map(operator.index, (idtype, number, options))
        except TypeError:
            return original(idtype, number, options)  # raises
        if flags & ~known or (kind == _DESCRIPTOR and not _blocks(key)):
            return original(kind, key, flags)

        def attempt() -> Any:
            return original(kind, key, flags | os.WNOHANG)

        found = attempt()
        if found is None:
            change = _Change(kind, key, flags & ~_KEEP)
            found = wait_until(attempt, change, lambda: original(kind, key, flags))
        return found

    return Patch("os", "posix", "waitid", waitid)


def _blocks(fd: int) -> bool:
    """Whether a call that waits for a descriptor may block; of a bad one it does not."""
    try:
        return bool(originals.get_blocking(fd))
    except (OSError, OverflowError):
        return False


def _make_wait(runtime: Runtime) -> Wait:
    kernel = runtime.kernel
    descriptors = runtime.descriptors
    watches = _Watches(kernel)
    pidfd_open: Any = originals.pidfd_open
    opened: set[Own] = kernel.shared("descriptors of children", set())

    def wait(attempt: Callable[[], Any], change: _Change, block: Callable[[], Any]) -> Any:
        found = None
        if change.states == _EXITED:
            if change.kind == _DESCRIPTOR:
                descriptors.observe({change.number: READ}, None)
                found = attempt()
            elif change.kind == _ONE and pidfd_open is not None:
                found = wait_for_exit(attempt, change.number)
        while found is None:
            try:
                possible = watches.wait(change)
            except RuntimeError:  # there are no more OS threads
                return off_thread.ask_until(kernel, attempt)
            if not possible:
                return runtime.workers.call_alone(block)
            found = attempt()
        return found

    def wait_for_exit(attempt: Callable[[], Any], pid: int) -> Any:
        """None where a descriptor can't be had, or does not tell (the child is being traced)."""
        try:
            own = Own(above_standard(pidfd_open(pid)))
        except OSError:
            return None
        opened.add(own)
        try:
            found = attempt()
            fd = -1
            while found is None and fd != own.fd:
                fd = own.fd
                descriptors.observe({fd: READ}, None)
                found = attempt()
            return found
        finally:
            close(own)

    def close(own: Own) -> None:
        opened.discard(own)
        fd = own.release()
        descriptors.close(fd, originals.close, fd)

    def after_fork() -> None:
        for own in list(opened):
            close(own)

    kernel.on_fork(after_fork)
    return wait


class _Watch(Call):
    """A waitid(2) on an OS thread; the green threads that wait for the same change share it."""

    __slots__ = ("_watches", "change", "possible")

    def __init__(self, watches: _Watches, change: _Change) -> None:
        super().__init__(watches.kernel, self._look)
        self._watches = watches
        self.change = change
        self.possible = True

    def _look(self) -> None:
        change = self.change
        waitid: Any = originals.waitid
        try:
            waitid(change.kind, change.number, change.states | _KEEP)
        except ChildProcessError:
            pass  # so the waiters' own calls will say
        except OSError:
            self.possible = False

    def complete(self) -> None:
        """The change may have come about: the next who waits needs another watch."""
        self._watches.forget(self)
        super().complete()


class _Watches:
    """Those under way, by what they wait for."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._under_way: dict[tuple[int, int, int], _Watch] = {}
        kernel.on_fork(self._under_way.clear)

    def wait(self, change: _Change) -> bool:
        """Park until `change` may have come about; False where waitid(2) can't wait for it.

        RuntimeError where there are no more OS threads.
        """
        if originals.waitid is None:
            return False
        watch = self._under_way.get(change.key)
        if watch is None:
            watch = _Watch(self, change)
            os_threads.start(watch.run, ())
            self._under_way[change.key] = watch
        off_thread.park(self.kernel, watch, "child", change.key)
        return watch.possible

    def forget(self, watch: _Watch) -> None:
        """`watch` has ended."""
        if self._under_way.get(watch.change.key) is watch:
            del self._under_way[watch.change.key]


def _system_patch(runtime: Runtime) -> Patch:
    call_hearing = runtime.workers.call_hearing
    original = originals.system

    def system(command: Any) -> int:
        return int(call_hearing(original, command))  # the command inherits the signal mask

    return Patch("os", "posix", "system", system)
