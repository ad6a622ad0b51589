"""All rows, each in interpreters of its own, with the patch and under stock; the verdict on each.

1. A row that is not cooperative in the crowd is run again, alone, when all others are over, up to
   `AGAIN` times; only then is it called so.  A machine that is busy with something else makes any
   thread late; a call that blocks does so each time.  What was said of the runs before is kept.
2. Nothing of a row is left behind: its children share a process group, which is killed, and its
   files a directory, which is removed.
3. The interpreters are started with the environment of this one, except that what would patch them
   at their start is taken out.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from .scene import DELAY, Kind, Row

__all__ = ["AGAIN", "LIMIT", "Outcome", "Result", "Runner", "Verdict", "judge"]

LIMIT = 10.0
"""Seconds that one interpreter has, normally; then it tells where it hangs, and ends."""
AGAIN = 2
"""How often, normally, a row is run again that does not look cooperative."""
_GRACE = 10.0
_LEAST = 0.05
"""Seconds that a device must take for anything to be told."""
_TICKS = 5
_ROOT = str(Path(__file__).resolve().parents[2])


class Verdict(Enum):
    """What is to be said of one row."""

    COOPERATIVE = "cooperative"
    BLOCKS = "blocks"
    FAILS = "fails"
    HANGS = "hangs"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Outcome:
    """What one interpreter had to say of a row; times in seconds."""

    outcome: str = ""
    """What the row returned or raised."""
    waited: float = 0.0
    gap: float = 0.0
    ticks: int = 0
    skip: str = ""
    """What this platform lacks for the row."""
    crash: str = ""
    """How the interpreter ended, if it had nothing to say."""
    hangs: bool = False
    began: bool = False
    python: str = ""
    sockio: str = ""
    diskio: str = ""
    scheduler: str = ""
    errors: str = ""
    """What was written to standard error."""


@dataclass(frozen=True)
class Result:
    """A row, what became of it, and why."""

    row: Row
    verdict: Verdict
    reason: str
    patched: Outcome
    stock: Outcome
    before: tuple[str, ...] = ()
    """What was said of it in the runs before this one, none of which was good."""

    @property
    def good(self) -> bool:
        """Whether there is nothing to be mended."""
        return self.verdict in (Verdict.COOPERATIVE, Verdict.SKIPPED)

    def __str__(self) -> str:
        return f"{self.verdict.value} {self.reason}".strip()


def judge(kind: Kind, patched: Outcome, stock: Outcome) -> tuple[Verdict, str]:
    """The verdict on a row, and its reason ("" if cooperative)."""
    if stock.skip:
        return Verdict.SKIPPED, stock.skip
    for outcome, whose in ((stock, "without the patch, too"), (patched, "")):
        if outcome.hangs:
            return Verdict.HANGS, whose
        if outcome.skip or outcome.crash:
            return Verdict.FAILS, f"{outcome.skip or outcome.crash} {whose}".strip()
        if not outcome.began:
            return Verdict.FAILS, f"{outcome.outcome} before the call {whose}".strip()
    if patched.outcome != stock.outcome:
        return Verdict.FAILS, f"{patched.outcome}, where stock has {stock.outcome}"
    waited = min(patched.waited, stock.waited)
    if kind is Kind.DEVICE and waited < _LEAST:
        return Verdict.SKIPPED, f"answered in {waited * 1000:.0f} ms, too soon to tell"
    if kind is Kind.ENDED and waited < DELAY / 2:
        return Verdict.FAILS, f"did not wait ({patched.waited:.3f} s, stock {stock.waited:.3f} s)"
    limit = min(patched.waited, DELAY) / 2
    if patched.gap >= limit:
        return Verdict.BLOCKS, f"no tick for {patched.gap:.3f} s"
    if patched.ticks < _TICKS:
        return Verdict.BLOCKS, f"{patched.ticks} ticks in {patched.waited:.3f} s"
    return Verdict.COOPERATIVE, ""


class Runner:
    """Runs rows, each for `limit` seconds at most, and up to `again` times more.

    `environ` is added to what the patched interpreters find in theirs.  `stock` has by name of the
    row what is known of it without the patch, and is added to.
    """

    def __init__(
        self,
        environ: dict[str, str],
        stock_only: bool = False,
        limit: float = LIMIT,
        python: str = sys.executable,
        stock: dict[str, Outcome] | None = None,
        again: int = AGAIN,
    ) -> None:
        self._limit = limit
        self._again_at_most = again
        self._python = os.path.abspath(shutil.which(python) or python)
        self._known = {} if stock is None else stock
        self._stock = {
            name: value
            for name, value in os.environ.items()
            if name not in ("CAPRICCIO_PATCH", "PYTHONUNBUFFERED")
        }
        path = self._stock.get("PYTHONPATH")
        self._stock["PYTHONPATH"] = os.pathsep.join([_ROOT, *([path] if path else [])])
        self._patched = {**self._stock, **environ}
        self._stock_only = stock_only

    def run(self, rows: Iterable[Row], jobs: int, tell: Callable[[Result], None]) -> list[Result]:
        """Run the rows, `jobs` at once, and those that look bad again, one at a time.

        `tell` hears of each row that is settled, in the order of `rows`, before any runs again.
        """
        with ThreadPoolExecutor(jobs) as pool, ThreadPoolExecutor(jobs) as others:
            results = []
            for result in pool.map(lambda row: self._run_one(row, others), rows):
                results.append(result)
                tell(result)
        return [self._again(result) for result in results]

    def _again(self, result: Result) -> Result:
        """The first good one of some more runs, or the last."""
        for _ in range(self._again_at_most):
            if result.good:
                break
            before = (*result.before, str(result))
            result = replace(self._run_one(result.row, None), before=before)
        return result

    def _run_one(self, row: Row, others: ThreadPoolExecutor | None) -> Result:
        """Run one row with the patch and without: at the same time if there is a pool for it."""
        if others is not None and row.name in self._known:
            stock = self._known[row.name]
            patched = self._observe(row, "patched", self._patched)
        elif others is None or self._stock_only:
            stock = self._observe(row, "stock", self._stock)
            patched = stock
            if not self._stock_only:
                patched = self._observe(row, "patched", self._patched)
        else:
            future = others.submit(self._observe, row, "stock", self._stock)
            patched = self._observe(row, "patched", self._patched)
            stock = future.result()
        self._known[row.name] = stock
        verdict, reason = judge(row.kind, patched, stock)
        return Result(row, verdict, reason, patched, stock)

    def _observe(self, row: Row, how: str, environ: dict[str, str]) -> Outcome:
        """One interpreter, one row."""
        directory = tempfile.mkdtemp(prefix="audit-")
        command = [self._python, "-P", "-m", "capriccio_patch.audit.child"]
        try:
            with tempfile.TemporaryFile() as errors:
                process = subprocess.Popen(
                    [*command, how, row.module, row.name, str(self._limit), directory],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=environ,
                    start_new_session=True,
                )
                report = _read_report(process, self._limit + _GRACE)
                errors.seek(0)
                text = errors.read().decode(errors="replace")
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        if not report:
            return Outcome(crash=f"exit status {process.returncode}", errors=text)
        return Outcome(errors=text, **report)


def _read_report(process: subprocess.Popen[bytes], timeout: float) -> dict[str, Any]:
    """The last line that a child writes, if it ends in time; its process group is gone then."""
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    output, _ = process.communicate()
    line = output.rstrip(b"\n").rpartition(b"\n")[2]
    try:
        report: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return report
