"""Makes what differs smaller: leaves out items, then settings, as long as it still differs.

After Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input" (2002), with a test
that may fail by chance: who asks says how often each candidate is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def shrink(items: Sequence[int], differs: Callable[[set[int]], bool]) -> set[int]:
    """Of `items`, those that can be left out together while ``differs(left out)`` stays true.

    No single further one can, if the answers are always the same.  `differs` may return false
    because time is up.
    """
    left = list(items)
    dropped: set[int] = set()
    size = max(1, len(left) // 2)
    while left:
        progress = False
        at = 0
        while at < len(left):
            chunk = left[at : at + size]
            if differs(dropped | set(chunk)):
                dropped |= set(chunk)
                left[at : at + size] = []
                progress = True
            else:
                at += size
        if size > 1:
            size //= 2
        elif not progress:
            break
    return dropped
