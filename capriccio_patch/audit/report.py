"""What the audit found, as a table and as JSON."""

from __future__ import annotations

import platform
from collections import Counter
from typing import Any

from .runner import Outcome, Result, Verdict

__all__ = ["about", "again", "as_json", "details", "header", "line", "summary"]

_COLOURS = {
    Verdict.COOPERATIVE: "\033[32m",
    Verdict.BLOCKS: "\033[31m",
    Verdict.FAILS: "\033[31m",
    Verdict.HANGS: "\033[1;31m",
    Verdict.SKIPPED: "\033[2m",
}
_PLAIN = "\033[0m"
_WIDTH = 11
_LINES = 40


def header(results: list[Result], width: int) -> list[str]:
    """What was audited, and the heads of the columns."""
    found = about(results)
    with_ = ", ".join(f"{key} {value}" for key, value in found.items() if key != "python")
    columns = f"{'call':{width}}  {'verdict':{_WIDTH}} {'gap':>7} {'time':>7} {'stock':>7}"
    return [f"Python {found['python']}: {with_}", "", columns + "   (longest gap, times in ms)"]


def line(result: Result, width: int, coloured: bool) -> str:
    """One row of the table."""
    verdict = f"{result.verdict.value:{_WIDTH}}"
    if coloured:
        verdict = _COLOURS[result.verdict] + verdict + _PLAIN
    patched, stock = result.patched, result.stock
    times = (patched.gap, patched.waited, stock.waited)
    figures = " ".join(f"{1000 * value:7.0f}" if patched.began else f"{'':7}" for value in times)
    return f"{result.row.name:{width}}  {verdict} {figures}   {result.reason}".rstrip()


def details(result: Result) -> list[str]:
    """What a row that is not cooperative wrote to standard error."""
    text = (result.stock if result.stock.hangs else result.patched).errors.strip().splitlines()
    return [f"--- {result.row.name}", *text[-_LINES:]] if text else []


def summary(results: list[Result]) -> str:
    """How many of each verdict."""
    counts = Counter(result.verdict for result in results)
    parts = [f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict]]
    text = f"{len(results)} calls: " + ", ".join(parts)
    again = sum(result.good and bool(result.before) for result in results)
    return f"{text} ({again} of them not until run again, alone)" if again else text


def again(result: Result) -> list[str]:
    """What was said of a good row before it was run again, alone."""
    if not (result.good and result.before):
        return []
    return [f"{result.row.name}: before it was run again, alone: {', then '.join(result.before)}"]


def as_json(results: list[Result]) -> dict[str, Any]:
    """Everything; times in seconds."""
    return {
        **about(results),
        "summary": dict(Counter(result.verdict.value for result in results)),
        "rows": [
            {
                "name": result.row.name,
                "verdict": result.verdict.value,
                "reason": result.reason,
                "before": result.before,
                "gap": result.patched.gap,
                "time": result.patched.waited,
                "result": result.patched.outcome,
                "stock_gap": result.stock.gap,
                "stock_time": result.stock.waited,
                "stock_result": result.stock.outcome,
                "errors": result.patched.errors if not result.good else "",
            }
            for result in results
        ],
    }


def about(results: list[Result]) -> dict[str, str]:
    """The interpreter and the schemes that were in force."""
    first = next((result.patched for result in results if result.patched.sockio), Outcome())
    return {
        "python": first.python or platform.python_version(),
        "platform": f"{platform.system()} {platform.release()}",
        "sockio": first.sockio or "none",
        "diskio": first.diskio or "none",
        "scheduler": first.scheduler or "none",
    }
