"""python -m capriccio_patch.bench schemes: the socket I/O schemes beside each other.

An echo server with a thread for each connection runs under each scheme that can run here.  All
servers live through all rounds of their size; in a round each has one turn, in an order that
changes, so that all meet the same moments of the machine.  What is measured is the server's CPU
time, all its OS threads included, for one request of 64 bytes.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack

from .. import available_backends
from .harness.children import ChildFailed
from .harness.conditions import headline
from .harness.reduction import middle, ratios
from .harness.rounds import collect, take_turns
from .harness.runtimes import OURS
from .harness.tables import markdown
from .service import Service

__all__ = ["add_arguments", "run"]

_BASE = "epoll"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--schemes", type=lambda text: text.split(","), metavar="A,B", help="only these"
    )
    parser.add_argument(
        "--connections",
        type=int,
        nargs="*",
        default=[50, 1000, 5000],
        metavar="N",
        help="that all ask at once (default: 50 1000 5000)",
    )
    parser.add_argument(
        "--idle",
        type=int,
        nargs="*",
        default=[4999],
        metavar="N",
        help="connections beside one that asks (default: 4999)",
    )
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="default: 7")
    parser.add_argument(
        "--seconds", type=float, default=0.5, metavar="S", help="of a turn, about (default: 0.5)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print a table in Markdown."""
    known = available_backends()
    for name in args.schemes or ():
        if known.get(name, "it is unknown") is not None:
            print(f"{name}: {known.get(name, 'it is unknown')}", file=sys.stderr)
            return 2
    schemes = args.schemes or [name for name, reason in known.items() if reason is None]
    columns = [(f"{n:,} asking", n, 0) for n in args.connections]
    columns += [(f"1 asking, {n:,} idle", 1, n) for n in args.idle]
    results: dict[str, dict[str, list[float]]] = {}
    for title, size, idle in columns:
        results[title] = _measure(schemes, title, size, idle, args.rounds, args.seconds)
        cells = (f"{scheme} {_cell(scheme, results[title])}" for scheme in schemes)
        print(f"{title}: {', '.join(cells)}", file=sys.stderr, flush=True)
    print(f"{headline()}; {args.rounds} rounds.")
    print(f"Microseconds of CPU for one request, median; in brackets that of {_BASE} = 1.")
    rows = (
        [f"`{scheme}`", *(_cell(scheme, values) for values in results.values())]
        for scheme in schemes
    )
    print("", *markdown(["scheme", *results], rows), sep="\n")
    return 0


def _measure(
    schemes: list[str], title: str, size: int, idle: int, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """The values of each scheme, one a round; those that can't do it are left out."""
    turns = {}
    with ExitStack() as stack:
        for scheme in schemes:
            service = stack.enter_context(Service(OURS, "echo", size, sockio=scheme))
            try:
                service.open(seconds, idle)
            except ChildFailed as error:
                print(f"{title}: {scheme} is left out: {error}", file=sys.stderr)
            else:
                turns[scheme] = service.turn
        found = collect(take_turns(turns, rounds))
    return {scheme: [value * 1e6 for value in values] for scheme, values in found.items()}


def _cell(scheme: str, values: dict[str, list[float]]) -> str:
    if scheme not in values:
        return "-"
    text = f"{middle(values[scheme]):.1f}"
    if _BASE in values:
        text += f" ({middle(ratios(values[scheme], values[_BASE])):.2f})"
    return text
