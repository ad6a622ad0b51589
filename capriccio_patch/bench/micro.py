"""``python -m capriccio_patch.bench micro``: what the primitives cost, by runtime.

The rows are those that the first paper on Capriccio (SOSP 2003) measured: creating threads,
switching between them, mutexes, a producer and a consumer, and pipes of which few are active.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING, Any

import psutil

from . import options
from .harness import runtimes
from .harness.children import Child, ChildFailed, Children
from .harness.sequence import COMPLETE, Found, measure_each, measuring

if TYPE_CHECKING:
    from .harness.progress import Bars

ROWS = {
    "create": "create, start and join a thread",
    "switch": "context switch (yield)",
    "hand over": "context switch by two locks",
    "uncontended": "uncontended mutex: take and release",
    "contended": "contended mutex, 10 threads",
    "produce": "producer and consumer, an item",
}
_LIMIT = 100.0  # seconds for a row
_IDLE_LIMIT = 6.0  # seconds without CPU after which a row is said to hang
_TICK = 0.04  # seconds of CPU that a runtime which hangs may use for its own keeping
_HANGS = "hangs"
FULL_IDLE = (0, 1000, 9000)
QUICK_IDLE = (0, 1000)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    options.add_runtimes(parser, "micro.json")


def run(args: argparse.Namespace) -> int:
    """Measure each runtime, print a table; the exit status."""
    if reason := options.need("rich"):
        return options.fail("micro", reason)
    from .harness.progress import Bars

    def measured(runtime: str, bars: Bars) -> Found:
        return measure(runtime, args.quick, bars)

    with Bars(len(args.runtimes)) as bars:
        found = measure_each("micro", args.runtimes, measured, line, args.output, bars)
    print(*lines(found), sep="\n")
    return 0 if all(each["ended"] == COMPLETE for each in found) else 1


def measure(runtime: str, quick: bool, bars: Bars) -> Found:
    """The CPU seconds of each operation, in each round, under a runtime."""
    found: Found = {"runtime": runtime, "cases": {}, "refused": {}}
    if reason := runtimes.missing(runtime):
        return found | {"ended": reason}
    idle = QUICK_IDLE if quick else FULL_IDLE
    command = runtimes.command(
        runtime,
        "primitives.py",
        f"--scale={0.2 if quick else 1.0}",
        f"--rounds={3 if quick else 5}",
        "--idle",
        *idle,
    )
    with Children() as children, measuring(found):
        child = children.start(runtimes.title(runtime), command)
        _watch(children, child, found, bars, len(ROWS) + len(idle))
    return found


def _watch(children: Children, child: Child, found: Found, bars: Bars, expected: int) -> None:
    """Note what it tells, until it ends or a row takes too long."""
    row, silence = "", _Silence(child.pid)
    while children.running():
        for _, message in children.read(0.5):
            silence = _Silence(child.pid)
            if "begins" in message:
                row = message["begins"]
            elif "refused" in message:
                found["refused"][row] = message["refused"]
            else:
                found["cases"][row] = message["seconds"]
            bars.say((len(found["cases"]) + len(found["refused"])) / expected, row)
        if row and silence.idle() > _IDLE_LIMIT:
            found["refused"][row] = _HANGS
            return
        if silence.seconds() > _LIMIT:
            if not row:
                raise ChildFailed(f"it says nothing for {_LIMIT:.0f} s")
            found["refused"][row] = f"over {_LIMIT:.0f} s"
            return


class _Silence:
    """Since a process was last heard of.

    One that is idle hangs; one that is not may only have to share its CPU with many others.
    """

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._since = self._active = time.monotonic()
        self._cpu = 0.0

    def seconds(self) -> float:
        """How long it lasts."""
        return time.monotonic() - self._since

    def idle(self) -> float:
        """For how many seconds it has used no CPU."""
        try:
            cpu = sum(self._process.cpu_times()[:2])
        except psutil.Error:
            return 0.0
        if cpu > self._cpu + _TICK:
            self._cpu, self._active = cpu, time.monotonic()
        return time.monotonic() - self._active


def line(found: Found) -> str:
    """A runtime's result in a few words."""
    return f"{runtimes.title(found['runtime'])}: primitives {found['ended']}"


def rows(results: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The key of each row, and what it says."""
    keys = dict.fromkeys(key for found in results for key in (*found["cases"], *found["refused"]))
    return [
        (key, ROWS.get(key) or f"pipe, there and back, 10 active and {key.split()[1]} idle")
        for key in keys
    ]


def cell(found: dict[str, Any], key: str) -> str:
    """The median of a row under a runtime, in microseconds."""
    if key in found["cases"]:
        return f"{1e6 * statistics.median(found['cases'][key]):.2f}"
    return str(found["refused"].get(key, "-"))[:16]


def lines(results: list[dict[str, Any]]) -> list[str]:
    """The table of all runtimes."""
    titles = "".join(f"{runtimes.title(found['runtime']):>17}" for found in results)
    table = [f"{'microseconds of CPU, median':44}{titles}"]
    for key, title in rows(results):
        table.append(f"{title:44}" + "".join(f"{cell(found, key):>17}" for found in results))
    table += [
        f"{runtimes.title(found['runtime'])}: {found['ended']}"
        for found in results
        if found["ended"] != COMPLETE
    ]
    return table
