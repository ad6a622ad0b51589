"""Several kernels in one process, each on an OS thread of its own: what they know of each other.

Facts.  A greenlet never moves to another OS thread, so a thread that has begun stays where it is.
One that has not begun is a record and a function, and may go anywhere.  To the threads of one
kernel those of another are what OS threads of the program are: they use the same objects at any
moment, and end a wait by a message (`KernelState.call_soon`).

Decision.  Each kernel has all that one kernel has: run queue, timers, I/O scheme, inbox, and lots
of its own, which no other OS thread writes to.  Whoever makes a thing available wakes those who
wait for it at home, and sends a message to each kernel where somebody else does (`parking.Lot`).
All kernels have one table of threads and one of proxies.

A new thread goes to the kernel with the fewest threads, of which those that can run count twice:
the queue alone, as it is when a thread is started, says too little of who will run there later.
It waits in `Processor.fresh` until its kernel switches; a kernel that is about to be idle takes it
from there.  With the GIL, where no two kernels run at a time, it begins at home, where it costs
least.

Cost.  A wake-up across is a message and, if the other kernel waits in its poll, a write to an
eventfd: some 10 us of CPU and a switch of OS threads.  With one kernel none of this exists.

1. `Processors.kernels[0]` is the main OS thread's, which signals are for.
2. After a fork the kernel of the thread that forked is the only one in the child.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from greenlet import greenlet

from ..contracts.scheduler import Scheduler
from ..contracts.socket_backend import Backend
from ..contracts.thread import Thread
from ..cpython import originals
from . import lifecycle
from .core import Kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["PlacedThread", "Processor", "Processors"]


class PlacedThread(Thread):
    """A thread of one of several kernels."""

    __slots__ = ("kernel",)

    kernel: Processor


class Processors:
    """The kernels of this process."""

    __slots__ = ("kernels", "proxies", "shared", "siblings", "threads")

    def __init__(self) -> None:
        self.kernels: list[Processor] = []
        self.threads: dict[int, Thread] = {}
        """All threads of the program, by identifier."""
        self.proxies: dict[int, int] = {}
        self.shared: dict[str, Any] = {}
        """By name: what all kernels have in common besides."""
        self.siblings: dict[str, list[Any]] = {}
        """By kind: what stands for the same in each kernel."""

    def place(self) -> Processor:
        """Where a new thread is to run."""
        return min(self.kernels, key=Processor.load)

    def keep(self, kernel: Processor) -> None:
        """In a forked child: `kernel` is the only one that is left; what is sent to another, for
        one of its threads, comes to nothing."""
        for other in self.kernels:
            if other is not kernel:
                other.end_polling()
                other.polled_outside = False
        self.kernels = [kernel]
        for siblings in self.siblings.values():
            siblings[:] = [each for each in siblings if each.kernel is kernel]


class Processor(Kernel):
    """One of several kernels."""

    __slots__ = ("fresh", "processors")

    def __init__(
        self,
        processors: Processors,
        backend: Backend,
        scheduler: Scheduler,
        clock: Callable[[], float] = originals.monotonic,
    ) -> None:
        super().__init__(backend, scheduler, clock)
        self.processors = processors
        self.fresh: deque[PlacedThread] = deque()
        """Threads that are to begin here, or at a kernel that is idle.  Any OS thread."""
        if not processors.kernels:
            processors.threads[self.main.ident] = self.main
        self.threads = processors.threads
        self.proxies = processors.proxies
        processors.kernels.append(self)

    # -- what kernels have in common ---------------------------------------------------------

    def of(self, thread: Thread) -> Processor:
        """The kernel that runs `thread`.  Any OS thread."""
        found: Processor = getattr(thread, "kernel", self.processors.kernels[0])
        return found

    def here(self) -> Processor | None:
        """As `KernelState.here`.  Any OS thread."""
        ident = originals.get_ident()
        return next((each for each in self.processors.kernels if each.os_ident == ident), None)

    def all(self) -> Sequence[Processor]:
        """As `KernelState.all`.  Any OS thread."""
        return self.processors.kernels

    def shared(self, name: str, made: Any) -> Any:
        """As `KernelState.shared`."""
        return self.processors.shared.setdefault(name, made)

    def peers(self, kind: str, member: Any) -> Sequence[Any]:
        """As `KernelState.peers`; `member` has the kernel as its ``kernel``."""
        siblings = self.processors.siblings.setdefault(kind, [])
        siblings.append(member)
        return siblings

    def after_fork(self, backend: Backend) -> None:
        """As `Kernel.after_fork`: nobody else is left."""
        self.fresh.clear()
        self.processors.keep(self)  # first: the schemes of the others are closed
        super().after_fork(backend)
        self.processors.threads = self.threads

    # -- new threads -------------------------------------------------------------------------

    def prepare(self, run: Callable[[], Any]) -> PlacedThread:
        """A new thread that calls `run`, once it is launched.  Scheduler's OS thread."""
        thread = PlacedThread()
        thread.run = run
        thread.kernel = self
        self.threads[thread.ident] = thread
        return thread

    def launch(self, thread: PlacedThread) -> None:
        """Have a prepared thread begin, on some kernel.  Scheduler's OS thread."""
        kernel = thread.kernel = self.processors.place()
        kernel.fresh.append(thread)
        if kernel is not self:
            kernel.call_soon(kernel.take_fresh)
            return
        self.budget = 0  # the next switch begins a turn
        if (wake := self.wake_watchdog) is not None:  # who starts it may never wait
            wake()

    def is_alone(self) -> bool:
        """As `KernelState.is_alone`."""
        return not self.fresh and super().is_alone()

    def spawn(self, run: Callable[[], Any]) -> Thread:
        """As `Kernel.spawn`, on some kernel."""
        thread = self.prepare(run)
        self.launch(thread)
        return thread

    def load(self) -> int:
        """The queue, and who may join it.  Any OS thread."""
        runnable = len(self.ready) + len(self.deferred) + len(self.preempted)
        return len(self.fresh) + runnable + self.population

    def take_fresh(self) -> None:
        """Have the threads begin that are to begin here."""
        while self.fresh:
            self._take_from(self)

    def _take_from(self, other: Processor) -> bool:
        """Have one begin here that waits there; False if another kernel was faster."""
        try:
            thread = other.fresh.popleft()
        except IndexError:
            return False
        self._begin_thread(thread)
        return True

    def _begin_thread(self, thread: PlacedThread) -> None:
        thread.kernel = self
        self.population += 1
        spare = self.spare and lifecycle.take_spare(self)
        thread.greenlet = spare or greenlet(self._run_thread, self._base)
        thread.started = bool(spare)
        self.push(thread)
        if (wake := self.wake_watchdog) is not None:
            wake()

    def run_here(self, run: Callable[[], Any]) -> PlacedThread:
        """Have a thread of this very kernel call `run`, which the program does not see.
        Any OS thread."""
        thread = PlacedThread()
        thread.run = run
        thread.kernel = self
        self.call_soon(self._begin_thread, thread)
        return thread

    def _begin_turn(self) -> None:
        if self.fresh:
            self.take_fresh()
        elif not (self.ready or self.deferred or self.preempted or self._inbox):
            self.help_others()
        super()._begin_turn()

    def help_others(self) -> None:
        """Idle: have a thread begin here that is to begin elsewhere, where another one runs; but
        not if more threads live here already."""
        for other in self.processors.kernels:
            is_busy = other.fresh and not other.blocking
            if is_busy and self.population <= other.population and self._take_from(other):
                return

    # -- the OS thread of another than the main kernel ---------------------------------------

    def serve(self) -> None:
        """Run threads until `retire`.  Scheduler's OS thread, whose main thread this is."""
        me = self.begin()
        me.kind = "processor"
        self.park(me)

    def retire(self) -> None:
        """Have `serve` return: no thread lives here.  Any OS thread."""
        self.call_soon(self.resume, self.main)

    def halt(self, halted: Callable[[], object]) -> None:
        """Have the kernel run nothing any more, for the process ends; it calls `halted` then.
        Any OS thread."""
        self.call_soon(_stand_still, halted)


def _stand_still(halted: Callable[[], object]) -> None:
    """Never return: whoever needs the interpreter when that has ended would be ended by force, with
    the stacks of all its threads."""
    never = originals.allocate_lock()
    originals.lock_acquire(never)
    halted()
    originals.lock_acquire(never)
