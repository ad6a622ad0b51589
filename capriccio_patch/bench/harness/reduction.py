"""What follows from the values of several rounds.

A ratio is taken round by round, between values of the same moment; the median of these is told,
with the quartiles.
"""

from __future__ import annotations

import math
import statistics

__all__ = ["interval", "middle", "quartiles", "ratios"]

_Z = 1.96


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """The lower quartile, the median and the upper one."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def middle(values: list[float]) -> float:
    """The median."""
    return quartiles(values)[1]


def ratios(of: list[float], to: list[float]) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(of, to, strict=False)]


def interval(values: list[float]) -> tuple[float, float, float]:
    """The median in the middle of the bounds between which it lies with 95 %.

    By order statistics, which suppose nothing of how the values are spread.
    """
    ordered = sorted(values)
    count = len(ordered)
    reach = _Z * math.sqrt(count) / 2
    low = max(0, math.floor(count / 2 - reach) - 1)
    high = min(count - 1, math.ceil(count / 2 + reach))
    return ordered[low], statistics.median(ordered), ordered[high]
