"""``python -m capriccio_patch.audit``: see the package."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from fnmatch import fnmatchcase
from shutil import get_terminal_size

from . import libraries, report
from .matrix import ALL, as_json, settings, table
from .rows import FAMILIES, all_rows
from .runner import AGAIN, LIMIT, Outcome, Result, Runner
from .scene import Row

LIMIT_OF_IMPORTS = 60.0
"""Seconds that the import of a library has, at least: some bring hundreds of files."""


def main(args: list[str] | None = None) -> int:
    """Run the rows that `args` select and print what was found; the exit status."""
    options = _options(args)
    if options.libraries is not None:
        return _libraries(options)
    rows = all_rows()
    if options.only:
        rows = [row for row in rows if any(_matches(row, pattern) for pattern in options.only)]
    if options.list:
        print("\n".join(row.name for row in rows))
        return 0
    if not rows:
        print("no row of that name; --list prints all", file=sys.stderr)
        return 2
    count = 0
    columns = settings(options.python, options.sockio, options.diskio, options.scheduler)
    total = len(rows) * len(columns)

    def tell(result: Result) -> None:
        nonlocal count
        count += 1
        _progress(f"{count}/{total} {result.row.name}")

    found: list[list[Result]] = []
    stock: defaultdict[str, dict[str, Outcome]] = defaultdict(dict)
    for column in columns:
        known = stock[column.python]
        if options.stock:
            runner = Runner({}, True, options.limit, column.python, known, options.again)
            found.append(runner.run(rows, options.jobs, tell))
        else:
            limits = (options.jobs, options.limit, options.again)
            found.append(column.run(rows, *limits, known, tell))
    _progress("")
    bad = [result for results in found for result in results if not result.good]
    if len(columns) > 1:
        print(json.dumps(as_json(found), indent=1) if options.json else "\n".join(table(found)))
    elif options.json:
        print(json.dumps(report.as_json(found[0]), indent=1))
    else:
        _print_table(found[0], bad)
    return 1 if bad else 0


def _options(args: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m capriccio_patch.audit",
        description="Run each blocking call of the standard library beside a thread that ticks, "
        "with the patch and without. Exit status 1 if any call is not cooperative.",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="PATTERN",
        help="rows to run: shell patterns, beginnings such as socket, or families: "
        + ", ".join(FAMILIES),
    )
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument(
        "--libraries",
        nargs="*",
        metavar="NAME",
        help="run no row, but import each library in C that is installed, or those named, and "
        "print what the patch does for it",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--stock", action="store_true", help="audit plain Python, without the patch"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=2 * (os.cpu_count() or 1),
        metavar="N",
        help="rows to run at once (default: %(default)s); they wait for most of their time",
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=LIMIT,
        metavar="SECONDS",
        help="a row that takes longer hangs (default: %(default)s)",
    )
    parser.add_argument(
        "--again",
        type=int,
        default=AGAIN,
        metavar="N",
        help="run a row that is not cooperative again, alone, up to N times (default: %(default)s)",
    )
    parser.add_argument(
        "--python",
        nargs="+",
        metavar="PATH",
        default=[sys.executable],
        help="interpreters to audit (default: this one); what the patch needs is installed there",
    )
    for name in ("sockio", "diskio"):
        parser.add_argument(
            f"--{name}", metavar="NAME", help=f"as {name} of the patch; {ALL}: one after another"
        )
    parser.add_argument("--scheduler", metavar="NAME", help="as scheduler of the patch")
    return parser.parse_args(args)


def _progress(text: str) -> None:
    """Write over the line of progress, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _libraries(options: argparse.Namespace) -> int:
    found = libraries.installed()
    names = {name.lower() for name in options.libraries}
    if unknown := names - {each.name.lower() for each in found}:
        print(f"not installed, or not in C: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    if names:
        found = [each for each in found if each.name.lower() in names]
    total, count = len(found), 0

    def tell(library: libraries.Installed) -> None:
        nonlocal count
        count += 1
        _progress(f"{count}/{total} {library.name}")

    libraries.look_at(found, options.jobs, max(options.limit, LIMIT_OF_IMPORTS), tell)
    _progress("")
    if options.json:
        told = {each.name: {"failed": each.failed} if each.failed else each.told for each in found}
        print(json.dumps(told, indent=1))
    else:
        print("\n".join(libraries.lines(found, get_terminal_size().columns)))
    return 0


def _matches(row: Row, pattern: str) -> bool:
    return (
        pattern == row.module
        or fnmatchcase(row.name, pattern)
        or (row.name.startswith(pattern) and not row.name[len(pattern) :][:1].isalnum())
    )


def _print_table(results: list[Result], bad: list[Result]) -> None:
    width = max(len(result.row.name) for result in results)
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(*report.header(results, width), sep="\n")
    for result in results:
        print(report.line(result, width, coloured))
    print()
    for result in bad:
        for text in report.details(result):
            print(text)
    for result in results:
        for text in report.again(result):
            print(text)
    print(report.summary(results))


if __name__ == "__main__":
    sys.exit(main())
