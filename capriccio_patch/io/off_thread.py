"""Waiting for a call that an OS thread makes: the one way, whoever makes it.

The record is `contracts.request.Call`: it is handed to an OS thread, a pool or a disk scheme, and
then waited for.  An interrupt of the caller ends its wait, never the call.  What becomes of the
outcome is the policy:

* *abandon*: who drops the record drops the outcome (`wait`).
* *keep*: who keeps the record may wait for it again, or let another do so (`wait`); a subclass says
  in `complete` what is done when nobody waits any longer.
* *to the end*: the caller goes on only when the call is over, and is interrupted then (`wait`, with
  ``to_the_end``).

1. The call is begun before its caller parks; `Call.complete` runs on the scheduler's OS thread, so
   it comes either before the park, and is seen, or ends it.
2. Where the system has no OS thread left, the call is made at once, by the caller: all green
   threads wait for it, but the program gets its result.

Scheduler's OS thread only.
"""

from __future__ import annotations

from greenlet import GreenletExit

from ..contracts.request import Call
from . import os_threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from ..kernel.core import Kernel

    T = TypeVar("T")

__all__ = ["ask_until", "begin", "park", "wait"]

_SHORTEST, _LONGEST = 0.0005, 0.05


def begin(call: Call, *, hearing: bool = False) -> None:
    """Have an OS thread of its own make `call`; `hearing`: with the caller's signal mask."""
    start = os_threads.start_hearing if hearing else os_threads.start
    try:
        start(call.run, ())
    except RuntimeError:  # there are no more
        call.perform()
        call.complete()


def wait(
    kernel: Kernel, call: Call, kind: str = "worker", what: Any = None, *, to_the_end: bool = False
) -> Any:
    """What `call`, which has begun, returns or raises.

    `kind` and `what` tell others what the caller waits for; None: the function.  `to_the_end`: an
    interrupt is raised when the call is over, as in stock, where a signal handler runs when a C
    function has returned; so nothing that the call works on is used by its caller before.
    """
    raised: BaseException | None = None
    while not call.done:
        try:
            park(kernel, call, kind, what)
        except GreenletExit:
            raise
        except BaseException as interrupt:
            if not to_the_end:
                raise
            raised = raised or interrupt
    if raised is None:
        return call.outcome()
    try:
        raise raised
    finally:
        call.error = raised = None  # a cycle through the traceback otherwise


def park(kernel: Kernel, call: Call, kind: str, what: Any = None) -> None:
    """Park until `call` is done; what it returned or raised is left in it."""
    me = kernel.begin()
    if call.done:
        kernel.cancel(me)
        return
    call.waiters.append(me)
    me.kind = kind
    me.object = what or call.call
    try:
        kernel.park(me)
    except BaseException:
        if me in call.waiters:
            call.waiters.remove(me)
        raise


def ask_until(kernel: Kernel, attempt: Callable[[], T | None]) -> T:
    """What `attempt` returns once that is not None, where no OS thread can wait for it.

    It is asked at growing intervals, as `subprocess.Popen.wait` does.
    """
    delay = _SHORTEST
    while (found := attempt()) is None:
        kernel.sleep_until(kernel.clock() + delay)
        delay = min(2 * delay, _LONGEST)
    return found
