"""A pool for Celery: a thousand tasks at once in one worker, each in a green thread.

    CELERY_CUSTOM_WORKER_POOL=capriccio_patch.integrations.celery:TaskPool \
        celery -A app worker -P custom -c 1000

Facts.  Celery looks for the pool that is named on its command line before it imports the program,
so the import of this module is the earliest moment there is.  Its pool of threads can end no task:
it has no time limits, and to revoke a task that runs is an error.

Decision.  The import patches the process.  Threads take tasks from one queue; at most `limit`
exist.  Soft time limits raise SoftTimeLimitExceeded in the task, hard ones and revoking raise
`_Ended`, which is no Exception, wherever the task waits or computes.

Cost.  A task that catches everything, or waits in a ``finally`` block, is asked again each second,
but can't be killed as a process can.

1. Exactly one of these tells Celery how a task ended: what it returned, its hard limit, or who has
   revoked it.
2. Nothing is raised in a thread that is not in a task (`_Job.inside`).
3. After `close` no task is begun; those that are queued go back to the broker, unacknowledged.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from itertools import count

import capriccio_patch

try:
    import celery
except ImportError:
    raise SystemExit("capriccio_patch.integrations.celery: Celery is not installed") from None
if tuple(celery.VERSION[:2]) < (5, 3):
    raise SystemExit("capriccio_patch.integrations.celery: needs Celery 5.3 or newer")
try:
    capriccio_patch.patch_all()
except capriccio_patch.CapriccioError as error:
    raise SystemExit(f"capriccio_patch.integrations.celery: {error}") from None

from billiard.einfo import ExceptionInfo
from celery.concurrency.base import BasePool
from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.log import get_logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["TaskPool"]

_AGAIN = 1.0
"""Seconds until a task that has not ended is asked again."""
_AT_SHUTDOWN = 10.0
"""Seconds that a cold shutdown gives tasks to end."""
_OF_PROCESSES = {
    "maxtasksperchild": "--max-tasks-per-child",
    "max_memory_per_child": "--max-memory-per-child",
}
"""Options that only a pool of processes has: Celery's names, and those of the command line."""

_logger = get_logger("celery.pool")


class _Ended(BaseException):
    """A task is over, whatever it does: its hard time limit has passed, or it is revoked."""


