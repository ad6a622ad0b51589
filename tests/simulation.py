"""A kernel whose time and events are the test's: nothing here waits for anything real."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from capriccio_patch.core.binding import Core
from capriccio_patch.schedulers.fifo import FifoScheduler

Event = Callable[[], Any]


class Deadlock(Exception):
    """Nobody can run, no deadline is left and the script is at its end."""


class Clock:
    """Seconds that pass when somebody says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class ScriptedBackend:
    """A scheme whose polls make the calls of a script, one a poll, and then let time pass.

    If a call returns a list, that is what the poll has found.
    """

    name = "scripted"
    edge_triggered = False
    holds_files = False

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.script: deque[Event] = deque()
        self.timeouts: list[float | None] = []
        self.notified = 0

    def poll(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        self.timeouts.append(timeout)
        if self.script:
            events = self.script.popleft()()
            if isinstance(events, list):
                return events
        elif timeout is None:
            raise Deadlock
        else:
            self.clock.now += timeout
        return ()

    def notify(self) -> None:
        self.notified += 1


class Simulation:
    """A kernel over a scripted backend, and what its threads have noted, in order."""

    def __init__(self, scheduler: Any = None) -> None:
        self.clock = Clock()
        self.backend = ScriptedBackend(self.clock)
        core = Core(os.environ.get("CAPRICCIO_CORE", "auto"))
        self.kernel = core.kernel(
            self.backend, FifoScheduler() if scheduler is None else scheduler, self.clock
        )
        core.bind(None)
        self.log: list[Any] = []

    def during_polls(self, *events: Event) -> None:
        """Have the coming polls make these calls."""
        self.backend.script.extend(events)

    def run(self, calls: Iterable[Callable[[], Any]]) -> None:
        """Start threads and park until the last has ended."""
        kernel = self.kernel
        left = list(calls)

        def thread(call: Callable[[], Any]) -> Callable[[], None]:
            def run() -> None:
                try:
                    call()
                finally:
                    left.remove(call)
                    if not left:
                        kernel.resume(main)

            return run

        main = kernel.begin()
        for call in list(left):
            kernel.spawn(thread(call))
        kernel.park(main)

    def wait(self, timeout: float | None = None) -> bool:
        """Park the current thread until somebody resumes it; False when the time is up."""
        me = self.kernel.begin()
        deadline = None if timeout is None else self.clock() + timeout
        return self.kernel.park(me, deadline)
