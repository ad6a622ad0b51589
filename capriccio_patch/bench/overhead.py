"""python -m capriccio_patch.bench overhead: what preemption costs those who need none.

Two things are done with the watchdog and without it (``CAPRICCIO_SLICE=0``, no reports): a thread
computes beside one that waits, here and under stock Python; a server with a thread for each
connection sends back what comes.

What is compared takes turns, A B B A, so that a machine that becomes slower or faster does so for
both.  A turn begins with a wait, after which the watchdog wakes up: it is long enough for that not
to matter.  What counts is the CPU time of all OS threads of a process; each four turns give one
ratio.  Two processes that do the same differ by where their memory lies, so each ratio is taken of
several pairs of processes, and the interval is that of the median over all, at 95 %: by order
statistics, which suppose nothing of how the ratios are spread.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from .machine import commit, describe
from .peer_cases import Run
from .peer_runs import Service, command, environment

__all__ = ["add_arguments", "interval", "run"]

_OFF = {"CAPRICCIO_SLICE": "0", "CAPRICCIO_BLOCKED": "off"}
_Z = 1.96
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
    print("; ".join(describe().values()) + f"; commit {commit()}.")
    print(f"CPU time, median of {args.pairs} pairs of processes with {args.rounds} rounds each")
    _compare("computing, watchdog over none", args, _computing("on"), _computing("off"))
    _compare("computing, watchdog over stock", args, _computing("on"), _computing("stock"))
    _compare("computing, no watchdog over stock", args, _computing("off"), _computing("stock"))
    echo = f"echo, {args.connections} connections, watchdog over none"
    size = args.connections
    _compare(echo, args, lambda *a: _echo(size, {}, *a), lambda *a: _echo(size, _OFF, *a))
    return 0


def interval(values: list[float]) -> tuple[float, float, float]:
    """The median, and between which values it lies with 95 %."""
    ordered = sorted(values)
    count = len(ordered)
    reach = _Z * math.sqrt(count) / 2
    low = max(0, math.floor(count / 2 - reach) - 1)
    high = min(count - 1, math.ceil(count / 2 + reach))
    return ordered[low], statistics.median(ordered), ordered[high]


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
            a, b = turns[one], turns[other]
            a()
            b()
            for _ in range(args.rounds):
                first, second, third, fourth = a(), b(), b(), a()
                found.append((first + fourth) / (second + third))
    low, middle, high = interval(found)
    print(f"{title}: {middle:.4f} ({low:.4f} to {high:.4f})", flush=True)


def _computing(how: str) -> Callable[[ExitStack, float], Turn]:
    runtime = "stock" if how == "stock" else "capriccio"
    settings: dict[str, Any] = _OFF if how == "off" else {}

    def start(stack: ExitStack, seconds: float) -> Turn:
        process = subprocess.Popen(
            command(runtime, "computing.py"),
            env=environment() | settings | {"PYTHONHASHSEED": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(process.wait)
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        stack.callback(stdin.close)

        def turn(quanta: int) -> float:
            stdin.write(f"{quanta}\n")
            stdin.flush()
            return float(stdout.readline())

        # The same work for whoever is compared: CPython's, which is the same for all.
        quanta = max(1, round(seconds / (_QUANTUM or _measure(turn))))
        return lambda: turn(quanta)

    return start


_QUANTUM = 0.0
"""CPU seconds of one quantum, once it was measured."""


def _measure(turn: Callable[[int], float]) -> float:
    global _QUANTUM
    turn(_FIRST_QUANTA)
    _QUANTUM = turn(_FIRST_QUANTA) / _FIRST_QUANTA
    return _QUANTUM


def _echo(size: int, settings: dict[str, str], stack: ExitStack, seconds: float) -> Turn:
    service = Service(Run("server", ("echo",), ("capriccio",), size), "capriccio", settings)
    stack.callback(service.close)
    service.open(seconds)
    return lambda: service.turn()[""]
