"""What a kernel keeps: the one record that the modules of this room work on.

`core` runs threads, `slices` lets the deferred ones in, `interrupts` has a thread do something
before it goes on, `forks` makes the record true again in a forked child.

1. ``current`` is the thread that runs, or a `Finalizer` while the kernel works on its behalf.
2. A thread that can run is in ``ready``, which the scheduler keeps, or deferred (`slices`).
3. ``budget`` counts down with each switch, and ``now`` moves with each poll: together they tell
   another OS thread whether anything has switched.

Scheduler's OS thread, but where a field says otherwise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from weakref import WeakSet

from greenlet import getcurrent, greenlet

from ..contracts.scheduler import Abilities, Scheduler
from ..contracts.socket_backend import Backend
from ..contracts.thread import Finalizer, Thread
from ..cpython import frames, originals
from ..cpython.collector import uncollected
from .thread_locals import CState
from .timers import Timers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["TURN", "KernelState", "let_finalizers_come"]

TURN = 64
"""Switches between two polls at most."""

# The collector calls it, wherever that comes, for a record that was ``on_top``; an exception of a
# signal handler of the program's would be lost there.
frames.register(WeakSet()._remove)  # type: ignore[attr-defined]


class KernelState:
    """The threads of one scheduler, and what they run on."""

    __slots__ = (
        "_base",
        "_base_level",
        "_chosen",
        "_ended",
        "_inbox",
        "_plain_push",
        "_pop",
        "after_fork_hooks",
        "around_fork_hooks",
        "backend",
        "blocking",
        "budget",
        "c_state",
        "clock",
        "current",
        "deferred",
        "dispatch",
        "finalizer",
        "has_locals",
        "idle",
        "importing",
        "is_profiled",
        "is_traced",
        "listens",
        "main",
        "next_thread",
        "now",
        "on_top",
        "os_ident",
        "passed_over",
        "polled_outside",
        "polling",
        "preempted",
        "population",
        "proxies",
        "push",
        "push_first",
        "ready",
        "report",
        "scheduler",
        "spare",
        "threads",
        "timers",
        "tsd",
        "unfinished",
        "wake_watchdog",
    )

    def __init__(self, backend: Backend, scheduler: Scheduler, clock: Callable[[], float]) -> None:
        self.os_ident: int = originals.get_ident()
        self.clock = clock
        self.now = clock()
        """When the last poll ended, in seconds of the clock.  Any OS thread."""
        self.backend = backend
        self.scheduler = self.ready = scheduler
        self.push = self._plain_push = uncollected(scheduler.push)
        self.push_first = uncollected(Abilities(scheduler).push_first)
        self._pop = uncollected(scheduler.pop)
        self.budget = TURN
        """Switches that are left until the next poll.  Any OS thread."""
        self.timers = Timers()
        self._inbox: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self.deferred: deque[Thread] = deque()
        """Threads that can run, but after the others: they have made calls for long, or their disk
        request is done."""
        self.preempted: deque[Thread] = deque()
        """Threads that can run, but after all others: they have used up their slice."""
        self.wake_watchdog: Callable[[], None] | None = None
        """Called when there may be something to watch; None while the watchdog is awake, which sets
        it on its own OS thread: who asks asks once."""
        self.blocking = False
        """In a poll that waits: `Backend.notify` ends it.  Any OS thread."""
        self.polling = False
        """A poll that waits has begun, perhaps with a finalizer on top that lets others run: what
        these and other OS threads bring has to end it.  Any OS thread."""
        self.idle: Callable[[], float | None] = _for_ever
        """Asked when no thread can run and no deadline is set: how many seconds to poll for at
        most, None for as long as nothing comes.  It is asked again when that has passed."""
        self.on_top: WeakSet[Thread] = WeakSet()
        """What runs or waits on top of a thread that waits itself, on its greenlet: signal handlers
        and finalizers, as records of their own.  Any OS thread."""
        self.polled_outside = False
        """The watchdog waits for what a poll would report: `Backend.notify` ends that too."""
        self.after_fork_hooks: list[Callable[[], None]] = []
        self.around_fork_hooks: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self._base: greenlet
        self._base_level: int
        """How many base greenlets there are on which finalizers wait."""
        self._chosen: Thread | None = None
        """Who is being switched to and has not taken its turn; a finalizer that waits in between
        puts it back."""
        self.next_thread: Callable[[], Thread]
        """Returns the thread whose turn it is; for the base greenlet."""
        self.passed_over: list[Callable[[Thread], None]] = []
        """What is called with a thread that was woken but can't run before a finalizer on top of it
        has returned: others may need what it was woken for."""
        self.unfinished: dict[Any, Callable[[Any], object]] = {}
        """Wake-ups that finalizers may have interrupted, each a call by its argument: they are
        finished when a turn begins."""
        self.spare: list[greenlet] = []
        """Greenlets whose threads have ended, for new threads: their stacks need not be made."""
        self._ended: greenlet | None = None
        """One that is about to be spare: it is still running."""
        self.finalizer = Finalizer()
        self.main = main = Thread()
        main.ident = self.os_ident
        main.started = True
        main.greenlet = getcurrent()
        self.current: Thread = main
        self.threads: dict[int, Thread] = {main.ident: main}
        self.population = 0
        """How many threads live here, where there are several kernels."""
        self.proxies: dict[int, int] = {}
        """By identifier of an OS thread: that of the thread for which it makes a call (`loans`)."""
        self.dispatch: Callable[[Iterable[tuple[int, int]]], None] = _ignore
        """What is told of the events of a poll: `io.descriptors`."""
        self.listens: Callable[[int], bool] = _no
        """Whether a descriptor number is a listening socket; for schedulers."""
        self.report: Callable[[Thread], None] | None = None
        """What is told of an exception that has ended a thread."""
        self.make_c_state()

    def make_c_state(self) -> None:
        """Look at the calling OS thread: it is the scheduler's from now on."""
        self.c_state = CState()
        self.tsd = self.c_state.current
        self.has_locals = self.c_state.has_locals
        self.importing = self.c_state.lazy_imports
        self.is_profiled = self.c_state.is_profiled
        self.is_traced = self.c_state.is_traced

    def observe(self, chosen: Callable[[Thread], None]) -> None:
        """From now on, have `chosen` called at each switch, with the thread that is to run next."""
        pop = self._pop

        def observed() -> Thread:
            thread = pop()
            chosen(thread)
            return thread

        self._pop = observed

    def is_mine(self) -> bool:
        """Whether the calling OS thread is the scheduler's.  Any OS thread."""
        return bool(originals.get_ident() == self.os_ident)

    def of(self, thread: Thread) -> Any:
        """The kernel that runs `thread`: this one, or one beside it (`processors`)."""
        return self

    def here(self) -> Any:
        """The kernel of the calling OS thread, or None.  Any OS thread."""
        return self if self.is_mine() else None

    def all(self) -> Sequence[Any]:
        """The kernels of this process."""
        return (self,)

    def shared(self, name: str, made: Any) -> Any:
        """What all kernels of the process have in common by this name: `made`, if it is new."""
        return made

    def peers(self, kind: str, member: Any) -> Sequence[Any]:
        """`member`, and what stands for the same in the kernels beside this one; empty if there
        are none.  Those that are made later come to it."""
        return ()

    def call_soon(self, call: Callable[..., object], *args: Any) -> None:
        """Have the kernel make a short call that does not wait.  Any OS thread, signal handlers."""
        self._inbox.append((call, args))
        if self.polling or self.polled_outside:
            self.backend.notify()

    def begin_polling(self) -> None:
        """A poll is to wait for what comes; a finalizer, or a signal handler, may come as well."""
        self.blocking = self.polling = True
        self.push = self._push_and_notify

    def end_polling(self) -> None:
        """It is over."""
        self.polling = False
        self.push = self._plain_push

    def _push_and_notify(self, thread: Thread) -> None:
        self._plain_push(thread)
        self.backend.notify()

    def call_next(self, call: Callable[..., object], *args: Any) -> None:
        """As `call_soon`, and before another thread runs.  Scheduler's OS thread."""
        self._inbox.append((call, args))
        self.budget = 0

    def _drain_inbox(self) -> None:
        inbox = self._inbox
        for _ in range(len(inbox)):
            if not inbox:
                return  # a finalizer came, and the others have taken the rest
            call, args = inbox.popleft()
            call(*args)

    def finish_wake_ups(self) -> None:
        """Finish the wake-ups that finalizers have interrupted."""
        for what, finish in list(self.unfinished.items()):
            finish(what)

    def _expire(self) -> None:
        """Make the threads runnable whose deadlines have passed."""
        # Threads that use files may all be runnable at once (their sleep is over, say).
        for thread in islice(self.timers.expired(self.now), TURN):
            if thread.parked:
                thread.timed_out = True
                thread.parked = False
                self.push(thread)
            elif thread.by_interrupt:
                thread.timed_out = True
                thread.by_interrupt = False
            del thread  # what goes with it goes while no other is in hand

    def is_alone(self) -> bool:
        """Whether the current thread was asked to step aside, and nobody else could run.

        As far as is known since then.  Any OS thread.
        """
        somebody = self.ready or self.deferred or self.preempted or self._inbox
        return not somebody and self.budget == TURN - 1 and not self.blocking


def _for_ever() -> None:
    """Nobody wants to know."""


def _ignore(events: Iterable[tuple[int, int]]) -> None:
    """There are no descriptors yet."""


def _no(fd: int) -> bool:
    return False


def let_finalizers_come() -> None:
    """A call: those that the last allocation has made due run now, and not a moment later."""
