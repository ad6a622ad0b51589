"""python -m capriccio_patch.bench overhead: what those pay for help who need none.

Two things are done with the watchdog and without it (``CAPRICCIO_SLICE=0``, no reports): a thread
computes beside one that waits, here and under stock Python; a server with a thread for each
connection sends back what comes.  That server, and threads that hand locks over to each other, are
also compared with all diagnosis on (deadlocks, a signal for dumps, an answer to ``ps``) and with
none.

What is compared takes turns, A B B A, so that a machine that becomes slower or faster does so for
both.  A turn begins with a wait, after which the watchdog wakes up: it is long enough for that not
to matter.  What counts is the CPU time of all OS threads of a process; each four turns give one
ratio.  Two processes that do the same differ by where their memory lies, so each ratio is taken of
several pairs of processes, and the interval is that of the median over all, at 95 %: by order
statistics, which suppose nothing of how the ratios are spread.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from .harness.children import Children
from .harness.conditions import headline
from .harness.reduction import interval, ratios
from .harness.rounds import collect, take_turns
from .harness.runtimes import OURS, command
from .service import Service

__all__ = ["add_arguments", "run"]

_OFF = {"slice": 0, "blocked": "off"}
_TOLD = {"dump": "SIGQUIT", "ps": True}
_UNTOLD = {"deadlock": "off"}
_FIRST_QUANTA = 10

Turn = Callable[[], float]
"""CPU seconds of one turn."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--pairs", type=int, default=6, metavar="N", help="of processes; 6")
    parser.add_argument("--rounds", type=int, default=12, metavar="N", help="for each pair; 12")
    parser.add_argument("--seconds", type=float, default=0.25, metavar="S", help="of a turn; 0.25")
    parser.add_argument("--connections", type=int, default=50, metavar="N", help="default: 50")


def run(args: argparse.Namespace) -> int:
    """Measure, and print a ratio with its interval for each comparison."""
    print(f"{headline()}.")
    print(f"CPU time, median of {args.pairs} pairs of processes with {args.rounds} rounds each")
    on, off, stock = _computing(OURS, {}), _computing(OURS, _OFF), _computing("stock", {})
    _compare("computing, watchdog over none", args, on, off)
    _compare("computing, watchdog over stock", args, on, stock)
    _compare("computing, no watchdog over stock", args, off, stock)
    size = args.connections
    echo = f"echo, {size} connections"
    _compare(f"{echo}, watchdog over none", args, _echo(size, {}), _echo(size, _OFF))
    _compare(f"{echo}, diagnosis over none", args, _echo(size, _TOLD), _echo(size, _UNTOLD))
    told, untold = (_computing(OURS, asked, "locks") for asked in (_TOLD, _UNTOLD))
    _compare("locks, diagnosis over none", args, told, untold)
    return 0


def _compare(
    title: str,
    args: argparse.Namespace,
    one: Callable[[ExitStack, float], Turn],
    other: Callable[[ExitStack, float], Turn],
) -> None:
    found = []
    for number in range(args.pairs):
        with ExitStack() as stack:
            makers = (one, other) if number % 2 else (other, one)
            turns = {maker: maker(stack, args.seconds) for maker in makers}
            both = {"a": turns[one], "b": turns[other]}
            collect(take_turns(both, 1))
            spent = collect(take_turns(both, 2 * args.rounds))
            found += ratios(_in_twos(spent["a"]), _in_twos(spent["b"]))
    low, middle, high = interval(found)
    print(f"{title}: {middle:.4f} ({low:.4f} to {high:.4f})", flush=True)


def _in_twos(values: list[float]) -> list[float]:
    """Of two rounds each: the first in one is the last in the next, so a drift counts alike."""
    return [sum(pair) for pair in zip(values[::2], values[1::2], strict=True)]


def _computing(
    runtime: str, asked: dict[str, Any], *kind: str
) -> Callable[[ExitStack, float], Turn]:
    def start(stack: ExitStack, seconds: float) -> Turn:
        children = stack.enter_context(Children())
        child = children.start(
            runtime, command(runtime, "computing.py", *kind, **asked), {"PYTHONHASHSEED": "0"}
        )

        def turn(quanta: int) -> float:
            child.tell(quanta)
            return float(child.line())

        # The same work for all that are compared: as much as the first of them does in a turn.
        if kind not in _quantum:
            turn(_FIRST_QUANTA)
            _quantum[kind] = turn(_FIRST_QUANTA) / _FIRST_QUANTA
        quanta = max(1, round(seconds / _quantum[kind]))
        return lambda: turn(quanta)

    return start


_quantum: dict[tuple[str, ...], float] = {}
"""CPU seconds of one quantum of a kind, once it was measured."""


def _echo(size: int, asked: dict[str, Any]) -> Callable[[ExitStack, float], Turn]:
    def start(stack: ExitStack, seconds: float) -> Turn:
        service = stack.enter_context(Service(OURS, "echo", size, **asked))
        service.open(seconds)
        return service.turn

    return start
