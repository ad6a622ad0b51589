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

from greenlet import GreenletExit

from ...cpython import originals
from ...io import os_threads
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
    call = _Call(kernel, copy_context(), function, args)
    pool.submit(call)
    return call.wait()


class _Call:
    """One call on its way."""

    __slots__ = (
        "_args",
        "_context",
        "_error",
        "_finished",
        "_function",
        "_kernel",
        "_mask",
        "_result",
        "_waiter",
    )

    def __init__(
        self, kernel: Kernel, context: Any, function: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        self._kernel = kernel
        self._context = context
        self._mask = os_threads.mask()
        self._function: Any = function
        self._args = args
        self._result: Any = None
        self._error: BaseException | None = None
        self._finished = False
        self._waiter: Any = None

    def run(self) -> None:
        """On the worker's OS thread."""
        try:
            run = self._context.run
            self._result = os_threads.with_mask(self._mask, run, self._function, *self._args)
        except BaseException as error:
            self._error = error
        self._args = ()  # the caller may count references once it goes on
        self._function = self._context = None
        self._kernel.call_soon(self._finish)

    def _finish(self) -> None:
        """On the scheduler's OS thread."""
        self._finished = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self._kernel.resume(waiter)

    def wait(self) -> Any:
        """Park until the call is over; what it returned or raised."""
        raised: BaseException | None = None
        while not self._finished:
            try:
                self._park()
            except GreenletExit:
                raise
            except BaseException as interrupt:
                raised = raised or interrupt
        raised = raised or self._error
        if raised is None:
            return self._result
        try:
            raise raised
        finally:
            self._error = raised = None  # a cycle through the traceback otherwise

    def _park(self) -> None:
        kernel = self._kernel
        self._waiter = me = kernel.begin()
        me.kind = "worker"
        me.object = self._function
        try:
            kernel.park(me)
        except BaseException:
            self._waiter = None
            raise
