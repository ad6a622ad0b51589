"""``python -m capriccio_patch.bench paper``: the experiments of the paper, and their report.

"Performance Analysis of 64-Bit Capriccio", sections 6 and 7.  All that can be refused is refused
before anything starts; what was measured is written after each run, so that the report of an
interrupted set is that of its runs so far.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import limits, load, micro, options
from .capacity import TooLarge, plan
from .harness import conditions, runtimes
from .harness.sequence import COMPLETE, INTERRUPTED, Found, measure_each
from .results import save, stem, summary

if TYPE_CHECKING:
    from .harness.progress import Bars

FIGURES = {
    "7.1": "requests per second",
    "7.2": "open connections",
    "7.3": "total throughput",
    "7.4": "threads against memory",
    "7.5": "the largest size, and open connections by delay",
    "micro": "the primitives",
}
_THREADS = (15_000, 25_000, 30_000, 108_000)
_DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_ALONE = 100_000
"""From so many threads on the paper ran Capriccio alone, and so do we."""


@dataclass(frozen=True)
class _Set:
    """What is measured unless it is asked for otherwise."""

    threads: tuple[int, ...]
    delays: tuple[float, ...]
    runtimes: tuple[str, ...]
    measured: float
    created: int


_FULL = _Set(_THREADS, _DELAYS, runtimes.THREADED, 20.0, 1_000_000)
_QUICK = _Set((1000, 2000), (1.0, 2.0, 3.0), ("capriccio", "stock", "gevent"), 4.0, 10_000)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: all figures in less than two minutes"
    )
    parser.add_argument(
        "--figure",
        nargs="+",
        metavar="N",
        type=_figure,
        default=list(FIGURES),
        help="; ".join(f"{name}: {title}" for name, title in FIGURES.items()) + " (default: all)",
    )
    parser.add_argument("--threads", nargs="+", type=options.threads, metavar="N")
    parser.add_argument(
        "--runtimes",
        nargs="+",
        type=options.threaded,
        metavar="NAME",
        help=f"of {', '.join(runtimes.THREADED)} (default: those that are installed)",
    )
    parser.add_argument(
        "--delay", type=options.positive_seconds, default=1.0, metavar="SECONDS", help="of 7.1-7.3"
    )
    parser.add_argument(
        "--delays", nargs="+", type=options.positive_seconds, metavar="SECONDS", help="of 7.5"
    )
    parser.add_argument(
        "--measured",
        type=options.positive_seconds,
        metavar="SECONDS",
        help="of each run, once it is warm (default: 20)",
    )
    parser.add_argument("--payload", type=options.size, default=1024, metavar="BYTES")
    parser.add_argument(
        "--create", type=options.threads, metavar="N", help="threads to try for in 7.4"
    )
    options.add_addresses(parser)
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="default: a new one among temporary files"
    )
    options.add_schemes(parser)


def _figure(text: str) -> str:
    for name in FIGURES:
        if text == name or text.startswith(f"{name}."):
            return name
    raise argparse.ArgumentTypeError(f"there is no figure {text!r}; {', '.join(FIGURES)} there are")


def run(args: argparse.Namespace) -> int:
    """Measure what was asked for, and write the report; the exit status."""
    if reason := options.need("rich", "matplotlib"):
        return options.fail("paper", reason)
    chosen = _QUICK if args.quick else _FULL
    names = args.runtimes or [name for name in chosen.runtimes if not runtimes.missing(name)]
    for name in names:
        if reason := runtimes.missing(name):
            return options.fail("paper", reason)
    loads, refused = _loads(args, chosen, names)
    for each in refused:
        print(f"left out: {runtimes.title(each['runtime'])}: {each['reason']}")
    extra = len(names) * len({"7.4", "micro"} & set(args.figure))
    if refused and not loads:
        return options.fail("paper", "nothing is left to measure")
    try:
        folder = _folder(args.output)
    except OSError as error:
        return options.fail("paper", f"can't write to {error.filename}: {error.strerror}")
    _write_about(args, folder, refused)
    from .harness.progress import Bars

    try:
        with Bars(len(loads) + extra) as bars:
            status = _measure(args, chosen, names, loads, refused, folder, bars)
    except KeyboardInterrupt:
        status = 130
    from . import report

    print("drawing", end="", flush=True)
    page = report.write(folder)
    print(f"\rreport: {page}")
    if status == 130:
        print("interrupted: it shows what was measured till then")
    return status


def _folder(asked: Path | None) -> Path:
    """Where the results are to lie."""
    if asked is None:
        return Path(tempfile.mkdtemp(prefix=time.strftime("capriccio-bench-%Y%m%d-%H%M%S-")))
    asked.mkdir(parents=True, exist_ok=True)
    return asked


def _loads(
    args: argparse.Namespace, chosen: _Set, names: list[str]
) -> tuple[list[load.Load], list[dict[str, Any]]]:
    """The runs that fit, each once, and those that don't, with the reason."""
    sizes = sorted(args.threads or chosen.threads)
    wanted: dict[tuple[str, int, float], None] = {}
    if {"7.1", "7.2", "7.3"} & set(args.figure):
        wanted = dict.fromkeys((name, size, args.delay) for size in sizes for name in names)
    fits: list[load.Load] = []
    refused: list[dict[str, Any]] = []
    if "7.5" in args.figure:
        largest = _largest(names[0], sizes)
        delays = args.delays or chosen.delays
        wanted |= dict.fromkeys((names[0], largest, delay) for delay in (args.delay, *delays))
    for name, size, delay in wanted:
        if size >= _ALONE and name != names[0] and args.runtimes is None:
            reason = f"{size:,} threads: not tried, as in the paper, unless --runtimes names it"
            if name == "stock":
                reason = _refusal(name, size) or reason
            refused.append(_refused(name, size, reason))
        elif reason := _refusal(name, size):
            refused.append(_refused(name, size, reason))
        else:
            fits.append(
                load.Load(
                    size,
                    name,
                    delay,
                    measured=max(args.measured or chosen.measured, 1 + delay),
                    payload=args.payload,
                    addresses=args.addresses,
                    sockio=args.sockio if name == "capriccio" else None,
                    scheduler=args.scheduler if name == "capriccio" else None,
                )
            )
    return fits, refused


