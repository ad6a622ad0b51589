"""Deadlocks: that nothing can ever run again, or that some threads wait for each other for good.

Two searches, both silent unless they are sure:

*Of all.*  No thread can run, no deadline is set, and every thread waits for something that only a
thread of the process can bring about: no descriptor, signal, child or call on an OS thread.  Nobody
is left who could do it if the program has no other OS threads and no signal handlers.  The kernel
asks when it is about to wait for good (`Kernel.idle`), and the search is made once it has waited so
for `QUIET` seconds: a busy program never gets there.

*Of some.*  Threads that have waited for `PATIENCE` seconds, each for a lock that another of them
holds or for the end of another, in a circle; or for queues and the like that nobody else can reach
(`crossed`); or all threads of a pool, for calls that it has yet to make (`pools`).  What goes on
beside them does not matter.  It is made now and then by the watchdog, over the threads that wait:
each part no longer than a thousandth of the time (`allowance`).

1. What was told is not told again while the same threads wait for the same things.
2. A signal handler that the program has set may do anything, so with one there is no deadlock of
   all; that of `signal.default_int_handler` does nothing for others.
3. So may an OS thread that the runtime has not started, of the program or of a library.

`Deadlocks.idle` is for the kernel, in its critical section; `Deadlocks.look` for the watchdog.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf

from ..contracts.thread import Thread
from ..cpython import frames, originals
from ..cpython.evaluation import texts_compiled
from ..cpython.modules import whole
from ..cpython.standstill import has_gil
from ..errors import CapriccioWarning, Deadlock
from ..io import os_threads
from ..kernel.core import Kernel
from ..preemption.loading import Loading
from ..preemption.stall_report import import_for_reports, warn
from .allowance import Allowance
from .outsiders import could_wake
from .pools import stopped_pools, waiting_pools
from .waiting import (
    FROM_INSIDE,
    IN_CIRCLES,
    MOST,
    WaitId,
    awaited_ends,
    ended_by,
    find_circle,
    is_stuck_inside,
    top_records,
    wait_id,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .crossed import Crossed
    from .holders import Claim
    from .story import Bringer

__all__ = ["PATIENCE", "QUIET", "Deadlocks"]

QUIET = 0.1
PATIENCE = 1.0
_TRIES = 3
"""How often it is asked whether other OS threads are left before circles are searched: one of the
runtime's may be ending.  And how often whether the kernel waits, if it is on the way to that."""
_MOST_DOUBLED = 15
"""How often the time between two such questions doubles."""


def _load() -> None:
    """Import what a search for circles, and a report of one, needs."""
    from . import crossed, holders, story  # noqa: F401

    import_for_reports()


