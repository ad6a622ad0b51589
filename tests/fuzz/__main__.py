"""python tests/fuzz: random concurrent programs, run under stock Python and under the patch.

A seed makes a program: actors (threads, timers, pool tasks, forked processes) that send one
another messages over anything that one thread can wait for on another, take locks, and call parts:
locks, conditions, queues, pools, sockets, pipes, polls, processes, forks, signals, finalizers,
imports, and ways to end.  The same seed chooses scheduler, schemes, slice, and whether to patch in
the middle.  Whatever the interleaving, what the program prints is the same under stock, so the two
runs must agree in standard output, standard error (its lines in any order) and exit status, and
end in time.

What differs is run again.  If stock differs from itself (its switch interval is varied), the race
is stock's own and does not count.  Otherwise the report folder gets program.py, small.py (the same
less all that it need not have to differ), and report.txt (settings, both outputs, the stacks of
what hangs, and the command that shows it again).

A seed that has found a fault goes into seeds.txt, with what it found; --kept runs those, and so
does the test suite.  A change to the generator gives old seeds other programs: what a fault needs
is best kept as a test of its own kind.

To add a part: write a function in parts/, decorated with the values of its arguments; its result
must not depend on the interleaving (parts/__init__.py has the rules).  Then run --stock-only: it
shows what is not the same in two runs under stock.

The interpreter that runs this is the one that is tested.  Exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import functools
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[2]))

from checking import Options, Verdict, check_all
from keeping import read_kept
from programs import Program
from settings import parse

_PROGRESS = 60.0
"""Seconds between lines about the progress."""


class Progress:
    """Prints what differs at once, and a line now and then."""

    def __init__(self, total: int) -> None:
        self._total = total
        self.done = self.different = self.own = 0
        self._began = self._said = time.monotonic()

    def told(self, verdict: Verdict) -> None:
        self.done += 1
        self.own += verdict.own
        if verdict.own:
            print(f"seed {verdict.seed}: stock's own race ({verdict.difference})", flush=True)
        elif verdict.difference:
            self.different += 1
            print(f"seed {verdict.seed}: {verdict.difference}, see {verdict.report}", flush=True)
        now = time.monotonic()
        if now - self._said > _PROGRESS:
            self._said = now
            rate = self.done / (now - self._began)
            print(f"{self.done} of {self._total}, {rate:.1f} a second", flush=True)


def main(args: list[str]) -> int:
    """Run what `args` ask for."""
    parser = argparse.ArgumentParser(
        prog="python tests/fuzz",
        description=__doc__.partition(":")[2].strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-n", "--count", type=int, default=500, help="programs (500)")
    parser.add_argument("--first", type=int, help="the first seed; at random if there is none")
    parser.add_argument("--seeds", help="these instead, separated by commas")
    parser.add_argument("--kept", action="store_true", help="those of seeds.txt instead")
    parser.add_argument("--drop", default="", help="numbers of items to leave out of the programs")
    parser.add_argument(
        "--set", type=parse, default={}, help="settings instead of a seed's own: slice=0.001,late=1"
    )
    parser.add_argument("-j", "--jobs", type=int, default=2, help="programs at a time (2)")
    parser.add_argument("--limit", type=float, default=30, help="seconds for a run (30)")
    parser.add_argument(
        "--shrink", type=float, default=120, help="seconds for making one smaller (120; 0: don't)"
    )
    parser.add_argument("--reports", type=Path, help="folder (a temporary one)")
    parser.add_argument("--stock-only", action="store_true", help="compare stock with itself")
    parser.add_argument("--print", action="store_true", help="print the programs, run none")
    options = parser.parse_args(args)
    if options.jobs < 1 or options.count < 0 or options.limit <= 3:
        parser.error("a number of jobs, a count, and a limit of more than 3 seconds are needed")
    dropped = frozenset(int(each) for each in options.drop.split(",") if each)
    if options.kept:
        jobs = [(k.seed, k.dropped, options.set or k.given) for k in read_kept()]
    else:
        seeds = _seeds(options)
        jobs = [(seed, dropped, options.set) for seed in seeds]
    if options.print:
        print("\n".join(Program(seed, without).text() for seed, without, _ in jobs))
        return 0
    folder = options.reports or Path(tempfile.mkdtemp(prefix="fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"reports in {folder}; seeds {jobs[0][0]}.. " if jobs else "nothing to run", flush=True)
    how = Options(folder.resolve(), options.limit, options.shrink, options.stock_only)
    progress = Progress(len(jobs))
    programs = [functools.partial(_make, *job) for job in jobs]
    check_all(programs, options.jobs, how, progress.told)
    if progress.own:
        print(f"{progress.own} races of stock's own")
    print(f"{progress.done} programs, {progress.different} differences")
    return 1 if progress.different or (options.stock_only and progress.own) else 0


def _seeds(options: argparse.Namespace) -> list[int]:
    if options.seeds:
        return [int(each) for each in options.seeds.split(",")]
    first = options.first
    if first is None:
        first = random.SystemRandom().randrange(10**6)
    return list(range(first, first + options.count))


def _make(
    seed: int, dropped: frozenset[int], given: dict[str, str]
) -> tuple[Program, dict[str, str]]:
    return Program(seed, dropped), given


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
