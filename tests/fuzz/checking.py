"""Checks programs: runs each stock and patched, looks closer at what differs, writes reports."""

from __future__ import annotations

import difflib
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from programs import Program
from runs import Run, differs, run
from settings import ROOT, Settings
from shrinking import shrink

_SWITCHES = ["0.00001", "0.0001", "0.005"]
"""Stock's switch intervals for runs that look for races of its own."""
_TRIES = 3


@dataclass(frozen=True)
class Options:
    """How to check: `limit` in seconds for a run, `shrink` for making a program smaller.

    With `stock_only` the second run is stock's too.
    """

    folder: Path
    limit: float = 30.0
    shrink: float = 120.0
    stock_only: bool = False


@dataclass(frozen=True)
class Verdict:
    """`difference` in a word, if there is one; `own` if stock differs from itself."""

    seed: int
    difference: str | None = None
    own: bool = False
    report: Path | None = None


def check(program: Program, given: Mapping[str, str], options: Options) -> Verdict:
    """Run a program both ways, and write a report if they differ.

    Those settings that are not `given` are its seed's own.
    """
    settings = Settings.choose(program.seed, given)
    path = options.folder / f"program-{program.seed}.py"
    path.write_text(program.text())
    stock = run(path, None, options.limit, {})
    if options.stock_only:
        patched = run(path, None, options.limit, {"FUZZ_SWITCH": _SWITCHES[0]})
    else:
        patched = run(path, settings, options.limit, {})
    difference = differs(stock, patched)
    if difference is None and stock.hung:
        difference = "hang"
    if difference is None:
        path.unlink()
        return Verdict(program.seed)
    own = (
        options.stock_only
        or stock.hung
        or any(
            differs(stock, run(path, None, options.limit, {"FUZZ_SWITCH": switch}))
            for switch in _SWITCHES
        )
    )
    if own:
        if not options.stock_only:
            path.unlink()
        return Verdict(program.seed, difference, own=True)
    again = [run(path, settings, options.limit, {}) for _ in range(_TRIES)]
    seen = 1 + sum(differs(stock, each) is not None for each in again)
    report = options.folder / f"seed-{program.seed}"
    report.mkdir(exist_ok=True)
    path.rename(report / "program.py")
    lines = [
        f"seed {program.seed} on {platform.python_version()}: {difference}",
        f"seen in {seen} of {_TRIES + 1} runs",
        "",
    ]
    _write(report, [*lines, *_both(stock, patched, program, settings)])
    if options.shrink:
        small, simple = _shrunk(program, settings, stock, options)
        (report / "small.py").write_text(small.text())
        shrunk = ["", "Made smaller (small.py):", *_commands(small, simple)]
        shrunk += [f"    {small.title(each)}" for each in small.items]
        _write(report, [*lines, *_both(stock, patched, program, settings), *shrunk])
    return Verdict(program.seed, difference, report=report)


def _write(report: Path, lines: list[str]) -> None:
    (report / "report.txt").write_text("\n".join(lines) + "\n")


def _commands(program: Program, settings: Settings) -> list[str]:
    drop = f" --drop {','.join(map(str, sorted(program.dropped)))}" if program.dropped else ""
    return [f"{sys.executable} tests/fuzz --seeds {program.seed}{drop} --set {settings.exact()}"]


def _both(stock: Run, patched: Run, program: Program, settings: Settings) -> list[str]:
    """Settings, how to run it again, and the two runs side by side."""
    changed = difflib.unified_diff(
        stock.output.splitlines(), patched.output.splitlines(), "stock", "patched", "", "", 1, ""
    )
    return [
        f"settings: {settings}",
        *_commands(program, settings),
        "or, as environment: "
        + " ".join(f"{k}={v}" for k, v in settings.environ().items() if v).replace(str(ROOT), "."),
        "",
        f"stock: status {stock.status}, {stock.seconds:.1f} s",
        f"patched: status {patched.status}, {patched.seconds:.1f} s",
        "",
        *changed,
        "",
        "-- stock, standard error",
        stock.errors,
        "-- patched, standard error",
        patched.errors,
    ]


def _shrunk(
    program: Program, settings: Settings, stock: Run, options: Options
) -> tuple[Program, Settings]:
    """A smaller program, under simpler settings, that still differs."""
    deadline = time.monotonic() + options.shrink
    limit = min(options.limit, 5 + 5 * stock.seconds)
    path = options.folder / f"program-{program.seed}-small.py"

    def still(candidate: Program, with_: Settings) -> bool:
        path.write_text(candidate.text())
        reference: Run | None = None
        for _ in range(_TRIES):
            if time.monotonic() > deadline:
                return False
            patched = run(path, with_, limit, {})
            if reference is None:
                reference = run(path, None, limit, {})
            if differs(reference, patched):
                return not reference.hung
        return False

    dropped = shrink(program.items, lambda drop: still(program.without(drop), settings))
    small = program.without(dropped)
    for name in settings.simpler():
        simpler = replace(settings, **{name: ""})
        if still(small, simpler):
            settings = simpler
    path.unlink(missing_ok=True)
    return small, settings


def check_all(
    programs: Sequence[Callable[[], tuple[Program, Mapping[str, str]]]],
    jobs: int,
    options: Options,
    told: Callable[[Verdict], None],
) -> None:
    """Check many programs, `jobs` at a time; each verdict is told as it comes."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(lambda make=make: check(*make(), options)) for make in programs]
        try:
            for future in as_completed(futures):
                told(future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
