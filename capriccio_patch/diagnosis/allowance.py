"""How much of the time a search may take that is made now and then.

A thousandth of what goes by, on the whole.  What was not used is saved up to `MOST_SAVED`, so that
a program which has run for a while without need of a search has its first ones at once.

Any OS thread that has the GIL, one at a time.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["SHARE", "Allowance"]

SHARE = 1000
"""A search takes no more of the time than one part of so many."""
MOST_SAVED = 0.1
"""Seconds of CPU: what the first searches take on a slow machine, with what they import."""


class Allowance:
    """What is left for a search, in seconds of CPU."""

    __slots__ = ("_at", "_clock", "_left")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left = MOST_SAVED
        self._at = clock()

    def pause_after(self, used: float) -> float:
        """A search has taken `used` seconds of CPU: after how many seconds may the next begin?"""
        now = self._clock()
        self._left = min(self._left + (now - self._at) / SHARE, MOST_SAVED) - used
        self._at = now
        return max(0.0, -self._left * SHARE)
