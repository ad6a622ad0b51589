"""The audit with several schemes and interpreters: one column of the table for each.

"all" for the socket schemes and for the disk schemes gives a column to each of either kind, beside
the default of the other kind: what waits for a disk does not depend on how sockets are waited for.
Stock is run once for each interpreter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import available_backends, available_disk_backends
from . import report
from .runner import Outcome, Result, Runner, Verdict
from .scene import Row

__all__ = ["ALL", "Setting", "as_json", "settings", "table"]

ALL = "all"

_MARKS = {
    Verdict.COOPERATIVE: "+",
    Verdict.BLOCKS: "B",
    Verdict.FAILS: "F",
    Verdict.HANGS: "H",
    Verdict.SKIPPED: "-",
}


class Setting(NamedTuple):
    """What one column is run with; None leaves a scheme to the environment."""

    python: str
    sockio: str | None
    diskio: str | None
    scheduler: str | None

    def environ(self) -> dict[str, str]:
        """The variables that choose the schemes."""
        return {
            f"CAPRICCIO_{name.upper()}": value
            for name in ("sockio", "diskio", "scheduler")
            if (value := getattr(self, name)) is not None
        }

    def run(
        self,
        rows: list[Row],
        jobs: int,
        limit: float,
        again: int,
        stock: dict[str, Outcome],
        tell: Callable[[Result], None],
    ) -> list[Result]:
        """Run the rows; `stock` is what was found without the patch, and is added to."""
        runner = Runner(self.environ(), limit=limit, python=self.python, stock=stock, again=again)
        return runner.run(rows, jobs, tell)


def settings(
    pythons: list[str], sockio: str | None, diskio: str | None, scheduler: str | None
) -> list[Setting]:
    """The columns, in order."""
    schemes: list[tuple[str | None, str | None]] = [(sockio, diskio)]
    if ALL in (sockio, diskio):
        schemes = []
        if sockio == ALL:
            other = None if diskio == ALL else diskio
            schemes += [(name, other) for name in _runnable(available_backends())]
        if diskio == ALL:
            other = None if sockio == ALL else sockio
            schemes += [(other, name) for name in _runnable(available_disk_backends())]
    return [Setting(python, *both, scheduler) for python in pythons for both in schemes]


def _runnable(schemes: dict[str, str | None]) -> list[str]:
    return [name for name, reason in schemes.items() if reason is None]


def table(columns: list[list[Result]]) -> list[str]:
    """A line for each row, with a mark for each column; the columns; what is to be said of marks
    that are not "+"."""
    rows = [result.row for result in columns[0]]
    width = max(len(row.name) for row in rows)
    ends = [str(number % 10) for number in range(1, len(columns) + 1)]
    lines = []
    for number, results in enumerate(columns, 1):
        about = report.about(results)
        names = ", ".join(f"{key} {about[key]}" for key in ("sockio", "diskio", "scheduler"))
        lines.append(f"{number:3}: Python {about['python']}, {names}: {report.summary(results)}")
    lines += ["", f"{'call':{width}}  {' '.join(ends)}"]
    remarks: Counter[str] = Counter()
    for at, row in enumerate(rows):
        marks = " ".join(_MARKS[results[at].verdict] for results in columns)
        lines.append(f"{row.name:{width}}  {marks}")
        for results in columns:
            result = results[at]
            if result.verdict is not Verdict.COOPERATIVE:
                remarks[f"{row.name}: {result}"] += 1
            remarks.update(report.again(result))
    lines += ["", *(f"{text} ({count}x)" for text, count in remarks.items())]
    lines.append("+ cooperative, B blocks, F fails, H hangs, - skipped")
    return lines


def as_json(columns: list[list[Result]]) -> list[dict[str, Any]]:
    """The JSON of each column."""
    return [report.as_json(results) for results in columns]
