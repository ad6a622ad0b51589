"""``select``: the function ``select``, and the methods that wait of ``poll``, ``epoll``, ``kqueue``
and ``devpoll`` objects.

1. The objects stay what they are; only their waiting is ours.  A wait is: ask the original with a
   timeout of 0, park until something happens on one of the descriptors, ask again.
2. The original sees every argument that it might refuse, so the errors are its own.
3. An epoll or kqueue object is waited for through its own descriptor, so what other threads
   register with it meanwhile counts, as in stock.  A poll object's registrations are those at the
   time of the call.
4. A call that finds nothing and must not wait lets others run, and one that finds something does
   if they have not for some time: programs poll in loops.
"""

from __future__ import annotations

import operator
import select as stock
from collections.abc import Callable
from math import ceil

from ...contracts.descriptor import ERR, HUP, NVAL, PRI, RDHUP, READ, WRITE
from ...cpython import interpose, originals
from ..base import Patch, Runtime, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_INT_MIN, _INT_MAX = -(1 << 31), (1 << 31) - 1
_LONGEST = ((1 << 63) - 1) / 1e6
"""Milliseconds in a PyTime_t."""
# Beyond it (292 years) the originals raise OverflowError.
_MAX_SECONDS = 9223372036.85


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    rows = [Patch("select", "select", "select", _make_select(runtime))]
    if originals.poll is not None:
        rows.append(
            Patch("select", "select", "poll.poll", _make_poll(runtime), owner=originals.PollType)
        )
    if hasattr(stock, "epoll"):
        rows += _epoll_patches(runtime)
    if hasattr(stock, "kqueue"):
        rows += _kqueue_patches(runtime)
    if hasattr(stock, "devpoll"):
        rows.append(_devpoll_patch(runtime))
    return rows


# -- select --------------------------------------------------------------------------------------


def _make_select(runtime: Runtime) -> Callable[..., Any]:
    kernel = runtime.kernel
    observe = runtime.descriptors.observe
    yield_after_calls = kernel.yield_after_calls
    clock = kernel.clock
    get_ident = originals.get_ident
    original = originals.select_select

    def select(rlist: Any, wlist: Any, xlist: Any, timeout: Any = None, /) -> Any:
        if get_ident() != kernel.os_ident:
            return original(rlist, wlist, xlist, timeout)
        deadline = None
        if timeout is not None:
            limit = seconds(timeout, lambda: original(rlist, wlist, xlist, timeout))
            if not 0 <= limit <= _MAX_SECONDS:
                return original(rlist, wlist, xlist, timeout)  # raises
            deadline = clock() + limit
        # Iterators must not be used up by the first look.
        lists = tuple(
            x if isinstance(x, list | tuple) else _listed(x) for x in (rlist, wlist, xlist)
        )
        found = original(*lists, 0)
        if any(found):
            yield_after_calls()
            return found
        if timeout is not None and limit == 0:
            kernel.yield_()
            return found
        return wait(lists, deadline)

    def wait(lists: tuple[Any, ...], deadline: float | None) -> Any:
        numbers = [[_fileno(x) for x in each] for each in lists]
        wanted: dict[int, int] = {}
        for fds, event in zip(numbers, (READ, WRITE, PRI), strict=True):
            for fd in fds:
                wanted[fd] = wanted.get(fd, 0) | event
        while observe(wanted, deadline):
            found = original(*numbers, 0)
            if any(found):
                return tuple(
                    [x for x, fd in zip(objects, fds, strict=False) if fd in ready]
                    for objects, fds, ready in zip(lists, numbers, found, strict=True)
                )
            _drop_hung_up(wanted)
        return [], [], []

    return select


def _listed(iterable: Any) -> Any:
    """A list of what `iterable` yields; `iterable` itself where the original will refuse it."""
    try:
        iterator = iter(iterable)
    except TypeError:
        return iterable
    return list(iterator)


def _fileno(x: Any) -> int:
    """The descriptor that the original, which has accepted `x`, found."""
    return operator.index(x) if hasattr(x, "__index__") else x.fileno()


def _drop_hung_up(wanted: dict[int, int]) -> None:
    """Watch no longer what would be reported for ever and yet is not what select(2) calls ready.

    The schemes report a hang-up whether or not it was asked for; select(2) counts it as readable
    only.
    """
    if originals.poll is None:
        return
    for fd, events in list(wanted.items()):
        if not events & READ:
            poller = originals.poll()
            poller.register(fd, events)
            reported = originals.poll_poll(poller, 0)
            if reported and not reported[0][1] & ~(HUP | ERR):
                del wanted[fd]


# -- poll ----------------------------------------------------------------------------------------


def _is_exact(poller: Any) -> bool:
    """Whether poll() takes any time rather than milliseconds in a C int: from CPython 3.15, where
    the system has ppoll()."""
    poller.register(_INT_MAX)  # is not open, which is an event
    try:
        originals.poll_poll(poller, _INT_MAX + 1)
    except OverflowError:
        return False
    return True


