"""python -m capriccio_patch.bench processors: several kernels in a process, beside one.

Operations or requests a second, by the clock, with so many kernels and with one in the same form,
which is Python for both: the compiled core is for one kernel.  What is compared takes turns.  Each
turn is a process of its own, so that where its threads and its memory lie is not decided once for
all; but the servers of ``http`` live through all rounds.  They are asked by a client that takes a
part of one processor, from both alike.

Ratios are those of one round; the median and the quartiles are told.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from . import options
from .harness import conditions
from .harness.children import ChildFailed, Children
from .harness.reduction import middle, quartiles, ratios
from .harness.rounds import collect, take_turns
from .harness.runtimes import OURS, command
from .harness.tables import markdown
from .service import Service

__all__ = ["FORMAT", "add_arguments", "run"]

FORMAT = "capriccio_patch processors 1"
CASES = {
    "computing": "computing",
    "long": "22 us of Python, then `time.sleep(0)`",
    "short": "2 us of Python, then `time.sleep(0)`",
    "switch": "`time.sleep(0)`",
    "lock": "one lock for all, 2 us within and 6 us without",
    "http": "HTTP, 64 connections, 45 us of Python a request",
    "pairs": "8 pairs of threads that answer each other (queues)",
    "start": "a thread started and joined, one at a time",
}
"""In the order of the report; the us are those of the machine of docs/processors.md."""
_SAME_FORM = {"CAPRICCIO_CORE": "python"}
_ONE = "1"
_CONNECTIONS = 64
_MARGIN = 30.0
"""Seconds that a program may take beside what it measures."""

Turn = Callable[[], float]
"""Operations a second, of one turn."""
Values = dict[str, list[float]]
"""By the number of kernels, a value for each round."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "cases", nargs="*", type=_case, metavar="case", help=f"of {', '.join(CASES)}; default: all"
    )
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    parser.add_argument(
        "--rounds", type=options.positive, metavar="N", help="default: 7; 3 with --quick"
    )
    parser.add_argument(
        "--processors", type=_several, default=2, metavar="N", help="kernels; default: 2"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the result")


def run(args: argparse.Namespace) -> int:
    """Measure and print a table in Markdown; 1 if a case could not be measured."""
    number, rounds = args.processors, args.rounds or (3 if args.quick else 7)
    seconds = 0.3 if args.quick else 1.0
    try:
        if args.json:
            args.json.touch()
        gil = _program("gil", 0.0, number)
    except (ChildFailed, OSError) as error:
        return options.fail("processors", error)
    found: dict[str, Values] = {}
    result = {
        "format": FORMAT,
        "conditions": conditions.describe(),
        "gil": bool(gil),
        "processors": number,
        "rounds": rounds,
        "seconds": seconds,
        "cases": found,
        "failed": {},
    }
    print(*_about(result), sep="\n", flush=True)
    for case in args.cases or CASES:
        try:
            found[case] = _measure(case, number, rounds, seconds)
        except ChildFailed as error:
            result["failed"][case] = str(error)
            options.fail("processors", f"{case} is left out: {error}")
        except KeyboardInterrupt:
            print("interrupted: what follows is not all", file=sys.stderr)
            break
        else:
            print(f"{case}: {_ratio(found[case])}", file=sys.stderr, flush=True)
    heads = ["", "1 kernel", f"{number} kernels", "ratio"]
    print("", *markdown(heads, _rows(found)), sep="\n")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))
    return 0 if found and not result["failed"] else 1


def _measure(case: str, number: int, rounds: int, seconds: float) -> Values:
    with ExitStack() as stack:
        make = partial(_server, stack) if case == "http" else partial(partial, _program, case)
        turns: Mapping[str, Turn] = {str(each): make(seconds, each) for each in (1, number)}
        return collect(take_turns(turns, rounds))


def _program(case: str, seconds: float, number: int) -> float:
    """What a process with so many kernels tells of a case."""
    with Children() as children:
        started = command(OURS, "several.py", case, seconds, processors=number)
        child = children.start(_kernels(number), started, _SAME_FORM)
        return float(child.result(seconds + _MARGIN)[case])


def _server(stack: ExitStack, seconds: float, number: int) -> Turn:
    """A server, which `stack` ends, with so many kernels: requests a second, in a turn."""
    service = Service(OURS, "http_work", _CONNECTIONS, _SAME_FORM, processors=number)
    stack.enter_context(service).open(seconds)
    return service.rate


def _about(result: Mapping[str, Any]) -> list[str]:
    """What it was measured under."""
    about, number, rounds = result["conditions"], result["processors"], result["rounds"]
    packages = ", ".join(f"{name} {it}" for name, it in about["versions"].items())
    load = ", ".join(f"{each:.1f}" for each in about["load"])
    gil = "With the GIL" if result["gil"] else "Without the GIL"
    return [
        f"{conditions.headline()}; {packages}.",
        f"{gil}; {about['cpus']} CPUs usable; load at the start {load}; {about['date']}.",
        f"Operations a second, medians of {rounds} turns of {result['seconds']:g} s each.",
        f"Ratio: {number} kernels over one in the same form (Python), median and quartiles.",
        *(["With the GIL there is one kernel, whatever is asked for."] if result["gil"] else ()),
    ]


def _rows(found: Mapping[str, Values]) -> Iterator[list[str]]:
    for case, values in found.items():
        one, several = _sides(values)
        yield [CASES[case], f"{middle(one):,.0f}", f"{middle(several):,.0f}", _ratio(values)]


def _ratio(values: Values) -> str:
    """Several kernels' over one's, with the quartiles."""
    one, several = _sides(values)
    low, median, high = quartiles(ratios(several, one))
    return f"{median:.2f} [{low:.2f}-{high:.2f}]"


def _sides(values: Values) -> tuple[list[float], list[float]]:
    """One kernel's, and those of several."""
    (several,) = values.keys() - {_ONE}
    return values[_ONE], values[several]


def _kernels(number: int) -> str:
    return f"{number} kernel{'s' * (number > 1)}"


def _case(text: str) -> str:
    if text not in CASES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(CASES)}")
    return text


def _several(text: str) -> int:
    number = options.positive(text)
    if number < 2:
        raise argparse.ArgumentTypeError("one kernel is what others are compared with")
    return number