def _largest(runtime: str, sizes: list[int]) -> int:
    return max((size for size in sizes if not _refusal(runtime, size)), default=sizes[-1])


def _refusal(runtime: str, threads: int) -> str:
    try:
        plan(runtime, threads)
    except TooLarge as error:
        return str(error)
    return ""


def _measure(
    args: argparse.Namespace,
    chosen: _Set,
    names: list[str],
    loads: list[load.Load],
    refused: list[dict[str, Any]],
    folder: Path,
    bars: Bars,
) -> int:
    """All runs; 1 if one of them failed, 130 if they were interrupted."""
    status = 0
    cpus = conditions.usable_cpus()
    for each in loads:
        bars.begin(f"{runtimes.title(each.runtime)}, {each.threads:,}, {each.delay:g} s")
        try:
            record = load.run(each, bars.report)
        except TooLarge as error:  # it did fit when the set began
            refused.append(_refused(each.runtime, each.threads, str(error)))
            _write_about(args, folder, refused)
            bars.end(f"{runtimes.title(each.runtime)}: {error}")
            continue
        save(folder, record)
        bars.end(_line(record, cpus))
        if record["ended"] == INTERRUPTED:
            return 130
        status = status or int(record["ended"] != COMPLETE)
    for kind, figure, measure, line in (
        ("limits", "7.4", partial(_limits, args.create or chosen.created), limits.line),
        ("micro", "micro", partial(_micro, args.quick), micro.line),
    ):
        if figure in args.figure:
            ends = [it["ended"] for it in measure_each(kind, names, measure, line, folder, bars)]
            if INTERRUPTED in ends:
                return 130
            status = status or int(any(end != COMPLETE for end in ends))
    return status


def _limits(threads: int, runtime: str, bars: Bars) -> Found:
    return limits.measure(runtime, threads, bars)


def _micro(quick: bool, runtime: str, bars: Bars) -> Found:
    return micro.measure(runtime, quick, bars)


def _refused(runtime: str, threads: int, reason: str) -> dict[str, Any]:
    return {"runtime": runtime, "threads": threads, "reason": reason}


def _write_about(args: argparse.Namespace, folder: Path, refused: list[dict[str, Any]]) -> None:
    about = {"conditions": conditions.describe(), "refused": refused, "quick": args.quick}
    (folder / "about.json").write_text(json.dumps(about, indent=1))


def _line(record: dict[str, Any], cpus: int) -> str:
    """A run's result in a few words."""
    title = f"{runtimes.title(record['runtime'])}, {record['threads']:,}, {record['delay']:g} s: "
    found = summary(record, cpus)
    if record["ended"] != COMPLETE:
        title += f"{record['ended']}; "
    if not found:
        return f"{title}{stem(record)} has nothing once warm"
    return (
        f"{title}{found['requests']:,.0f} requests/s, {100 * found['part']:.0f} % of the ideal, "
        f"{sum(record['failures'].values()):,} failed"
        + (f"; spent: {found['spent']}" if found["spent"] else "")
    )
