"""The watchdog's OS thread asleep: what it is woken by, and for how long it need not look.

1. `Sleeper.wake` and `Sleeper.stop` are for any OS thread, and don't wait; the rest is its own.
2. What ends a sleep that comes later is not lost.
"""

from __future__ import annotations

from collections.abc import Callable

from ..cpython import originals
from .lateness import Lateness, kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

__all__ = ["Pulse", "Sleeper"]

_LONGEST = 1000.0
"""Seconds; for what a search has used in a look it may have to pause for some hundred."""


class Pulse(Protocol):
    """What the compiled core tells without the GIL: whether threads switch (core/pulse.c)."""

    def watch(
        self,
        word: bytearray,
        schedstat: int,
        pause: float,
        period: float,
        slice_: float,
        until: float,
    ) -> tuple[int, float, float, float, bool] | None:
        """Sleep for `pause` seconds, and for some `period` more each time that threads have
        switched meanwhile or, a few times in a row, the kernel waits; `until` that time of the
        kernel's clock.

        Returns how often that was so, when it was found last, for how long the scheduler's OS
        thread had had no CPU then (`schedstat` is its file), the last pause, and whether nothing
        has switched in it; None where nothing is known.
        """

    def wake(self, word: bytearray) -> None:
        """End the sleep of who watches by `word`, or its next one."""


class Sleeper:
    """An OS thread of the watchdog's."""

    __slots__ = ("_pulse", "_wakeup", "_word", "ended", "stopping")

    def __init__(self, pulse: Pulse | None) -> None:
        """`pulse` is the compiled core's, if there is one."""
        self._pulse = pulse
        self._word = bytearray(8)
        self._wakeup = originals.allocate_lock()
        self.ended = originals.allocate_lock()
        """Released when it has."""
        self.stopping = False
        originals.lock_acquire(self._wakeup)
        originals.lock_acquire(self.ended)

    def wake(self) -> None:
        """End its `sleep`."""
        try:
            originals.lock_release(self._wakeup)
        except RuntimeError:
            pass  # it has been woken, and is about to look

    def stop(self) -> None:
        """Have it end."""
        self.stopping = True
        self.wake()
        if self._pulse is not None:
            self._pulse.wake(self._word)

    def sleep(self, seconds: float = -1.0) -> bool:
        """Sleep, for so many `seconds` at most; whether it was woken."""
        return bool(originals.lock_acquire(self._wakeup, True, seconds))

    def sleep_and_look(self, pause: float, look: Callable[[], float]) -> bool:
        """Sleep, for `_LONGEST` seconds about; whether it was woken.

        ``look()`` is called after `pause` seconds, and again after twice as many each time, or when
        it says: what there was no time for at one look is to be done at another.
        """
        while pause < _LONGEST:
            if self.sleep(pause):
                return True
            pause = max(2 * pause, look())
        return False

    def pause(
        self, native_id: int, times: tuple[float, float, float, float], lateness: Lateness
    ) -> tuple[float, bool]:
        """Sleep until it is time to look at the OS thread `native_id`.

        `times` are the pause, period and slice in seconds, and the time of the kernel's clock at
        which to look in any case.  Returns the last pause, and whether nothing is known to have
        switched in it; `lateness` goes on from its beginning.
        """
        schedstat = kept(native_id)
        if self._pulse is not None and schedstat >= 0:
            found = self._pulse.watch(self._word, schedstat, *times)
            if found is not None:
                looks, when, delay, pause, is_still = found
                if looks:
                    lateness.go_on_from(when, looks, delay)
                return pause, is_still
        self.sleep(times[0])
        return times[0], False
