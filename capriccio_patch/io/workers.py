"""OS threads that make blocking calls on behalf of green threads.

Capriccio's worker-thread scheme (section 5.3 of the paper).  The pool starts a thread when none is
idle, up to a bound; a thread that was idle for `IDLE` seconds ends.  Calls beyond the bound wait
their turn, in order.

1. The calling green thread parks until the call has returned or raised.
2. A caller that is interrupted leaves at once; the call goes on and its result is dropped.
3. Workers run the originals: what is patched goes straight through on their OS threads.
4. Some calls take a CPU rather than wait: writes into the page cache, say.  Many at once would keep
   the scheduler's OS thread from the CPU and from the GIL.  So of those that are submitted as
   `brief` no more than `BRIEF` are under way together, unless none of them has returned for `STALL`
   seconds: then they wait for a device after all, and twice as many are let in.
5. There is no lock, which a signal handler that interrupts `submit` would wait for: who takes a
   token from a deque has it, and who has added a job looks again for a token.  If a handler
   interrupts just there, one OS thread more than the bound may be started.
6. Where no OS thread can be started and none is there, a job is done by who submits it: all threads
   wait for it, but the program gets its result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..contracts.request import Call
from ..cpython import originals
from ..kernel.core import Kernel
from ..kernel.loans import if_audited
from . import off_thread, os_threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol, TypeVar

    T = TypeVar("T")
else:
    Protocol = object

__all__ = ["IDLE", "Job", "Workers"]

IDLE = 5.0
LIMIT = 64
BRIEF = 4
STALL = 0.01


class Job(Protocol):
    """What a worker can do."""

    def run(self) -> None:
        """On the worker's OS thread."""


class Workers:
    """A bounded pool of OS threads; see the module's text."""

    __slots__ = ("_brief", "_idle", "_jobs", "_kernel", "_limit", "_threads")

    def __init__(self, kernel: Kernel, limit: int = LIMIT) -> None:
        self._kernel = kernel
        self._limit = limit
        self.after_fork()

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """What ``function(*args)`` returns or raises, made on a worker while the caller parks.

        Green threads only; on any other OS thread the function is called directly.
        """
        if not self._kernel.is_mine():
            return function(*args)
        call = Call(self._kernel, function, *args)
        call.loan = if_audited(self._kernel)
        self.submit(call)
        result: T = off_thread.wait(self._kernel, call)
        return result

    def call_alone(self, function: Callable[..., T], *args: Any) -> T:
        """As `call`, on an OS thread of its own: for calls that may wait for ever."""
        return self._call_alone(False, function, args)

    def call_hearing(self, function: Callable[..., T], *args: Any) -> T:
        """As `call_alone`, with the caller's signal mask."""
        return self._call_alone(True, function, args)

    def _call_alone(self, hearing: bool, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        if not self._kernel.is_mine():
            return function(*args)
        call = Call(self._kernel, function, *args)
        call.loan = if_audited(self._kernel)
        off_thread.begin(call, hearing=hearing)
        result: T = off_thread.wait(self._kernel, call)
        return result

    def after_fork(self) -> None:
        """In the child: the OS threads are gone, and so is what they had to do."""
        self._jobs: Any = originals.SimpleQueueType()
        self._idle: deque[None] = deque()
        """One for each OS thread that no job is meant for."""
        self._threads: deque[None] = deque()
        """One for each OS thread."""
        self._brief = _BriefJobs(self._submit)

    def running(self) -> int:
        """How many OS threads there are, as far as is known."""
        return len(self._threads)

    def submit(self, job: Job, brief: bool = False) -> None:
        """Have a worker call ``job.run()``, which must not raise."""
        if brief:
            self._brief.submit(job)
        else:
            self._submit(job)

    def _submit(self, job: Job) -> None:
        if not _take(self._idle) and len(self._threads) < self._limit:
            self._threads.append(None)
            try:
                os_threads.start(self._work, (self._jobs, self._idle, self._threads))
            except RuntimeError:
                self._threads.pop()
                if not self._threads:  # nobody is left who would do it
                    job.run()
                    return
        originals.queue_put(self._jobs, job)

    @staticmethod
    def _work(jobs: Any, idle: deque[None], threads: deque[None]) -> None:
        while True:
            os_threads.resting.append(None)
            try:
                job = originals.queue_get(jobs, True, IDLE)
            except originals.QueueEmpty:
                if _take(idle):
                    threads.pop()
                    return
                continue  # a job is on its way
            finally:
                os_threads.resting.pop()
            job.run()
            del job
            idle.append(None)


class _BriefJobs:
    """Jobs of which only some are under way at a time; any OS thread."""

    __slots__ = ("_ended", "_later", "_lent", "_submit", "_tokens", "_watched")

    def __init__(self, submit: Callable[[Job], None]) -> None:
        self._submit = submit
        self._later: deque[Job] = deque()
        self._tokens: deque[None] = deque([None] * BRIEF)
        """One for each job that may begin."""
        self._lent: deque[None] = deque()
        """One for each that is to be given back."""
        self._ended = 0
        """Changes when a job ends."""
        self._watched = False
        """Whether an OS thread looks every `STALL` seconds whether anything ends."""

    def submit(self, job: Job) -> None:
        """Begin `job`, now or later."""
        self._later.append(job)
        self._go_on()
        if self._later and not self._watched:
            self._watched = True
            try:
                os_threads.start(self._watch, ())
            except RuntimeError:  # no more OS threads: those that are there go on
                self._watched = False

    def next(self) -> Job | None:
        """One has ended: another that its worker is to do."""
        self._ended += 1
        if _take(self._lent):
            return None
        try:
            return self._later.popleft()
        except IndexError:
            self._tokens.append(None)
            self._go_on()  # for one that has come just now
            return None

    def _go_on(self) -> None:
        while self._later and _take(self._tokens):
            try:
                job = self._later.popleft()
            except IndexError:
                self._tokens.append(None)
                continue
            self._submit(_Brief(self, job))

    def _watch(self) -> None:
        ended = self._ended
        while True:
            originals.sleep(STALL)
            if not self._later:
                self._watched = False
                if not self._later:
                    return
                self._watched = True
            if self._ended == ended:
                more = [None] * min(BRIEF + len(self._lent), LIMIT - BRIEF - len(self._lent))
                self._lent.extend(more)
                self._tokens.extend(more)
                self._go_on()
            ended = self._ended


class _Brief:
    """Jobs that one worker does one after the other."""

    __slots__ = ("_job", "_jobs")

    def __init__(self, jobs: _BriefJobs, job: Job) -> None:
        self._jobs = jobs
        self._job: Job | None = job

    def run(self) -> None:
        """On the worker's OS thread."""
        while self._job is not None:
            self._job.run()
            self._job = self._jobs.next()


def _take(tokens: deque[None]) -> bool:
    """Take one, if there is one: at once, whatever else runs."""
    try:
        tokens.pop()
    except IndexError:
        return False
    return True
