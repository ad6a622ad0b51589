"""Calls that nothing can park, made on worker OS threads while the caller does.

1. A call on any other OS thread than the scheduler's goes straight to the original; so does one
   that an offloaded function makes.
2. The function sees the caller's context variables, in a copy, and its signal mask.  Its OS
   thread is a worker's: it has other thread-locals, another identity, and it must not take a lock
   that its caller holds.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Protocol

from ...contracts.request import Call
from ...cpython import originals
from ...io import off_thread, os_threads
from ...io.workers import Job, Workers
from ...kernel.core import Kernel
from ..base import Offloader, Runtime

__all__ = ["call_to_the_end", "maker"]


def maker(runtime: Runtime) -> Offloader:
    """Returns what makes an offloaded function of an original one."""
    kernel = runtime.kernel
    get_ident = originals.get_ident
    pool = Workers(kernel)
    kernel.on_fork(pool.after_fork)

    def offloaded(original: Any) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if get_ident() != kernel.os_ident:
                return original(*args, **kwargs)
            mask = os_threads.mask()
            return pool.call(_in_context, copy_context(), mask, original, args, kwargs)

        return call

    return offloaded


def _in_context(context: Any, mask: Any, original: Any, args: Any, kwargs: Any) -> Any:
    return os_threads.with_mask(mask, context.run, original, *args, **kwargs)


class Pool(Protocol):
    """What has OS threads for jobs."""

    def submit(self, job: Job) -> None:
        """Have one call ``job.run()``."""


def call_to_the_end(kernel: Kernel, pool: Pool, function: Callable[..., Any], *args: Any) -> Any:
    """As ``pool.call(function, *args)``, but an interrupt of the caller waits for the call's end.

    That is what it does in stock, where a signal handler runs when a C function has returned; so
    nothing that the call works on is used by its caller before.  Green threads only.
    """
    call = Call(kernel, _in_context, copy_context(), os_threads.mask(), function, args, {})
    pool.submit(call)
    return off_thread.wait(kernel, call, to_the_end=True)