class Deadlocks:
    """The search for the deadlocks of a kernel's threads."""

    __slots__ = (
        "_allowance",
        "_crossed",
        "_crossed_allowance",
        "_crossed_at",
        "_search",
        "_idle_since",
        "_is_judged",
        "_judged",
        "_kernel",
        "_held",
        "_raises",
        "_told",
        "_tries",
    )

    def __init__(self, kernel: Kernel, mode: str) -> None:
        """`mode` is "warn" or "raise"."""
        self._kernel = kernel
        self._raises = mode == "raise"
        self._crossed: Crossed | None = None
        self._allowance = Allowance(kernel.clock)
        self._crossed_allowance = Allowance(kernel.clock)
        self._crossed_at = 0.0
        """When queues and the like are to be looked at again."""
        self._idle_since: tuple[Thread, float, int] | None = None
        self._is_judged = False
        self._tries = 0
        self._held: dict[WaitId, list[Claim]] = {}
        self._judged: set[WaitId] = set()
        self._search = search = Loading(_load, self._look_if_idle)
        kernel.around_fork(search.before_fork, search.after_fork)
        self._told: set[WaitId] = set()
        kernel.on_fork(self._forked)

    def _forked(self) -> None:
        self._crossed_at = 0.0  # what was to be confirmed is not, in the child

    # -- of all ------------------------------------------------------------------------------

    def idle(self) -> float | None:
        """What ``Kernel.idle`` is: for how long to wait before the threads are looked at."""
        kernel = self._kernel
        host = kernel.finalizer.host
        if host.kind not in FROM_INSIDE and host.greenlet is not None:
            return None  # the last that ran waits for something from outside: not all are stuck
        # The host is the last that ran: if it is in the same wait, or is the same that has ended
        # without one, nobody has run in between.
        period = host, host.since, len(kernel.threads)
        if period != self._idle_since:
            self._idle_since = period
            self._is_judged = False
            self._tries = 0
            return QUIET
        if not self._is_judged:
            is_over = self._is_over()
            if is_over and could_wake(kernel):
                # An OS thread may be about to end, and with it all that could wake anybody.
                self._tries += 1
                if self._tries == _TRIES:
                    self._look_for_new()
                return QUIET * (1 << min(self._tries, _MOST_DOUBLED))
            self._is_judged = True
            if is_over:
                self._start(self._tell_of_all, set(map(wait_id, top_records(kernel))))
            else:
                self._look_for_new()
        return None

    def _start(self, function: Callable[..., object], *args: object) -> None:
        """On an OS thread of its own, as a report may wait for locks that are held for good."""
        try:
            os_threads.start(function, args)
        except RuntimeError:
            pass  # the system has no more

    def _look_for_new(self) -> None:
        """Look at threads that may wait in a circle and did not at the last time."""
        waits = {
            wait_id(thread)
            for thread in top_records(self._kernel)
            if thread.kind in IN_CIRCLES and is_stuck_inside(thread)
        }
        are_new = not waits <= self._judged
        self._judged = waits
        if are_new:
            self._start(self.look, 0.0)

    def _is_over(self) -> bool:
        """Whether all threads wait for each other."""
        kernel = self._kernel
        if kernel.on_top:
            return all(map(is_stuck_inside, top_records(kernel)))
        return all(map(is_stuck_inside, list(kernel.threads.values())))

    def _tell_of_all(self, waits: set[WaitId]) -> None:
        """Nothing can run: say so, unless something has run since all began to wait so."""
        kernel = self._kernel
        threads = top_records(kernel)
        if not self._last(waits) or (waits & self._told and not self._raises):
            return
        with texts_compiled:
            from .story import whole_story

        text, place = whole_story(kernel, threads)
        if self._last(waits):
            self._told = waits
            self._tell(text, place)

    def _last(self, waits: set[WaitId]) -> bool:
        """Whether all threads have waited since then, and there are no others."""
        kernel = self._kernel
        for _ in range(_TRIES):
            threads = top_records(kernel)
            if set(map(wait_id, threads)) != waits or not all(each.parked for each in threads):
                return False
            if kernel.blocking:
                return True
            originals.sleep(QUIET)  # it is about to poll, or has been told of nothing
        return False

    # -- of some -----------------------------------------------------------------------------

    def look(self, patience: float = PATIENCE) -> float:
        """Search for circles of threads that have waited for `patience` seconds; returns after how
        many seconds to do so again."""
        kernel = self._kernel
        # Waits, for the GIL or an import, cost the others nothing.
        began_at: float = originals.thread_time()
        latest = kernel.clock() - patience
        waiting = [
            thread
            for thread in top_records(kernel)
            if thread.parked
            and thread.kind in FROM_INSIDE
            and thread.since < latest
            and is_stuck_inside(thread)
        ]
        stuck = [thread for thread in waiting if thread.kind in IN_CIRCLES]
        pools = waiting_pools(kernel, kernel.clock() - PATIENCE)
        is_loaded = bool(stuck or pools) and self._search.is_done()
        stopped = stopped_pools(kernel, pools) if is_loaded else []
        if self._told:
            self._told.intersection_update(map(wait_id, top_records(kernel)))
        if not stuck and not stopped:
            self._held.clear()
        elif is_loaded:
            from .story import circle_story, pool_story

            began = {wait_id(thread) for thread in stuck}
            self._tell_of_some(self._circle(stuck), began, circle_story)
            for pool in stopped:
                began = {(id(thread), since) for thread, since in pool}
                if not began <= self._told:
                    self._tell_of_some([thread for thread, _ in pool], began, pool_story)
        used: float = originals.thread_time() - began_at
        # The idle workers of one queue are no circle, and nothing need be imported for them.
        if len(waiting) != len(stuck) and len({id(each.object) for each in waiting}) > 1:
            self._look_at_crossed(latest)
        elif self._crossed is not None:
            self._crossed = None
        return max(PATIENCE, self._allowance.pause_after(used))

    def _look_at_crossed(self, latest: float) -> None:
        """Search for circles through what others may reach, if it is time to."""
        kernel = self._kernel
        if kernel.clock() < self._crossed_at or not has_gil() or not self._search.is_done():
            return
        from .crossed import Crossed

        began_at: float = originals.thread_time()
        if self._crossed is None:
            self._crossed = Crossed(kernel)
        circle = self._crossed.look(latest, self._told.issuperset)
        self._pause_crossed(began_at)
        if circle:
            self._crossed_at = inf  # one at a time
            kernel.call_soon(self._confirm, self._crossed, circle, set(map(wait_id, circle)))

    def _pause_crossed(self, began_at: float) -> None:
        used: float = originals.thread_time() - began_at
        self._crossed_at = self._kernel.clock() + self._crossed_allowance.pause_after(used)

    @frames.search
    def _confirm(self, crossed: Crossed, circle: list[Thread], began: set[WaitId]) -> None:
        began_at: float = originals.thread_time()
        try:
            if self._told.issuperset(began) or began != {wait_id(e) for e in circle if e.parked}:
                return
            if crossed.is_closed(circle):
                self._told |= began
                self._start(self._tell_of_crossed, circle, crossed.bringers(circle))
        finally:
            self._pause_crossed(began_at)

    def _tell_of_crossed(self, circle: list[Thread], bringers: list[Bringer]) -> None:
        with texts_compiled:
            from .story import crossed_story

        self._tell(*crossed_story(self._kernel, circle, bringers))

    def _tell_of_some(
        self,
        found: list[Thread],
        began: set[WaitId],
        story: Callable[[Kernel, list[Thread]], tuple[str, tuple[str, int]]],
    ) -> None:
        # Others may have run meanwhile: those that wait still have done so all the time.
        if found and all(each.parked and wait_id(each) in began for each in found):
            self._told.update(map(wait_id, found))
            self._tell(*story(self._kernel, found))

    def _look_if_idle(self) -> None:
        if self._kernel.blocking:
            self.look(0.0)

    def _circle(self, stuck: list[Thread]) -> list[Thread]:
        """Threads each of which waits for the next, and the last for the first."""
        waited_for = self._waited_for(stuck)
        return find_circle(
            stuck,
            lambda thread: waited_for.get(id(thread)),
            lambda found: not self._told.issuperset(map(wait_id, found)),
        )

    def _waited_for(self, stuck: list[Thread]) -> dict[int, Thread]:
        """By the id of a record: the one, among those that are stuck, that could end its wait."""
        from .holders import holder_in

        self._read_stacks(stuck)
        claims: dict[int, list[tuple[Thread, Claim]]] = {}
        for thread in stuck:
            for claim in self._held.get(wait_id(thread), ()):
                claims.setdefault(claim.key, []).append((thread, claim))
        ends = awaited_ends(self._kernel.threads.values())
        by_ident = {thread.ident: thread for thread in stuck}
        waited_for = {}
        for thread in stuck:
            other = ended_by(thread, ends)
            if other is not None:
                ident = other.ident
            else:
                holders = holder_in(thread.object, claims.get(id(thread.object), []))
                if len(holders) != 1 or not holders[0].is_sure:
                    continue
                ident = holders[0].ident
            if ident in by_ident:
                waited_for[id(thread)] = by_ident[ident]
        return waited_for

    def _read_stacks(self, stuck: list[Thread]) -> None:
        """Note what those hold of whom it is not known; a part of them, if there are many."""
        from .holders import claims_of

        waits = {wait_id(thread): thread for thread in stuck}
        self._held = {wait: held for wait, held in self._held.items() if wait in waits}
        for wait in [wait for wait in waits if wait not in self._held][:MOST]:
            self._held[wait] = claims_of(self._kernel, waits[wait])

    # -- telling -----------------------------------------------------------------------------

    def _tell(self, text: str, place: tuple[str, int]) -> None:
        error: Exception
        if self._raises:
            error = Deadlock(text)
        else:
            try:
                warn(text + _leading_to(place), place)
                return
            except CapriccioWarning as raised:
                error = raised.with_traceback(None)
        self._kernel.call_soon(self._raise_in_main, error)

    def _raise_in_main(self, error: Exception) -> None:
        kernel = self._kernel
        ident = kernel.main.ident
        for thread in top_records(kernel):
            if thread.ident == ident:
                kernel.interrupt(thread, partial(_raise, error))
                return


def _leading_to(place: tuple[str, int]) -> str:
    """What ends the text of a warning, behind which `warnings` shows the line of its place."""
    file, line = place
    with texts_compiled:
        is_shown = bool(whole("linecache").getline(file, line).strip())
    return f"\n\nthe line to look at first, {file.rpartition('/')[2]}:{line}" if is_shown else ""


def _raise(error: Exception) -> None:
    raise error
