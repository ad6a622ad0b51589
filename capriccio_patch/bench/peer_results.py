"""The results of `bench peers`: their file and their tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .harness.reduction import middle, quartiles, ratios
from .harness.runtimes import NAMES, OURS
from .harness.tables import markdown
from .peer_cases import CASES, GROWTH, Case, Target

__all__ = ["FORMAT", "ResultError", "growth_table", "load", "table", "verdict", "verdicts", "width"]

FORMAT = "capriccio_patch peers 1"
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


def verdict(case: Case, target: Target, values: dict[str, list[float]]) -> tuple[str, bool] | None:
    """What to say of a target and whether it is met; None without values."""
    if OURS not in values or target.peer not in values:
        return None
    low, median, high = quartiles(ratios(values[OURS], values[target.peer]))
    met = median >= target.ratio if case.more_is_better else median <= target.ratio
    bound = "at least" if case.more_is_better else "at most"
    text = f"{median:.2f} [{low:.2f}-{high:.2f}] of {target.peer}, {bound} {target.ratio:.2f}"
    return text, met


def verdicts(case: Case, values: dict[str, list[float]]) -> list[tuple[str, bool]]:
    """That of each target, and of the bound that no peer sets."""
    found = [each for target in case.targets if (each := verdict(case, target, values))]
    if case.most and OURS in values:
        bound = f"{case.most * _UNITS[case.unit]:,.0f}"
        found.append((f"at most {bound} {case.unit}", middle(values[OURS]) <= case.most))
    return found


def width(case: Case, values: list[float]) -> str:
    """The median with the quartiles, in the case's unit."""
    low, median, high = (value * _UNITS[case.unit] for value in quartiles(values))
    digits = 0 if median >= 1000 else 1 if median >= 100 else 2
    return f"{median:,.{digits}f} [{low:,.{digits}f}-{high:,.{digits}f}]"


def table(result: dict[str, Any]) -> list[str]:
    """The lines of a table of the cases."""
    cases = result["cases"]
    columns = [name for name in NAMES if any(name in values for values in cases.values())]
    rows = []
    for case in CASES:
        values = cases.get(case.name)
        if values is None:
            continue
        cells = [width(case, values[name]) if name in values else "" for name in columns]
        told = verdicts(case, values)
        ratio = "; ".join(text for text, _ in told)
        met = ", ".join("yes" if met else "no" for _, met in told)
        rows.append([case.title, case.unit, *cells, ratio, met])
    return markdown(["case", "unit", *columns, "ratio", "met"], rows)


def growth_table(result: dict[str, Any]) -> list[str]:
    """The lines of a table for each operation whose cost may grow; nothing if none was measured."""
    lines = []
    for key, by_runtime in result.get("growth", {}).items():
        sizes = sorted({int(size) for values in by_runtime.values() for size in values})
        rows = [
            [
                runtime,
                *(
                    f"{middle(values[str(size)]) * 1e6:.2f}" if str(size) in values else ""
                    for size in sizes
                ),
            ]
            for runtime, values in by_runtime.items()
        ]
        heads = [f"{GROWTH[key]}, us, beside", *(f"{size:,}" for size in sizes)]
        lines += ["", *markdown(heads, rows)]
    return lines
