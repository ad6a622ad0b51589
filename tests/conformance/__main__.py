"""python tests/conformance: CPython's own tests, as they lie in the interpreter, under the patch.

Each module runs in a process of its own, once under stock Python (kept in the results folder and
not run again) and once patched; a test that passes under stock and not patched is lost.  Exit
status 1 if any is.  The interpreter that runs this is the one that is tested; it needs
capriccio_patch.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from runner import Options, run_module
from sets import SETS, expand
from table import Comparison, compare, read_excuses, table

_HERE = Path(__file__).parent
_MODES = ("patched", "late", "undone")


def main(args: list[str]) -> int:
    """Run what `args` ask for and print the table."""
    parser = argparse.ArgumentParser(
        prog="python tests/conformance", description=__doc__.partition(":")[2].strip()
    )
    names = ", ".join(SETS)
    parser.add_argument("names", nargs="*", help=f"modules, or sets of them: {names}, all")
    parser.add_argument("--mode", choices=_MODES, default="patched", help="when to patch")
    parser.add_argument("--results", type=Path, default=Path("build/conformance"))
    parser.add_argument("-j", "--jobs", type=int, default=1, help="modules run at the same time")
    parser.add_argument("--hang", type=float, default=120, help="seconds without a word")
    parser.add_argument("--limit", type=float, default=900, help="seconds for a module")
    parser.add_argument("--again", action="store_true", help="run stock's anew, too")
    parser.add_argument("--keep", action="store_true", help="do not run what has a result")
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(args)
    import test

    if options.jobs < 1:
        parser.error("--jobs takes a positive number")
    names = options.names or ["core", "network"]
    names = [each for name in names for each in (SETS if name == "all" else [name])]
    tests = Path(test.__file__).parent
    modules = expand(names, tests)
    if unknown := [name for name in names if name not in SETS and not expand([name], tests)]:
        parser.error(f"this interpreter has no {', '.join(unknown)}")
    if options.one:
        return _run_one(options, modules)
    folder: Path = options.results.resolve() / platform.python_version()
    if not options.table:
        _run_all(folder, modules, options)
    return _show(folder, names, tests, options.mode)


def _run_one(options: argparse.Namespace, modules: list[str]) -> int:
    """In a process of its own: run one module and write its record to the folder."""
    log: Path = options.results / "logs" / f"{options.one}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    how = Options(sys.executable, options.results.name, modules, options.hang, options.limit, log)
    record = run_module(options.one, how)
    path: Path = options.results / f"{options.one}.json"
    path.write_text(json.dumps(record, indent=0))
    return 0


def _run_all(folder: Path, modules: list[str], options: argparse.Namespace) -> None:
    jobs = []
    for module in modules:
        for mode in ("stock", options.mode):
            done = (folder / mode / f"{module}.json").exists()
            keep = options.keep if mode != "stock" else not options.again
            if not (done and keep):
                jobs.append((module, mode))

    def run(job: tuple[str, str]) -> None:
        module, mode = job
        command = [
            *(sys.executable, _HERE, "--one", module, "--results", folder / mode),
            *("--hang", str(options.hang), "--limit", str(options.limit), *options.names),
        ]
        subprocess.run(command, check=True)
        record = json.loads((folder / mode / f"{module}.json").read_text())
        print(_line(mode, record), flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        for _ in pool.map(run, jobs):
            pass


def _line(mode: str, record: dict[str, Any]) -> str:
    counts: dict[str, int] = {}
    for each in record["tests"].values():
        kind = each if isinstance(each, str) else each[0]
        counts[kind] = counts.get(kind, 0) + 1
    text = " ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
    extra = [str(record[key]) for key in ("module", "exit") if key in record]
    return f"{mode:8} {record['name']:42} {record['seconds']:6.1f} s  {text} {' '.join(extra)}"


def _show(folder: Path, names: list[str], tests: Path, mode: str) -> int:
    excuses = read_excuses(_HERE / "excused.txt")
    rows: dict[str, Comparison] = {}
    for name in names:
        row = rows[f"{platform.python_version()} {name}"] = Comparison()
        for module in expand([name], tests):
            found = [folder / each / f"{module}.json" for each in ("stock", mode)]
            if all(path.exists() for path in found):
                stock, other = (json.loads(path.read_text()) for path in found)
                row.add(compare(stock, other, excuses))
    for row in rows.values():
        for module, test, outcome, message in row.lost:
            print(f"lost: {module}.{test}: {outcome} {message[:300]}")
        for name in row.again:
            print(f"passed when run again: {name}")
    print(table(rows))
    return int(any(row.lost for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
