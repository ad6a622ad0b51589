"""Bars that tell how far a long measurement is; on standard error, if that is a terminal.

Elsewhere one line is printed when a run begins, and nothing in between.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Bars:
    """One bar for all runs, one for the run that goes on; a context manager."""

    def __init__(self, runs: int) -> None:
        console = Console(stderr=True)
        self._live = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[said]}"),
            console=console,
            disable=not self._live,
        )
        self._runs = runs
        self._all = self._progress.add_task("all runs", total=runs, said="")
        self._one = self._progress.add_task("", total=1, said="", visible=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.update(self._one, visible=False)
        self._progress.stop()

    def begin(self, title: str) -> None:
        """A run of this title begins."""
        done = int(self._progress.tasks[self._all].completed)
        self._progress.reset(self._one, description=title, total=1, said="", visible=True)
        self._progress.update(self._all, said=f"{done + 1} of {self._runs}")
        if not self._live:
            print(f"{done + 1}/{self._runs} {title}", file=sys.stderr, flush=True)

    def report(self, phase: str, part: float, so_far: dict[str, Any]) -> None:
        """The run is `part` (0 to 1) done."""
        if "ready" in so_far:
            said = f"{phase}, {so_far['ready']:,} ready"
        else:
            said = (
                f"{phase}  {so_far['rate']:,.0f} requests/s  {so_far['open']:,.0f} open"
                f"  {so_far['failures']:,} failed"
            )
        self._progress.update(self._one, completed=part, said=said)

    def say(self, part: float, said: str) -> None:
        """The run is `part` done, with this to say of it."""
        self._progress.update(self._one, completed=part, said=said)

    def end(self, result: str) -> None:
        """The run has ended; `result` stays in view."""
        self._progress.advance(self._all)
        if self._live:
            self._progress.console.print(result, highlight=False)
        else:
            print(f"    {result}", file=sys.stderr, flush=True)