def _make_poll(runtime: Runtime) -> Callable[..., Any]:
    kernel = runtime.kernel
    observe = runtime.descriptors.observe
    record = runtime.descriptors.record
    yield_after_calls = kernel.yield_after_calls
    clock = kernel.clock
    get_ident = originals.get_ident
    original = originals.poll_poll
    new_poller = originals.poll
    assert new_poller is not None
    is_exact = _is_exact(new_poller())
    least, most = (-_LONGEST, _LONGEST) if is_exact else (_INT_MIN, _INT_MAX)
    polling: set[int] = set()
    kernel.on_fork(polling.clear)

    def poll(self: Any, timeout: Any = None, /) -> Any:
        if get_ident() != kernel.os_ident:
            return original(self, timeout)
        deadline = None
        limit = -1.0
        if timeout is not None:
            limit = seconds(timeout, lambda: original(self, timeout))
            if not least <= limit <= most:
                return original(self, timeout)  # raises
            if limit >= 0:
                deadline = clock() + (limit if is_exact else ceil(limit)) / 1000
        if id(self) in polling:
            raise RuntimeError("concurrent poll() invocation")
        found = original(self, 0)
        if found:
            yield_after_calls()
            return found
        if limit == 0:
            kernel.yield_()
            return found
        polling.add(id(self))
        try:
            return wait(interpose.poll_registrations(self), deadline)
        finally:
            polling.discard(id(self))

    def wait(registered: dict[int, int], deadline: float | None) -> Any:
        poller = new_poller()
        wanted = {}
        for fd, events in registered.items():
            poller.register(fd, events)
            wanted[fd] = _events(events)
        while True:
            records = [record(fd) for fd in wanted]
            in_time = False
            try:
                in_time = observe(wanted, deadline)
            except OSError:  # closed since the look; which is an answer here, not an error
                if not any(d.closed for d in records) and not original(poller, 0):
                    raise
            # What has been closed is told of, and not what has its number by now.
            found = [(d.fd, NVAL) for d in records if d.closed] or original(poller, 0)
            if found or not in_time:
                return found

    return poll


_READING = READ | getattr(stock, "POLLRDNORM", 0) | getattr(stock, "POLLRDBAND", 0)
_WRITING = WRITE | getattr(stock, "POLLWRNORM", 0) | getattr(stock, "POLLWRBAND", 0)


def _events(events: int) -> int:
    """What a scheme has to watch for the events of poll(2)."""
    wanted = events & (PRI | RDHUP)
    if events & _READING:
        wanted |= READ
    if events & _WRITING:
        wanted |= WRITE
    return wanted


# -- epoll, kqueue, devpoll ----------------------------------------------------------------------


def _make_ask(runtime: Runtime) -> Callable[..., Any]:
    kernel = runtime.kernel
    observe = runtime.descriptors.observe

    def ask(
        poller: Any, look: Callable[..., Any], args: tuple[Any, ...], timeout: Any, deadline: Any
    ) -> Any:
        """What ``look(*args)`` finds in `poller`, which has a descriptor of its own to wait for.

        `timeout` 0: don't wait.
        """
        found = look(*args)
        if found:
            kernel.yield_after_calls()
            return found
        if timeout == 0:
            kernel.yield_()
            return found
        wanted = {poller.fileno(): READ}
        while observe(wanted, deadline):
            found = look(*args)
            if found:
                return found
        return []

    return ask


def _epoll_patches(runtime: Runtime) -> list[Patch]:
    kernel = runtime.kernel
    ask = _make_ask(runtime)
    clock = kernel.clock
    get_ident = originals.get_ident
    original = originals.epoll_poll
    original_close = originals.epoll_close

    def poll(self: Any, timeout: Any = None, maxevents: Any = -1) -> Any:
        if get_ident() != kernel.os_ident:
            return original(self, timeout, maxevents)
        deadline = None
        limit = -1
        if timeout is not None:
            given = seconds(timeout, lambda: original(self, timeout, maxevents))
            if not _INT_MIN <= given * 1000 <= _INT_MAX:
                return original(self, timeout, maxevents)  # raises
            limit = ceil(given * 1000)
            if limit > 0:
                deadline = clock() + limit / 1000
        return ask(self, original, (self, 0, maxevents), limit, deadline)

    return [
        Patch("select", "select", "epoll.poll", poll),
        Patch("select", "select", "epoll.close", _make_close(runtime, original_close)),
    ]


def _make_close(runtime: Runtime, original: Callable[[Any], None]) -> Callable[[Any], None]:
    def close(self: Any) -> None:
        """Whoever waits finds out by asking: "I/O operation on closed epoll object"."""
        if not self.closed:
            runtime.descriptors.close(self.fileno(), original, self)

    return close


def _kqueue_patches(runtime: Runtime) -> list[Patch]:
    kernel = runtime.kernel
    ask = _make_ask(runtime)
    clock = kernel.clock
    original = originals.kqueue_control

    def control(self: Any, changelist: Any, maxevents: Any, timeout: Any = None, /) -> Any:
        if not kernel.is_mine():
            return original(self, changelist, maxevents, timeout)
        deadline = limit = None
        if timeout is not None:
            limit = seconds(timeout, lambda: original(self, changelist, maxevents, timeout))
            if not 0 <= limit <= _MAX_SECONDS:
                return original(self, changelist, maxevents, timeout)  # raises
            deadline = clock() + limit
        if maxevents == 0:
            return original(self, changelist, 0, 0)
        changes = iter((changelist,))  # which are made once

        def look() -> Any:
            return original(self, next(changes, None), maxevents, 0)

        return ask(self, look, (), limit, deadline)

    return [
        Patch("select", "select", "kqueue.control", control),
        Patch("select", "select", "kqueue.close", _make_close(runtime, originals.kqueue_close)),
    ]


def _devpoll_patch(runtime: Runtime) -> Patch:
    original = originals.devpoll_poll
    call_alone = runtime.workers.call_alone

    def poll(self: Any, timeout: Any = None, /) -> Any:
        """``/dev/poll`` can't itself be waited for."""
        return call_alone(original, self, timeout)

    return Patch("select", "select", "devpoll.poll", poll, owner=originals.DevpollType)
