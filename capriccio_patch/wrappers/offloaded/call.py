"""Calls that nothing can park, made on worker OS threads while the caller does.

1. A call on any other OS thread than the scheduler's goes straight to the original; so does one
   that an offloaded function makes.
2. The function, and what it calls back, runs as the caller does: with its identity, its locals, its
   context variables, its trace functions (`kernel.loans`) and its signal mask.
"""

from __future__ import annotations

from collections.abc import Callable

from ...contracts.request import Call
from ...cpython import originals
from ...io import off_thread, os_threads
from ...io.workers import Job, Workers
from ...kernel.core import Kernel
from ...kernel.loans import Loan
from ..base import Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object

__all__ = ["call_to_the_end", "maker"]


def maker(runtime: Runtime) -> Callable[..., Callable[..., Any]]:
    """Returns what makes an offloaded function of an original one.

    It may be told which calls need not be offloaded, because they don't wait: those for whose
    arguments ``waits`` is false; and, with ``to_the_end``, to let no interrupt take the caller away
    before the call is over.
    """
    kernel = runtime.kernel
    get_ident = originals.get_ident
    pool = Workers(kernel)
    kernel.on_fork(pool.after_fork)

    def offloaded(
        original: Any, *, waits: Callable[..., bool] | None = None, to_the_end: bool = False
    ) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if get_ident() != kernel.os_ident or not (waits is None or waits(*args, **kwargs)):
                return original(*args, **kwargs)
            begun = _begun(kernel, pool, original, args, kwargs)
            return off_thread.wait(kernel, begun, what=original, to_the_end=to_the_end)

        return call

    return offloaded


class Pool(Protocol):
    """What has OS threads for jobs."""

    def submit(self, job: Job) -> None:
        """Have one call ``job.run()``."""


def call_to_the_end(kernel: Kernel, pool: Pool, function: Callable[..., Any], *args: Any) -> Any:
    """As ``pool.call(function, *args)``, but an interrupt of the caller waits for the call's end.

    That is what it does in stock, where a signal handler runs when a C function has returned; so
    nothing that the call works on is used by its caller before.  Green threads only.
    """
    call = _begun(kernel, pool, function, args, {})
    return off_thread.wait(kernel, call, to_the_end=True)


def _begun(kernel: Kernel, pool: Pool, function: Any, args: Any, kwargs: Any) -> Call:
    call = Call(kernel, _with_mask, os_threads.mask(), function, args, kwargs)
    call.loan = Loan(kernel)
    pool.submit(call)
    return call


def _with_mask(mask: Any, function: Any, args: Any, kwargs: Any) -> Any:
    return os_threads.with_mask(mask, function, *args, **kwargs)
