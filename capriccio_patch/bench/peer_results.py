"""The results of `bench peers`: their file, ratios and table.

A ratio is taken round by round, between values of the same moment; the median of these is told,
with the quartiles.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .peer_cases import CASES, RUNTIMES, Case, Target

__all__ = ["ResultError", "load", "quartiles", "ratios", "table", "verdict", "width"]

FORMAT = "capriccio_patch peers 1"
OURS = "capriccio"
_UNITS = {"us": 1e6, "ns": 1e9, "ms": 1e3, "B": 1.0, "/s": 1.0}


class ResultError(Exception):
    """A file that is no result; the text says why."""


def load(path: str) -> dict[str, Any]:
    """A result that `bench peers --json` wrote."""
    try:
        result = json.loads(Path(path).read_text())
    except OSError as error:
        raise ResultError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ResultError(f"{path}: no JSON: {error}") from None
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise ResultError(f"{path}: not a result of `bench peers` ({FORMAT})")
    cases = result.get("cases")
    if not isinstance(cases, dict) or not all(map(_is_case, cases.values())):
        raise ResultError(f"{path}: its cases are no lists of numbers by runtime")
    return result


def _is_case(case: Any) -> bool:
    return isinstance(case, dict) and all(
        isinstance(values, list)
        and values
        and all(isinstance(value, (int, float)) and value > 0 for value in values)
        for values in case.values()
    )


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """The lower quartile, the median and the upper one."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratios(of: list[float], to: list[float]) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(of, to, strict=False)]


def verdict(case: Case, target: Target, values: dict[str, list[float]]) -> tuple[str, bool] | None:
    """What to say of a target and whether it is met; None without values."""
    if OURS not in values or target.peer not in values:
        return None
    low, middle, high = quartiles(ratios(values[OURS], values[target.peer]))
    met = middle >= target.ratio if case.more_is_better else middle <= target.ratio
    bound = "at least" if case.more_is_better else "at most"
    text = f"{middle:.2f} [{low:.2f}-{high:.2f}] of {target.peer}, {bound} {target.ratio:.2f}"
    return text, met


def width(case: Case, values: list[float]) -> str:
    """The median with the quartiles, in the case's unit."""
    low, middle, high = (value * _UNITS[case.unit] for value in quartiles(values))
    digits = 0 if middle >= 1000 else 1 if middle >= 100 else 2
    return f"{middle:,.{digits}f} [{low:,.{digits}f}-{high:,.{digits}f}]"


def table(result: dict[str, Any]) -> Iterator[str]:
    """The lines of a Markdown table."""
    cases = result["cases"]
    columns = [name for name in RUNTIMES if any(name in values for values in cases.values())]
    yield f"| case | unit | {' | '.join(columns)} | ratio | met |"
    yield f"|---|---|{'---|' * len(columns)}---|---|"
    for case in CASES:
        values = cases.get(case.name)
        if values is None:
            continue
        cells = [width(case, values[name]) if name in values else "" for name in columns]
        verdicts = [each for each in (verdict(case, t, values) for t in case.targets) if each]
        ratio = "; ".join(text for text, _ in verdicts)
        met = ", ".join("yes" if met else "no" for _, met in verdicts)
        yield f"| {case.title} | {case.unit} | {' | '.join(cells)} | {ratio} | {met} |"
