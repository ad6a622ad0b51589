"""``python -m capriccio_patch.bench micro``: what the primitives cost, by runtime.

The rows are those that the first paper on Capriccio (SOSP 2003) measured: creating threads,
switching between them, mutexes, a producer and a consumer, and pipes of which few are active.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from . import conditions, options, runtimes
from .children import ChildFailed, Children
from .load import COMPLETE, INTERRUPTED, PROGRAMS
from .progress import Bars

ROWS = {
    "create": "create, start and join a thread",
    "switch": "context switch (yield)",
    "hand over": "context switch by two locks",
    "uncontended": "uncontended mutex: take and release",
    "contended": "contended mutex, 10 threads",
    "produce": "producer and consumer, an item",
}
_LIMIT = 60.0  # seconds for a row, and with --quick:
_QUICK_LIMIT = 6.0
_HANGS = "hangs"
FULL_IDLE = (0, 1000, 9000)
QUICK_IDLE = (0, 1000)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--runtimes", nargs="+", choices=runtimes.NAMES, default=runtimes.NAMES)
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="keep micro.json there")


def run(args: argparse.Namespace) -> int:
    """Measure each runtime, print a table; the exit status."""
    if reason := options.need("rich"):
        return options.fail("micro", reason)
    found = []
    with Bars(len(args.runtimes)) as bars:
        for runtime in args.runtimes:
            bars.begin(f"micro: {runtimes.TITLES[runtime]}")
            found.append(measure(runtime, args.quick, bars))
            bars.end(f"{runtimes.TITLES[runtime]}: {found[-1]['ended']}")
            if found[-1]["ended"] == INTERRUPTED:
                break
    print(*lines(found), sep="\n")
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        result = {"kind": "micro", "conditions": conditions.describe(), "runtimes": found}
        (args.output / "micro.json").write_text(json.dumps(result, indent=1))
    return 0 if all(each["ended"] == COMPLETE for each in found) else 1


def measure(runtime: str, quick: bool, bars: Bars) -> dict[str, Any]:
    """The seconds of each operation, in each round, under a runtime."""
    found: dict[str, Any] = {"runtime": runtime, "cases": {}, "refused": {}}
    if reason := runtimes.missing(runtime):
        return found | {"ended": reason}
    idle = QUICK_IDLE if quick else FULL_IDLE
    expected = len(ROWS) + len(idle)
    began = time.monotonic()
    with Children() as children:
        try:
            children.start(
                runtimes.TITLES[runtime],
                runtimes.command(
                    runtime,
                    PROGRAMS / "primitives.py",
                    f"--scale={0.2 if quick else 1.0}",
                    f"--rounds={3 if quick else 5}",
                    "--idle",
                    *idle,
                ),
            )
            limit = _QUICK_LIMIT if quick else _LIMIT
            row, began = "", time.monotonic()
            while children.running():
                for _, message in children.read(0.5):
                    began = time.monotonic()
                    if "begins" in message:
                        row = message["begins"]
                    elif "refused" in message:
                        found["refused"][row] = message["refused"]
                    else:
                        found["cases"][row] = message["seconds"]
                    done = len(found["cases"]) + len(found["refused"])
                    bars.say(done / expected, row)
                if time.monotonic() - began > limit:
                    found["refused"][row] = _HANGS
                    break
            found["ended"] = COMPLETE
        except KeyboardInterrupt:
            found["ended"] = INTERRUPTED
        except ChildFailed as error:
            found["ended"] = str(error)
    return found


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
    titles = "".join(f"{runtimes.TITLES[found['runtime']]:>17}" for found in results)
    table = [f"{'microseconds, median':44}{titles}"]
    for key, title in rows(results):
        table.append(f"{title:44}" + "".join(f"{cell(found, key):>17}" for found in results))
    table += [
        f"{runtimes.TITLES[found['runtime']]}: {found['ended']}"
        for found in results
        if found["ended"] != COMPLETE
    ]
    return table
