"""Having the running thread of a kernel step aside whose OS thread is not the main one.

CPython calls the handlers of signals on the main OS thread alone, so there is no tick (`tick`).
Instead, `request` looks at what the kernel's OS thread runs and has the code of its innermost
frames make events (``sys.monitoring``): at a backward jump, at the start of a function, when a
generator goes on.  CPython calls back between two instructions, on the OS thread that runs the
code.  If that is the kernel's, and nothing has switched since, the events are taken away again and
the thread lets others run.  Code that makes no events runs as if it never had.

* Events belong to code, not to a thread: others that run it call back as well, for nothing.  Who
  comes upon events that are no longer wanted takes them away.
* A thread may leave all those frames before it comes to an event.  The next request finds others,
  and has twice as many make events, and calls as well.  A call itself is no safe point: what
  another thread sends must not come in the place of the end of a ``with``.  It tells which function
  is about to start.
* What is to be raised where C code returns needs an event at the next instruction.  It counts if
  that is the one behind the call.
* C code that runs no Python is not reached, as by the tick; nor does it look for signals here.
* All kernels share one id of a tool.  Where none is free, and before CPython 3.12, nothing is
  preempted.

1. Code makes the events that all who want some want together.  Who changes that holds
   `_Tool._turn`.  Nobody waits for it, because a finalizer may wait on top of its holder: the next
   event or request tries again.
2. In a callback nothing is traced, and no callback comes on top of it, but within
   `Callbacks.outside`.
"""

from __future__ import annotations

import sys
from functools import partial
from types import CodeType, FrameType, FunctionType, MethodType

from ..contracts.thread import Finalizer, Thread
from ..cpython import originals
from ..cpython.frames import PACKAGE, is_entry, is_ours
from ..cpython.monitoring import HAS_MONITORING, Callbacks, ToolId, event
from ..kernel.core import Kernel
from .safe_point import follows_call, is_await, may_yield
from .tick import Preemption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Wanted = dict[int, tuple[CodeType, int]]
    """Code, by id, and the events wanted of it."""

__all__ = ["Elsewhere"]

_JUMP, _START, _RESUME = map(event, ("JUMP", "PY_START", "PY_RESUME"))
_CALL, _NEXT = map(event, ("CALL", "INSTRUCTION"))
_SAFE = _JUMP | _START | _RESUME
_NAME = f"{PACKAGE} preemption"

_FRAMES = 4
"""Of how many the code makes events at first: it costs 0.5 us for a short one to set and undo."""
_DOUBLINGS = 4
_POSTPONEMENTS = 100
"""How many events a request waits for a safe point; the next one comes with the next slice."""
_STOP_LIMIT = 1.0
_NOTHING: tuple[Any, int] = (None, 0)


