"""Runs a program in an interpreter of its own, stock or patched, and compares two runs.

A run ends with the program, or with the time limit; then every process of it is asked for the
stacks of its threads (by SIGQUIT, for which faulthandler is registered; before that by
faulthandler's own timer, which sees user-level threads as well), and killed.  What a program leaves
behind is killed too: each runs in a session of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from settings import Settings

_FOR_STACKS = 0.5
_ADDED = "capriccio_patch: failed with --seed"


@dataclass(frozen=True)
class Run:
    """What can be seen of a run; `status` is negative for a signal, None for a hang."""

    status: int | None
    output: str
    errors: str
    seconds: float

    @property
    def hung(self) -> bool:
        return self.status is None

    @property
    def visible(self) -> tuple[int | None, str, tuple[str, ...]]:
        """What two runs must have in common; several threads' tracebacks come in any order."""
        errors = [each for each in self.errors.splitlines() if not each.startswith(_ADDED)]
        return self.status, self.output, tuple(sorted(errors))


def run(program: Path, settings: Settings | None, limit: float, more: Mapping[str, str]) -> Run:
    """Run a program, patched if there are settings, with `more` in the environment."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("CAPRICCIO_", "PYTHON"))}
    environ |= {"FUZZ_STACKS": str(limit - 2), "PYTHONDONTWRITEBYTECODE": "1", **more}
    command = [sys.executable, "-W", "ignore"]
    if settings is not None:
        environ |= settings.environ()
        if not settings.late:
            command += ["-m", "capriccio_patch"]
    directory = Path(tempfile.mkdtemp(prefix="run", dir=program.parent))
    try:
        with open(directory / "stdout", "wb") as out, open(directory / "stderr", "wb") as err:
            began = time.monotonic()
            process = subprocess.Popen(
                [*command, str(program)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=directory,
                env=environ,
                start_new_session=True,
            )
            status = _wait(process, limit)
            seconds = time.monotonic() - began
        texts = [(directory / n).read_text(errors="replace") for n in ("stdout", "stderr")]
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Run(status, *texts, seconds)


def _wait(process: subprocess.Popen[bytes], limit: float) -> int | None:
    """The exit status, or None if it had to be killed."""
    status: int | None = None
    try:
        status = process.wait(limit)
    except subprocess.TimeoutExpired:
        for pid in _session(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)
            time.sleep(_FOR_STACKS)
    _signal_all(process, signal.SIGKILL)
    process.wait()
    return status


def _session(leader: int) -> list[int]:
    """The processes of a session; one after the other writes its stacks."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader:
                found.append(pid)
    return found[:8]


def _signal_all(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def differs(stock: Run, patched: Run) -> str | None:
    """In what two runs differ, in a word."""
    if stock.visible == patched.visible:
        return None
    if patched.hung:
        return "hang"
    if stock.status != patched.status:
        return f"status {patched.status} instead of {stock.status}"
    return "output" if stock.output != patched.output else "errors"