class TaskPool(BasePool):  # type: ignore[misc]
    """What ``celery worker -P custom`` takes."""

    limit: Any
    """How many tasks run at once, at most."""

    signal_safe = False
    body_can_be_buffer = True
    task_join_will_block = False

    def on_start(self) -> None:
        """The worker starts."""
        self._changed = threading.Condition()
        self._queued: deque[_Job] = deque()
        self._running: dict[int, _Job] = {}
        """By the identifier of its thread, which Celery knows as the process."""
        self._threads = self._idle = 0
        self._closed = False
        self._limits = _Limits()
        for name, option in _OF_PROCESSES.items():
            if self.options.get(name):
                _logger.warning("%s has no effect with this pool: it has no processes.", option)

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Any = (),
        kwargs: Any = None,
        *,
        soft_timeout: float | None = None,
        timeout: float | None = None,
        **told: Any,
    ) -> _Job:
        """Queue a task, for which `told` has what is called as it begins and ends."""
        soft_timeout = soft_timeout or self.options.get("soft_timeout")
        timeout = timeout or self.options.get("timeout")
        job = _Job(lambda: target(*args, **(kwargs or {})), soft_timeout, timeout, told)
        with self._changed:
            self._queued.append(job)
            if self._idle:
                self._changed.notify()
            else:
                self._add_thread()
        return job

    def grow(self, n: int = 1) -> None:
        """Autoscale: `n` more tasks at once."""
        with self._changed:
            self.limit += n
            for _ in range(min(n, len(self._queued))):
                self._add_thread()

    def shrink(self, n: int = 1) -> None:
        """Autoscale: `n` fewer.  Tasks that run are not ended: their threads end after them."""
        with self._changed:
            self.limit = max(0, self.limit - n)
            self._changed.notify(n)

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Revoking with ``terminate``: the task in this thread ends, whatever the signal."""
        job = self._running.get(pid)
        if job is not None:
            job.end()
            self._limits.ask_again(job)

    def on_close(self) -> None:
        """No task is begun any more."""
        with self._changed:
            self._closed = True
            self._queued.clear()
            self._changed.notify_all()

    def on_stop(self) -> None:
        """A warm shutdown: tasks that run are waited for."""
        self.on_close()
        with self._changed:
            self._changed.wait_for(lambda: not self._running)

    def on_terminate(self) -> None:
        """A cold shutdown: tasks that run are ended, and waited for as long as that may take."""
        self.on_close()
        for job in list(self._running.values()):
            job.end()
        with self._changed:
            self._changed.wait_for(lambda: not self._running, _AT_SHUTDOWN)

    def _get_info(self) -> dict[str, Any]:
        return {
            **super()._get_info(),
            "threads": self._threads,
            "running": len(self._running),
            "queued": len(self._queued),
        }

    def _add_thread(self) -> None:
        """One more, if there may be; the caller holds `_changed`."""
        if self._threads < self.limit:
            self._threads += 1
            threading.Thread(target=self._work, name="celery-task", daemon=True).start()

    def _work(self) -> None:
        me = threading.get_ident()
        while (job := self._next()) is not None:
            self._running[me] = job
            try:
                job.run(me, self._limits)
            except BaseException:
                _logger.exception("A task has ended, and telling of it has failed")
            finally:
                with self._changed:
                    del self._running[me]
                    if self._closed:
                        self._changed.notify_all()

    def _next(self) -> _Job | None:
        """What to do; None when the thread is to end."""
        with self._changed:
            while not self._closed and self._threads <= self.limit:
                if self._queued:
                    return self._queued.popleft()
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            self._threads -= 1
            return None


class _Job:
    """One task, from the queue to its end.  Celery keeps it, to have it terminated."""

    def __init__(
        self,
        call: Callable[[], Any],
        soft_timeout: float | None,
        timeout: float | None,
        told: dict[str, Any],
    ) -> None:
        self._call, self._told = call, told
        self.soft_timeout, self.timeout = soft_timeout, timeout
        self._ident = 0
        self.inside = False
        """Whether the thread is in the task, where something may be raised in it."""
        self.ended = False
        """Whether it was told to end, by somebody who has told Celery."""

    def run(self, ident: int, limits: _Limits) -> None:
        """Its thread: the task, and what Celery is told of it."""
        self._ident = ident
        self._tell("accept_callback", ident, time.monotonic())
        if self.ended:  # revoked while it was queued
            return
        try:
            try:
                self.inside = True
                limits.watch(self)
                result = self._call()
            finally:
                self.inside = False
        except _Ended:
            return
        except BaseException:
            if not self.ended:
                self._tell("error_callback", ExceptionInfo())
            return
        if not self.ended:
            self._tell("callback", result)

    def terminate(self, signal: Any = None) -> None:
        """Celery calls this beside `TaskPool.terminate_job`, which does it."""

    def end(self) -> None:
        """Have it end; who calls this has told Celery, or does."""
        self.ended = True
        self._raise(_Ended())

    def exceed(self, soft: bool) -> None:
        """A time limit has passed."""
        if not self.inside or self.ended:
            return
        if soft:
            self._raise(SoftTimeLimitExceeded(self.soft_timeout))
            self._tell("timeout_callback", True, self.soft_timeout)
        else:
            self.end()
            self._tell("timeout_callback", False, self.timeout)

    def _raise(self, error: BaseException) -> None:
        if self.inside:
            capriccio_patch.interrupt(self._ident, error)

    def _tell(self, what: str, *args: Any) -> None:
        if (call := self._told.get(what)) is not None:
            call(*args)


class _Limits:
    """The time limits of tasks, and the thread that sees to them; there is none without limits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, _Job, Callable[[], None]]] = []
        self._order = count()
        self._thread: threading.Thread | None = None

    def watch(self, job: _Job) -> None:
        """The limits of a task that begins now."""
        if job.soft_timeout:
            self._add(job.soft_timeout, job, lambda: job.exceed(soft=True))
        if job.timeout:
            self._add(job.timeout, job, lambda: self._end(job))

    def ask_again(self, job: _Job) -> None:
        """A task that was told to end may take its time, but not for ever."""
        self._add(_AGAIN, job, lambda: self._remind(job))

    def _end(self, job: _Job) -> None:
        self.ask_again(job)
        job.exceed(soft=False)

    def _remind(self, job: _Job) -> None:
        self.ask_again(job)
        job.end()

    def _add(self, seconds: float, job: _Job, act: Callable[[], None]) -> None:
        with self._changed:
            due = (time.monotonic() + seconds, next(self._order), job, act)
            heapq.heappush(self._due, due)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="celery-time-limits", daemon=True
                )
                self._thread.start()
            elif self._due[0] is due:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due or (wait := self._due[0][0] - time.monotonic()) > 0:
                    self._changed.wait(wait if self._due else None)
                _, _, job, act = heapq.heappop(self._due)
            if job.inside:
                try:
                    act()
                except Exception:
                    _logger.exception("A time limit has passed, and telling of it has failed")