class Elsewhere(Preemption):
    """As `Preemption`, for the kernel of any OS thread; ``signum`` is None."""

    __slots__ = ("_asked", "_behind", "_callbacks", "_is_on", "_left", "_misses", "wanted")

    def __init__(self, kernel: Kernel) -> None:
        """On the kernel's OS thread."""
        super().__init__(kernel)
        self._callbacks = Callbacks()
        self._is_on = False
        self._asked: tuple[int, float] | None = None
        """What told of switches when the running thread was asked to step aside; None: it is not
        asked."""
        self._misses = 0
        """How many requests it has been asked with before."""
        self._left = 0
        """Postponements."""
        self._behind: tuple[int, int] | None = None
        """Id of code, and place: where a call that goes on returns to."""
        self.wanted: Wanted = {}

    # -- on and off: scheduler's OS thread ---------------------------------------------------

    def start(self) -> None:
        """Be ready for requests."""
        if HAS_MONITORING:
            self._is_on = True
            _tool.join(self._kernel.os_ident, self)

    def forked(self) -> None:
        """In a forked child: this kernel is the only one, perhaps on another OS thread."""
        super().forked()
        self._callbacks = Callbacks()
        if self._is_on:
            self._asked = None
            _tool.forked(self._kernel.os_ident, self)

    def stop(self) -> None:
        """Be asked no more.  Nobody calls `request` any more."""
        if self._is_on:
            self._is_on = False
            _tool.leave(self)

    def vacate(self, signum: Any) -> None:
        """No signal is used."""

    # -- requests ----------------------------------------------------------------------------

    def request(self) -> None:
        """Have the thread that runs let others run, soon.  Any OS thread."""
        if not self._is_on:
            return
        asked = self._kernel.budget, self._kernel.now
        self._misses = self._misses + 1 if asked == self._asked else 0
        self._asked = asked
        self._left = _POSTPONEMENTS
        self._look()

    def owe(self, thread: Thread, error: BaseException) -> None:
        """Have `thread`, the current one, raise `error` when the C code that it is in has returned;
        it may park before.  Scheduler's OS thread."""
        if not self._is_on:
            super().owe(thread, error)
            return
        self._owed[thread] = error
        self._look()

    def withdraw(self) -> bool:
        """Take the request back, and the events with it, but for what is to be raised; whether
        nobody was in the way.  Any OS thread."""
        self._asked = None
        sent = self._to_raise
        if sent is not None and sent[1] != self._kernel.now:
            self._to_raise = sent = None  # too late
        return sent is not None or bool(self._owed) or _tool.want(self, {})

    def is_stale(self) -> bool:
        """Whether the request was for a thread that has let others run since.  Any OS thread."""
        kernel = self._kernel
        return self._asked != (kernel.budget, kernel.now)

    def _look(self) -> None:
        """Have what runs now make events."""
        wanted = self._kernel.c_state.read_frame(self._found)
        if wanted:
            _tool.want(self, self.wanted | wanted if self._owed else wanted)

    def _found(self, running: FrameType) -> Wanted:
        misses = min(self._misses, _DOUBLINGS)
        events = _SAFE | _CALL if misses else _SAFE
        raises = self._to_raise is not None or bool(self._owed)
        wanted: Wanted = {}
        frame: FrameType | None = running
        for _ in range(_FRAMES << misses):
            while is_ours(frame) and not is_entry(frame):  # type: ignore[arg-type]
                frame = frame.f_back  # type: ignore[union-attr]
            if frame is None or is_ours(frame):
                break
            code = frame.f_code
            if raises and not wanted:
                behind = follows_call(frame)
                self._behind = None if behind is None else (id(code), behind)
                wanted[id(code)] = code, events if behind is None else events | _NEXT
            wanted.setdefault(id(code), (code, events))
            frame = frame.f_back
        return wanted

    # -- events: scheduler's OS thread -------------------------------------------------------

    def came(self, what: int, code: CodeType, where: tuple[Any, ...], frame: FrameType) -> None:
        """`frame`, which runs `code`, has come to the event `what`.  Raises what is sent."""
        if is_ours(frame):
            return
        if what == _NEXT:
            behind, self._behind = self._behind, None
            _tool.want(self, {key: (each, on & ~_NEXT) for key, (each, on) in self.wanted.items()})
            if behind != (id(code), where[0]):
                return
        elif what == _CALL:
            self._is_about_to_call(where[1])
            return
        if self._to_raise is not None:
            self._raise(self._to_raise)
        if self._owed:
            error = self._owed.pop(self._kernel.current, None)
            if error is not None:
                raise error
            self._forget_ended()
        if self.is_stale():
            self.withdraw()
        elif what != _NEXT:
            self._step_aside(what, code, where, frame)

    def _step_aside(
        self, what: int, code: CodeType, where: tuple[Any, ...], frame: FrameType
    ) -> None:
        kernel = self._kernel
        if (
            type(kernel.current) is Finalizer
            or (what == _RESUME and is_await(code, where[0]))
            or not may_yield(frame)
        ):
            self._postpone()
            return
        self.withdraw()
        if (wake := kernel.wake_watchdog) is not None:  # not its request, then
            wake()
        else:
            self._callbacks.outside(what.bit_length() - 1, kernel.preempt)

    def _is_about_to_call(self, function: object) -> None:
        if self.is_stale():
            self.withdraw()
            return
        if type(function) is MethodType:
            function = function.__func__
        if type(function) is FunctionType:
            code = function.__code__
            if id(code) not in self.wanted:
                _tool.want(self, {**self.wanted, id(code): (code, _SAFE)})
        self._postpone()

    def _forget_ended(self) -> None:
        """Threads that have ended owe nothing."""
        for thread in [each for each in self._owed if each.ident not in self._kernel.threads]:
            del self._owed[thread]

    def _postpone(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self.withdraw()


class _Tool:
    """The one tool of all kernels, and what code makes events for them."""

    __slots__ = ("_set", "_tool", "_turn", "_users")

    def __init__(self) -> None:
        events = (_JUMP, _START, _RESUME, _CALL, _NEXT)
        self._tool = ToolId(_NAME, {each: partial(self._came, each) for each in events})
        self._turn: Any = originals.allocate_lock()
        self._users: dict[int, Elsewhere] = {}
        """By identifier of the OS thread."""
        self._set: Wanted = {}

    def join(self, ident: int, user: Elsewhere) -> None:
        """`user` is the OS thread's from now on."""
        self._users[ident] = user

    def forked(self, ident: int, user: Elsewhere) -> None:
        """In a forked child: `user` is the only one, and asks for nothing."""
        self._turn = originals.allocate_lock()
        for each in self._users.values():
            each.wanted = {}
        user.wanted = dict(self._set)  # all of it
        self._users = {ident: user}
        self.want(user, {})

    def leave(self, user: Elsewhere) -> None:
        """`user` wants nothing any more."""
        if not originals.lock_acquire(self._turn, True, _STOP_LIMIT):
            return  # its holder waits; the id stays in use
        try:
            dropped, user.wanted = user.wanted, {}
            for ident in [ident for ident, each in self._users.items() if each is user]:
                del self._users[ident]
            self._change(dropped)
            if not self._users:
                self._tool.give_back()
        finally:
            originals.lock_release(self._turn)

    def want(self, user: Elsewhere, wanted: Wanted) -> bool:
        """Have code make the events that `user` wants now, and no others; False: somebody is at
        it.  Any OS thread."""
        if not originals.lock_acquire(self._turn, False):
            return False
        try:
            # Both are kept beyond the turn: what goes with them goes then.
            dropped, user.wanted = user.wanted, wanted
            self._change(dropped | wanted)
        finally:
            originals.lock_release(self._turn)
        return True

    def _change(self, changed: Wanted) -> None:
        """Set the events of code anew.  In one's turn."""
        if not changed and not self._set:
            return
        if not self._tool.take():
            self._set = {}
            return
        users = list(self._users.values())
        for key, (code, _) in changed.items():
            events = 0
            for user in users:
                events |= user.wanted.get(key, _NOTHING)[1]
            if events == self._set.get(key, _NOTHING)[1] or not self._tool.set_events(code, events):
                continue
            if events:
                self._set[key] = code, events
            else:
                del self._set[key]

    def _came(self, what: int, code: CodeType, *where: Any) -> None:
        """What CPython calls, on any OS thread."""
        user = self._users.get(originals.get_ident())
        if user is not None and id(code) in user.wanted:
            user.came(what, code, where, sys._getframe(1))
            return
        for user in list(self._users.values()):
            if id(code) in user.wanted and user.is_stale():
                user.withdraw()


_tool = _Tool()
