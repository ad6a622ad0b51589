"""python -m capriccio_patch.bench compare A.json B.json: two results of `bench peers`.

Two runs meet different moments of a machine.  So beside the change of each case stands the change
of what the peers took for the same in these runs, and the one divided by the other.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

from .harness.reduction import middle
from .harness.runtimes import OURS
from .harness.tables import markdown
from .peer_cases import CASES
from .peer_results import ResultError, load, width

__all__ = ["add_arguments", "compare", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two files."""
    parser.add_argument("before", metavar="A.json")
    parser.add_argument("after", metavar="B.json")


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    try:
        before, after = load(args.before), load(args.after)
        lines = compare(before, after)
    except ResultError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


def compare(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The lines; ResultError if the two have no case in common."""
    lines = [f"A: {_about(before)}", f"B: {_about(after)}"]
    differing = [name for name in ("machine", "versions") if before.get(name) != after.get(name)]
    if differing:
        lines.append(f"Not the same: {' and '.join(differing)}.")
    rows = []
    for case in CASES:
        a, b = before["cases"].get(case.name), after["cases"].get(case.name)
        if a is None or b is None or OURS not in a or OURS not in b:
            continue
        mine = _change(a[OURS], b[OURS])
        peers = [_change(a[name], b[name]) for name in a if name != OURS and name in b]
        theirs = statistics.geometric_mean(peers) if peers else None
        against = [f"{theirs:.2f}", f"{mine / theirs:.2f}"] if theirs else ["", ""]
        sides = (width(case, side[OURS]) for side in (a, b))
        rows.append([f"{case.title} ({case.unit})", *sides, f"{mine:.2f}", *against])
    if not rows:
        raise ResultError("the two results have no case in common")
    heads = ["case", "A", "B", "B/A", "the peers' B/A", "B/A against theirs"]
    return [*lines, "", *markdown(heads, rows)]


def _about(result: dict[str, Any]) -> str:
    return f"commit {result.get('commit')}, {result.get('time')}, {result.get('rounds')} rounds"


def _change(before: list[float], after: list[float]) -> float:
    return middle(after) / middle(before)
