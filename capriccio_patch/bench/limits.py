"""``python -m capriccio_patch.bench limits``: how many threads can be created, and what they take.

1. Each runtime's threads are made in a process of its own, which is killed when it has told all.
2. Neither the machine's memory nor its last task is taken: a run stops short of that and says so.
3. What stopped a runtime is looked for while its threads are there: the setting that is used up.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from . import options
from .capacity import SPARE_TASKS, TooLarge, check_parked, tasks_left
from .harness import conditions, runtimes
from .harness.children import Child, Children
from .harness.sampling import page_tables
from .harness.sequence import COMPLETE, Found, measure_each, measuring

if TYPE_CHECKING:
    from .harness.progress import Bars

_LIMIT = 1200.0  # seconds for a runtime
_SPARE_MEMORY = 0.07  # of the machine's
_STACK = 9 << 20  # bytes that an OS thread's stack reserves at most, if nothing else is asked for
_KERNEL_STACK = 16 << 10  # bytes that each OS thread takes in the kernel (x86-64, arm64)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--threads",
        type=options.threads,
        default=1_000_000,
        metavar="N",
        help="to try for (default: 1,000,000)",
    )
    parser.add_argument(
        "--stack-size", type=int, default=0, metavar="BYTES", help="of stock threads"
    )
    options.add_runtimes(parser, "limits.json")


def run(args: argparse.Namespace) -> int:
    """Try each runtime, print a table; the exit status."""
    if reason := options.need("rich"):
        return options.fail("limits", reason)
    from .harness.progress import Bars

    def measured(runtime: str, bars: Bars) -> Found:
        return measure(runtime, args.threads, bars, args.stack_size)

    with Bars(len(args.runtimes)) as bars:
        found = measure_each("limits", args.runtimes, measured, line, args.output, bars)
    print(*lines(found), sep="\n")
    return 0 if all(each["steps"] for each in found) else 1


def measure(runtime: str, threads: int, bars: Bars, stack_size: int = 0) -> dict[str, Any]:
    """What `threads` threads of a runtime take, in steps, and what ended them."""
    found: dict[str, Any] = {"runtime": runtime, "asked": threads, "steps": [], "stopped_by": ""}
    if reason := runtimes.missing(runtime):
        return found | {"ended": reason}
    try:
        check_parked(runtime, threads)
    except TooLarge as error:
        found["stopped_by"] = f"not tried beyond: {error}"
        threads = error.largest
    args = (f"--threads={threads}", f"--stack-size={stack_size}")
    command = runtimes.command(runtime, "parked.py", *args)
    with Children() as children, measuring(found):
        child = children.start(runtimes.title(runtime), command)
        _watch(children, child, threads, found, bars)
    return found


def _watch(
    children: Children, child: Child, threads: int, found: dict[str, Any], bars: Bars
) -> None:
    began = time.monotonic()
    total = psutil.virtual_memory().total
    while True:
        for _, message in children.read(0.2):
            found["steps"].append(_step(child, message))
            if message["refused"]:
                found["stopped_by"] = f"{message['refused']}: {_used_up(child.pid)}"
                return
            if message["threads"] == threads:
                return
            bars.say(message["threads"] / threads, f"{message['threads']:,} threads")
        if time.monotonic() - began > _LIMIT:
            found["stopped_by"] = f"{_LIMIT:.0f} s were over"
            return
        if not found["steps"]:
            continue
        if psutil.virtual_memory().available < _SPARE_MEMORY * total:
            found["stopped_by"] = "memory: the rest is left for other programs"
            return
        left, name = tasks_left()
        if found["runtime"] == "stock" and left < SPARE_TASKS / 2:
            found["stopped_by"] = f"{name}: the rest is left for other programs"
            return


def _step(child: Child, message: dict[str, Any]) -> dict[str, Any]:
    """A step, with what the process holds now, which may be a few threads more."""
    process = psutil.Process(child.pid)
    os_threads = process.num_threads()
    return {
        "threads": message["threads"],
        "seconds": message["seconds"],
        "cpu": message["cpu"],
        "memory": process.memory_info().rss,
        "page_tables": page_tables(child.pid),
        "kernel_stacks": os_threads * _KERNEL_STACK,
        "os_threads": os_threads,
    }


def _used_up(pid: int) -> str:
    """Which setting keeps the process from having one more thread."""
    try:
        mappings = Path(f"/proc/{pid}/maps").read_bytes().count(b"\n")
    except OSError:
        mappings = 0
    most = int(conditions.setting("vm.max_map_count") or 0)
    if most and mappings >= 0.99 * most:
        return f"vm.max_map_count = {most} ({mappings} mappings)"
    left, name = tasks_left()
    if left < SPARE_TASKS / 10:
        return name
    space = _address_space_left(pid)
    if space is not None and space < _STACK:
        return "ulimit -v (RLIMIT_AS)"
    return f"the kernel or its memory ({mappings} mappings, room for {left} more OS threads)"


def _address_space_left(pid: int) -> int | None:
    """Bytes; None where there is no bound, or none that another process may ask for."""
    if not hasattr(psutil, "RLIMIT_AS"):
        return None
    process = psutil.Process(pid)
    most, _ = process.rlimit(psutil.RLIMIT_AS)
    return None if most == psutil.RLIM_INFINITY else most - process.memory_info().vms


def line(found: dict[str, Any]) -> str:
    """A runtime's result in a few words."""
    title = runtimes.title(found["runtime"])
    if not found["steps"]:
        return f"{title}: {found['stopped_by'] or found['ended']}"
    last = found["steps"][-1]
    said = f"{title}: {last['threads']:,} threads in {last['seconds']:.1f} s"
    said += f" ({last['cpu']:.1f} s of CPU)"
    return said + (f"; {found['stopped_by']}" if found["stopped_by"] else "")


def each(found: dict[str, Any], step: dict[str, Any]) -> float:
    """Bytes of memory that a thread takes, at a step: beyond what the process takes without."""
    first = found["steps"][0]
    names = ("memory", "page_tables", "kernel_stacks")
    grown = sum(step[name] - first[name] for name in names)
    return float(grown / max(1, step["threads"]))


def lines(results: list[dict[str, Any]]) -> list[str]:
    """The table of all runtimes."""
    heads = f"{'threads':>10} {'time':>8} {'CPU':>8} {'CPU each':>9} {'KiB each':>9}"
    table = [f"{'':16} {heads} {'OS threads':>11}"]
    for found in results:
        title = runtimes.title(found["runtime"])
        table += [
            f"{title:16} {step['threads']:10,} {step['seconds']:6.2f} s {step['cpu']:6.2f} s "
            f"{1e6 * step['cpu'] / max(1, step['threads']):6.1f} us "
            f"{each(found, step) / 1024:9.1f} {step['os_threads']:11,}"
            for step in found["steps"][1:]
        ]
        if found["stopped_by"]:
            table.append(f"{title:16} stopped by {found['stopped_by']}")
        if found["ended"] != COMPLETE:
            table.append(f"{title:16} {found['ended']}")
    return table
