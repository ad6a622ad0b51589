"""What a green thread lends to the OS thread that makes a call for it.

Facts.  A call that is made on a worker may call the program back: functions of a database, audit
hooks, a completer of readline, or it is a function of the program itself.  That code asks who it
is (``get_ident``), reads its ``threading.local`` and its context variables, is traced.  All of it
is kept by OS thread; under stock the OS thread is the caller's.

Decision.  For the length of the call the OS thread has what the green thread has: its identifier
(`Kernel.proxies`), its locals and the rest of its C state (`thread_locals`), its context itself and
not a copy, its trace functions.  Nothing is taken from the green thread, whose signal handlers may
run meanwhile: objects are shared, words that own a reference are copied with one more.

Cost.  2-4 us a call, beside the 30-60 us of a worker.  A call that runs code of the program's only
in audit hooks borrows nothing unless there are any (`is_audited`).

1. `Loan` is made by the green thread, `Loan.run` is called once on the other OS thread, `settle` by
   the green thread when the call is over; a loan that is not settled is dropped.
2. What the call has made anew (its first locals) goes to the green thread when that settles.
3. Not lent: the OS thread's own numbers (``get_native_id``, the main thread's right to set signal
   handlers), the greenlet, and the exception that the caller is handling.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context

from greenlet import getcurrent

from ..cpython import originals, thread_state
from ..cpython.audit_hooks import is_audited
from .core import Kernel
from .thread_locals import CState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

__all__ = ["Loan", "if_audited"]


_states: dict[int, CState] = {}
"""Of OS threads that borrow, by identifier."""


class Loan:
    """What the current green thread lends; see the module's text."""

    __slots__ = ("_context", "_ident", "_kernel", "c_state", "trace")

    def __init__(self, kernel: Kernel) -> None:
        """Green threads."""
        self.c_state: dict[str, Any] | None = None
        self.trace: list[int] | None = None
        self._ident = kernel.current.ident
        self._kernel = kernel
        me = getcurrent()
        context = me.gr_context
        if context is None:
            context = me.gr_context = Context()
        self._context = context
        kernel.c_state.copy(self)

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """``function(*args)``, with what was lent.  The OS thread that works for the lender."""
        ident = originals.get_ident()
        proxies = self._kernel.proxies
        if self._kernel.is_mine():  # there is no other OS thread
            return function(*args)
        state = _state_here(ident)
        if state.current or state.has_locals:
            state.discard()  # of audit hooks that this OS thread has called by itself
        proxies[ident] = self._ident
        state.borrow(self)
        with thread_state.Within(self._context):
            if self.trace is not None:
                state.restore_trace(self)
            try:
                return function(*args)
            finally:
                if state.is_traced or state.is_profiled:
                    state.save_trace(self)
                state.save(self)
                del proxies[ident]

    def settle(self) -> None:
        """The call is over.  The lender."""
        if self._kernel.current.ident == self._ident:  # and nobody else has got the outcome
            self._kernel.c_state.adopt(self)

    def __del__(self) -> None:
        CState.drop(self)


def if_audited(kernel: Kernel) -> Loan | None:
    """What a call needs that calls the program back in audit hooks alone.  Green threads."""
    return Loan(kernel) if is_audited() else None


def _state_here(ident: int) -> CState:
    state = _states.get(ident)
    if state is None or state.current is not thread_state.state_dict():
        state = _states[ident] = CState()  # the one there was is that of an OS thread that ended
    return state
