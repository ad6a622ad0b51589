"""python -m capriccio_patch.bench peers: this runtime beside the others, on the same programs."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from . import options, peer_results, peer_runs
from .harness import conditions, runtimes
from .peer_cases import CASES, selected

__all__ = ["add_arguments", "run"]

_PACKAGES = ("greenlet", "gevent", "eventlet", "uvloop")
_SIZES = [10, 100, 1000, 10_000, 100_000]
_STOCK_LIMIT = 10_000
"""OS threads beyond which the system may have no more."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "cases", nargs="*", help="only cases whose names begin so; 'growth' for the cost's growth"
    )
    parser.add_argument("--quick", action="store_true", help="few and short rounds, small cases")
    parser.add_argument(
        "--rounds", type=options.positive, help="of each case (default 7; 3 with --quick)"
    )
    parser.add_argument("--list", action="store_true", help="print the cases and do nothing")
    parser.add_argument("--json", metavar="FILE", help="keep the result")
    parser.add_argument("--plots", metavar="FOLDER", help="draw it (needs matplotlib)")
    parser.add_argument(
        "--runtimes",
        type=options.runtime_list,
        default=list(runtimes.NAMES),
        metavar="A,B",
        help=f"only these of {', '.join(runtimes.NAMES)}",
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, keep what was asked for; after Ctrl-C, what there is by then."""
    if args.list:
        for case in CASES:
            print(f"{case.name:24} {case.title}")
        return 0
    wanted = [name for name in args.cases if name != "growth"]
    try:
        cases = [] if args.cases and not wanted else selected(wanted, args.quick)
        if args.json:
            Path(args.json).touch()
        if args.plots:
            Path(args.plots).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        _say(str(error))
        return 2
    missing = {name: why for name in args.runtimes if (why := runtimes.missing(name))}
    for name, why in missing.items():
        _say(f"{name} is left out: {why}")
    names = [name for name in args.runtimes if name not in missing]
    rounds = args.rounds or (3 if args.quick else 7)
    seconds = 0.2 if args.quick else 0.5
    result = _header(args.quick, rounds)
    result["left_out"] = missing
    result["cases"] = found = {}
    try:
        for each in dict.fromkeys(case.run for case in cases):
            mine = [case for case in cases if case.run == each]
            _say(f"{time.strftime('%H:%M:%S')} {mine[0].title}")
            failed = _failures(result, mine[0].name)
            values = peer_runs.measure_run(each, names, rounds, seconds, failed)
            for case in mine:
                if case.key in values:
                    found[case.name] = values[case.key]
        if not args.cases or "growth" in args.cases:
            result["growth"] = _growth(result, names, args.quick, rounds, seconds)
    except KeyboardInterrupt:
        _say("interrupted: what follows is not all")
    tables = [*peer_results.table(result), *peer_results.growth_table(result)]
    print(*_about(result), "", *tables, sep="\n")
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1))
    if args.plots:
        return _draw(result, args.plots)
    return 0


def _header(quick: bool, rounds: int) -> dict[str, Any]:
    return {
        "format": peer_results.FORMAT,
        "time": conditions.now(),
        "machine": conditions.machine(),
        "versions": conditions.versions(_PACKAGES),
        "commit": conditions.commit(),
        "quick": quick,
        "rounds": rounds,
        "failed": {},
    }


def _failures(result: dict[str, Any], case: str) -> peer_runs.Failed:
    def failed(runtime: str, why: str) -> None:
        _say(f"{case}: {runtime} is left out: {why}")
        result["failed"].setdefault(case, {})[runtime] = why

    return failed


def _growth(
    result: dict[str, Any], names: list[str], quick: bool, rounds: int, seconds: float
) -> dict[str, Any]:
    sizes = _SIZES[: 4 if quick else None]
    _say(f"{time.strftime('%H:%M:%S')} growth of the costs")
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for some, beside in (
        (("capriccio", "gevent"), sizes),
        (("stock",), [size for size in sizes if size < _STOCK_LIMIT]),
    ):
        chosen = [name for name in some if name in names]
        failed = _failures(result, "growth")
        measured = peer_runs.growth(chosen, beside, min(rounds, 3), seconds, failed)
        for key, by_runtime in measured.items():
            found.setdefault(key, {}).update(by_runtime)
    return found


def _about(result: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    return [
        f"{machine}; {versions}; commit {result['commit']}; {result['rounds']} rounds.",
        "Medians with quartiles; what has a unit of time is CPU time.",
    ]


def _draw(result: dict[str, Any], folder: str) -> int:
    try:
        from . import peer_plots
    except ImportError as error:
        _say(f"no plots: {error}")
        return 1
    for path in peer_plots.draw(result, Path(folder)):
        _say(f"drawn: {path}")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
