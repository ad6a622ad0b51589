"""``select.kqueue`` as a BSD has it, for Linux: made of epoll and ppoll, so that it really waits.

It follows kqueue(2) of FreeBSD and macOS, and CPython's Modules/selectmodule.c for arguments:

* Each (descriptor, filter) is registered once; changes are applied in order, before the wait.
* A change that fails becomes an event with EV_ERROR and its errno in ``data``; then the call does
  not wait.  Where there is no room for it the call raises, and the changes behind it are not
  applied.  That is so also with a ``maxevents`` of 0.
* Events are states, told at each call, of EV_CLEAR changes, and EV_ONESHOT goes with the first.
* close(2) ends what was registered for the number, even if others hold the file.
* A child does not inherit the queue: its number is free there, and the object does not know it.
* Signals are handled while it waits, and then it waits for the rest of its time (PEP 475).

Filters READ, with NOTE_LOWAT, and WRITE; files on a disk are readable up to their end.  What it
can't tell as a BSD would is which error a socket has (reading it would take it): ECONNRESET.

All by ctypes: whatever of the standard library is taken over, this goes to the kernel.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import time
import weakref
from collections.abc import Iterable
from typing import Any

CONSTANTS = {
    "KQ_FILTER_READ": -1,
    "KQ_FILTER_WRITE": -2,
    "KQ_FILTER_AIO": -3,
    "KQ_FILTER_VNODE": -4,
    "KQ_FILTER_PROC": -5,
    "KQ_FILTER_SIGNAL": -6,
    "KQ_FILTER_TIMER": -7,
    "KQ_EV_ADD": 0x1,
    "KQ_EV_DELETE": 0x2,
    "KQ_EV_ENABLE": 0x4,
    "KQ_EV_DISABLE": 0x8,
    "KQ_EV_ONESHOT": 0x10,
    "KQ_EV_CLEAR": 0x20,
    "KQ_EV_SYSFLAGS": 0xF000,
    "KQ_EV_FLAG1": 0x2000,
    "KQ_EV_ERROR": 0x4000,
    "KQ_EV_EOF": 0x8000,
    "KQ_NOTE_LOWAT": 0x1,
}
READ, WRITE = -1, -2
ADD, DELETE, ENABLE, DISABLE, ONESHOT, CLEAR = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20
ERROR, EOF = 0x4000, 0x8000
LOWAT = 0x1

_EPOLLIN, _EPOLLOUT, _EPOLLERR, _EPOLLHUP = 0x1, 0x4, 0x8, 0x10
_EPOLLRDHUP, _EPOLLONESHOT, _EPOLLET = 0x2000, 1 << 30, 1 << 31
_CTL_ADD, _CTL_DEL, _CTL_MOD = 1, 2, 3
_CLOEXEC = 0o2000000
_KCMP = 312 if platform.machine() == "x86_64" else 272
_FIONREAD = 0x541B
_SEEK_CUR, _SEEK_END, _SEEK_SET = 1, 2, 0
_SLICE = 0.02

_now = time.clock_gettime  # nothing that waits, so nothing that is taken over


class _EpollEvent(ctypes.Structure):
    _layout_ = "ms"  # what `_pack_` means; from CPython 3.14 it is to be said
    _pack_ = 1 if platform.machine() == "x86_64" else 0
    _fields_ = [("events", ctypes.c_uint32), ("data", ctypes.c_uint64)]


class _PollFd(ctypes.Structure):
    _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]


class _Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


_libc = ctypes.CDLL(None, use_errno=True)
_libc.lseek.restype = ctypes.c_int64
_libc.lseek.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int)


def _call(name: str, *args: Any) -> int:
    kept = ctypes.get_errno()  # the program's
    result = int(getattr(_libc, name)(*args))
    if result < 0:
        error = ctypes.set_errno(kept)
        raise OSError(error, os.strerror(error))
    return result


def _file(fd: int) -> bytes:
    """Which file a descriptor stands for: st_dev and st_ino."""
    buffer = ctypes.create_string_buffer(256)
    _call("fstat", fd, buffer)
    return buffer.raw[:16]


@functools.total_ordering
class kevent:
    """``select.kevent``."""

    __slots__ = ("data", "fflags", "filter", "flags", "ident", "udata")

    def __init__(
        self,
        ident: Any,
        filter: int = READ,  # noqa: A002
        flags: int = ADD,
        fflags: int = 0,
        data: int = 0,
        udata: int = 0,
    ) -> None:
        self.ident: int = ident if isinstance(ident, int) else ident.fileno()
        self.filter = filter
        self.flags = flags
        self.fflags = fflags
        self.data = data
        self.udata = udata

    def _fields(self) -> tuple[int, ...]:
        return (self.ident, self.filter, self.flags, self.fflags, self.data, self.udata)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, kevent) and self._fields() == other._fields()

    def __lt__(self, other: kevent) -> bool:
        return self._fields() < other._fields()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            "<select.kevent ident={} filter={} flags=0x{:x} fflags=0x{:x} data=0x{:x} udata=0x{:x}>"
        ).format(*self._fields())


class _Knote:
    """What is registered for one descriptor and filter."""

    __slots__ = ("change", "enabled", "file", "on_disk")

    def __init__(self, change: kevent, file: bytes) -> None:
        self.change = change
        self.file = file
        self.enabled = True
        self.on_disk = False


_queues: weakref.WeakSet[kqueue] = weakref.WeakSet()


class kqueue:
    """``select.kqueue``."""

    calls = 0
    """How often `control` was called, of all queues."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._fd = -1
        self._sets = {READ: -1, WRITE: -1}
        self._fd = _call("epoll_create1", _CLOEXEC)
        for number in self._sets:
            self._sets[number] = inner = _call("epoll_create1", _CLOEXEC)
            self._ctl(self._fd, _CTL_ADD, inner, _EPOLLIN)
        self._knotes: dict[tuple[int, int], _Knote] = {}
        self._order = [READ, WRITE]
        _queues.add(self)

    # -- the object --------------------------------------------------------------------------

    @classmethod
    def fromfd(cls, fd: int, /) -> kqueue:
        """Takes what belongs to the queue along, so the object before is of no use any more."""
        same = (os.getpid(), os.getpid(), 0, ctypes.c_ulong(fd))
        other = next(
            each
            for each in _queues
            if each._fd >= 0 and not _libc.syscall(_KCMP, *same, ctypes.c_ulong(each._fd))
        )
        _queues.discard(other)
        made = cls.__new__(cls)
        made.__dict__.update(other.__dict__)
        made._fd = fd
        _queues.add(made)
        return made

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def fileno(self) -> int:
        if self._fd < 0:
            raise ValueError("I/O operation on closed kqueue object")
        return self._fd

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            for each in self._sets.values():
                _libc.close(each)
            _call("close", fd)

    def __del__(self) -> None:
        if self._fd >= 0:
            for each in self._sets.values():
                _libc.close(each)
            _libc.close(self._fd)

    def _lose(self) -> None:
        """In a child: the queue is not there, and its object does not know."""
        for each in (self._fd, *self._sets.values()):
            _libc.close(each)
        self._sets = dict.fromkeys(self._sets, -1)

    # -- kevent(2) ---------------------------------------------------------------------------

    def control(
        self, changelist: Iterable[kevent] | None, maxevents: int, timeout: Any = None, /
    ) -> list[kevent]:
        if self._fd < 0:
            raise ValueError("I/O operation on closed kqueue object")
        if maxevents < 0:
            raise ValueError(f"Length of eventlist must be 0 or positive, got {maxevents}")
        if timeout is not None:
            if not isinstance(timeout, (int, float)):
                kind = type(timeout).__name__
                raise TypeError(f"timeout argument must be a number or None, got '{kind}'")
            if timeout < 0:
                raise ValueError("timeout must be positive or None")
        changes = [] if changelist is None else list(changelist)
        if not all(isinstance(change, kevent) for change in changes):
            raise TypeError("changelist must be an iterable of select.kevent objects")
        kqueue.calls += 1
        _call("fcntl", self._fd, 1, 0)  # F_GETFD: EBADF in a child
        refused = []
        for change in changes:
            error = self._apply(change)
            if error:
                if len(refused) == maxevents:
                    raise OSError(error, os.strerror(error))
                refused.append(kevent(change.ident, change.filter, ERROR, 0, error, change.udata))
        if refused or maxevents == 0:
            return refused
        deadline = None if timeout is None else _now(time.CLOCK_MONOTONIC) + timeout
        while True:
            found = self._collect(maxevents)
            left = None if deadline is None else deadline - _now(time.CLOCK_MONOTONIC)
            if found or (left is not None and left <= 0):
                return found
            self._wait(left)

    def _wait(self, left: float | None) -> None:
        """Wait until something may have happened, or a signal came."""
        if any(knote.on_disk for knote in self._knotes.values()):
            left = _SLICE if left is None else min(left, _SLICE)
        spec = None
        if left is not None:
            spec = ctypes.byref(_Timespec(int(left), int(left % 1 * 1e9)))
        waited = _PollFd(self._fd, 1, 0)
        try:
            _call("ppoll", ctypes.byref(waited), ctypes.c_ulong(1), spec, None)
        except InterruptedError:
            pass

    # -- registrations -----------------------------------------------------------------------

    def _ctl(self, epoll: int, operation: int, fd: int, events: int) -> None:
        event = _EpollEvent(events & 0xFFFFFFFF, fd)
        _call("epoll_ctl", epoll, operation, fd, ctypes.byref(event))

    def _apply(self, change: kevent) -> int:
        """Make one change; returns its errno."""
        if change.filter not in self._sets:
            return errno.EINVAL
        key = (change.ident, change.filter)
        try:
            file = _file(change.ident)
        except OSError:
            self._knotes.pop(key, None)
            return errno.EBADF
        knote = self._knotes.get(key)
        if knote is not None and knote.file != file:
            del self._knotes[key]  # close(2) has dropped it
            knote = None
        if knote is None:
            if not change.flags & ADD:
                return errno.ENOENT
            knote = self._knotes[key] = _Knote(change, file)
        if change.flags & DELETE:
            self._drop(key)
            return 0
        if change.flags & ADD:
            knote.change = change
        if change.flags & DISABLE:
            self._disarm(key)
            knote.enabled = False
        elif change.flags & ENABLE or (change.flags & ADD and knote.enabled):
            knote.enabled = True
            return self._arm(key, knote)
        return 0

    def _arm(self, key: tuple[int, int], knote: _Knote) -> int:
        """Have epoll look, at the state that there is first."""
        change = knote.change
        if change.filter == WRITE:
            mask = _EPOLLOUT
        elif change.fflags & LOWAT and change.data > _available(change.ident):
            mask = _EPOLLRDHUP
        else:
            mask = _EPOLLIN | _EPOLLRDHUP
        mask |= _EPOLLET if change.flags & CLEAR else _EPOLLONESHOT
        epoll = self._sets[change.filter]
        try:
            try:
                self._ctl(epoll, _CTL_MOD, change.ident, mask)
            except FileNotFoundError:
                self._ctl(epoll, _CTL_ADD, change.ident, mask)
        except PermissionError:
            knote.on_disk = True
        except OSError as error:
            del self._knotes[key]
            return error.errno or errno.EINVAL
        return 0

    def _disarm(self, key: tuple[int, int]) -> None:
        try:
            self._ctl(self._sets[key[1]], _CTL_DEL, key[0], 0)
        except OSError:
            pass

    def _drop(self, key: tuple[int, int]) -> None:
        del self._knotes[key]
        self._disarm(key)

    # -- events ------------------------------------------------------------------------------

    def _collect(self, maxevents: int) -> list[kevent]:
        """What there is to tell, up to `maxevents`."""
        found: list[kevent] = []
        self._order.reverse()  # no filter keeps the other from its turn
        for number in self._order:
            room = maxevents - len(found)
            if room:
                events = (_EpollEvent * room)()
                count = _call("epoll_wait", self._sets[number], events, room, 0)
                for event in events[:count]:
                    self._report((event.data, number), event.events, found)
        for key, knote in list(self._knotes.items()):
            if knote.on_disk and knote.enabled and len(found) < maxevents:
                self._report_file(key, knote, found)
        return found

    def _report(self, key: tuple[int, int], happened: int, found: list[kevent]) -> None:
        knote = self._knotes.get(key)
        if knote is None or not self._is_there(key, knote):
            return
        change = knote.change
        flags = change.flags & (ADD | ONESHOT | CLEAR)
        fflags = 0
        ended = happened & (_EPOLLHUP | _EPOLLERR)
        if change.filter == READ:
            ended |= happened & _EPOLLRDHUP
        if ended:
            flags |= EOF
            fflags = errno.ECONNRESET if happened & _EPOLLERR and change.filter == READ else 0
        data = _available(key[0]) if change.filter == READ else 4096
        found.append(kevent(key[0], key[1], flags, fflags, data, change.udata))
        if change.flags & ONESHOT:
            self._drop(key)
        elif not change.flags & CLEAR:
            self._arm(key, knote)

    def _report_file(self, key: tuple[int, int], knote: _Knote, found: list[kevent]) -> None:
        if not self._is_there(key, knote):
            return
        fd, number = key
        data = 0
        if number == READ:
            at = _call("lseek", fd, 0, _SEEK_CUR)
            data = _call("lseek", fd, 0, _SEEK_END) - at
            _call("lseek", fd, at, _SEEK_SET)
            if not data:
                return
        change = knote.change
        found.append(kevent(fd, number, change.flags & (ADD | ONESHOT), 0, data, change.udata))
        if change.flags & ONESHOT:
            self._drop(key)

    def _is_there(self, key: tuple[int, int], knote: _Knote) -> bool:
        """Whether the number still stands for the file; a close ends the registration."""
        try:
            if _file(key[0]) == knote.file:
                return True
        except OSError:
            pass
        self._drop(key)
        return False


def _available(fd: int) -> int:
    """Bytes that can be read; 1 where there is no telling, as for a connection to be accepted."""
    count = ctypes.c_int(1)
    _libc.ioctl(fd, _FIONREAD, ctypes.byref(count))
    return count.value


def _lose_all() -> None:
    for queue in list(_queues):
        if not queue.closed and queue._pid != os.getpid():  # else of the child's own, by a hook
            queue._lose()
            _queues.discard(queue)  # its numbers may be others' in a child of this child


os.register_at_fork(after_in_child=_lose_all)


def install(module: Any) -> None:
    """Give `module`, which is ``select``, a kqueue."""
    module.kqueue = kqueue
    module.kevent = kevent
    for name, value in CONSTANTS.items():
        setattr(module, name, value)
