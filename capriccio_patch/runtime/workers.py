"""OS threads that make blocking calls on behalf of green threads.

Capriccio's worker-thread scheme (section 5.3 of the paper).  The pool starts a thread when none is
idle, up to a bound; a thread that was idle for `IDLE` seconds ends.  Calls beyond the bound wait
their turn, in order.

1. The calling green thread parks until the call has returned or raised.
2. A caller that is interrupted leaves at once; the call goes on and its result is dropped.
3. Workers run the originals: what is patched goes straight through on their OS threads.
4. Where no OS thread can be started and none is there, `call` makes the call itself: all threads
   wait for it, but the program gets its result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from .. import originals
from . import os_threads
from .kernel import Kernel

__all__ = ["IDLE", "Job", "Workers"]

IDLE = 5.0
LIMIT = 64

T = TypeVar("T")


class Job(Protocol):
    """What a worker can do."""

    def run(self) -> None:
        """On the worker's OS thread."""


class _Job:
    __slots__ = ("abandoned", "args", "error", "function", "kernel", "result", "thread")

    def __init__(self, kernel: Kernel, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.kernel = kernel
        self.function = function
        self.args = args
        self.thread: Any = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.abandoned = False

    def run(self) -> None:
        """On the worker's OS thread."""
        try:
            self.result = self.function(*self.args)
        except BaseException as error:
            self.error = error
        self.args = ()  # the caller may count references once it goes on
        self.kernel.call_soon(self.done)

    def done(self) -> None:
        """On the scheduler's OS thread."""
        if not self.abandoned:
            self.kernel.resume(self.thread)

    def wait(self) -> Any:
        """Park until the call is over."""
        try:
            self.kernel.park(self.thread)
        except BaseException:
            self.abandoned = True
            raise
        error = self.error
        if error is not None:
            self.error = None
            try:
                raise error
            finally:
                del error  # a cycle through the traceback otherwise
        return self.result


class Workers:
    """A bounded pool of OS threads; see the module's text."""

    __slots__ = ("_idle", "_jobs", "_kernel", "_limit", "_lock", "_running")

    def __init__(self, kernel: Kernel, limit: int = LIMIT) -> None:
        self._kernel = kernel
        self._limit = limit
        self._jobs: Any = originals.SimpleQueueType()
        self._lock = originals.allocate_lock()
        self._idle = 0
        self._running = 0

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """What ``function(*args)`` returns or raises, made on a worker while the caller parks.

        Green threads only; on any other OS thread the function is called directly.
        """
        kernel = self._kernel
        if not kernel.is_mine():
            return function(*args)
        job = _Job(kernel, function, args)
        job.thread = me = kernel.begin()
        me.kind = "worker"
        me.object = function
        try:
            self.submit(job)
        except RuntimeError:  # there are no more OS threads, for instance at exit
            kernel.cancel(me)
            return function(*args)
        except BaseException:
            kernel.cancel(me)
            raise
        result: T = job.wait()
        return result

    def call_alone(self, function: Callable[..., T], *args: Any) -> T:
        """As `call`, on an OS thread of its own: for calls that may wait for ever."""
        return self._call_on(os_threads.start, function, args)

    def call_hearing(self, function: Callable[..., T], *args: Any) -> T:
        """As `call_alone`, with the caller's signal mask."""
        return self._call_on(os_threads.start_hearing, function, args)

    def _call_on(
        self, start: Callable[..., None], function: Callable[..., T], args: tuple[Any, ...]
    ) -> T:
        kernel = self._kernel
        if not kernel.is_mine():
            return function(*args)
        job = _Job(kernel, function, args)
        job.thread = me = kernel.begin()
        me.kind = "worker"
        me.object = function
        try:
            start(job.run, ())
        except BaseException:
            kernel.cancel(me)
            raise
        result: T = job.wait()
        return result

    def after_fork(self) -> None:
        """In the child: the OS threads are gone, and so is what they had to do."""
        self._jobs = originals.SimpleQueueType()
        self._lock = originals.allocate_lock()
        self._idle = self._running = 0

    def submit(self, job: Job) -> None:
        """Have a worker call ``job.run()``, which must not raise."""
        with_room = False
        originals.lock_acquire(self._lock)
        if self._idle:
            self._idle -= 1
        elif self._running < self._limit:
            self._running += 1
            with_room = True
        originals.lock_release(self._lock)
        if with_room:
            try:
                os_threads.start(self._work, (self._jobs,))
            except RuntimeError:
                originals.lock_acquire(self._lock)
                self._running -= 1
                alone = self._running == 0
                originals.lock_release(self._lock)
                if alone:
                    raise  # nobody is left who would do it
        originals.queue_put(self._jobs, job)

    def _work(self, jobs: Any) -> None:
        while True:
            try:
                job = originals.queue_get(jobs, True, IDLE)
            except originals.QueueEmpty:
                originals.lock_acquire(self._lock)
                surplus = self._idle > 0 and jobs is self._jobs
                if surplus:
                    self._idle -= 1
                    self._running -= 1
                originals.lock_release(self._lock)
                if surplus or jobs is not self._jobs:
                    return
                continue
            job.run()
            del job
            originals.lock_acquire(self._lock)
            self._idle += 1
            originals.lock_release(self._lock)
