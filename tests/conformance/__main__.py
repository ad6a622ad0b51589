"""python tests/conformance: CPython's own tests, as they lie in the interpreter, under the patch.

Each module runs in a process of its own, once under stock Python (kept in the results folder and
not run again) and once patched; a test that passes under stock and not patched is lost, unless it
passes patched, or fails under stock, when it is run again by itself in both modes, up to twice.
Exit status 1 if any is lost.  The interpreter that runs this is the one that is tested; it needs
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

from runner import Options, repeat_module, run_module
from sets import SETS, expand
from table import Comparison, all_pass, compare, outcome, read_excuses, table

_HERE = Path(__file__).parent
_MODES = ("patched", "late", "undone")
_REPEATS = 2


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
    parser.add_argument(
        "--lost-only", action="store_true", help="no stock where everything passes patched"
    )
    parser.add_argument("--keep", action="store_true", help="do not run what has a result")
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--repeat", type=json.loads, help=argparse.SUPPRESS)
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
    """In a process of its own: run one module, or some tests of it, and leave the record."""
    mode = options.results
    folder: Path = mode if options.repeat is None else mode / "repeated"
    log: Path = folder / "logs" / f"{options.one}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    prefix = f"{options.one}."
    excuses = read_excuses(_HERE / "excused.txt")
    excused = frozenset(each.removeprefix(prefix) for each in excuses if each.startswith(prefix))
    how = Options(sys.executable, mode.name, modules, options.hang, options.limit, log, excused)
    if options.repeat is None:
        record = run_module(options.one, how)
    else:
        record = repeat_module(options.one, how, options.repeat)
    (folder / f"{options.one}.json").write_text(json.dumps(record, indent=0))
    return 0


def _run_all(folder: Path, modules: list[str], options: argparse.Namespace) -> None:
    def run(module: str) -> None:
        for mode in (options.mode, "stock"):
            path = folder / mode / f"{module}.json"
            keep = options.keep if mode != "stock" else not options.again
            if mode == "stock" and options.lost_only and all_pass(_load(folder, options, module)):
                return
            if not (path.exists() and keep):
                record = _child(folder / mode, module, options)
                print(_line(mode, record), flush=True)
        _settle(folder, module, options)

    with ThreadPoolExecutor(options.jobs) as pool:
        for _ in pool.map(run, modules):
            pass


def _child(
    folder: Path, module: str, options: argparse.Namespace, tests: list[str] | None = None
) -> dict[str, Any]:
    """The record of a run in a process of its own; `tests` alone are run, if there are any."""
    command = [
        *(sys.executable, _HERE, "--one", module, "--results", folder, "--hang", str(options.hang)),
        *("--limit", str(options.limit), *options.names),
    ]
    if tests is not None:
        command += ["--repeat", json.dumps(tests)]
        folder /= "repeated"
    subprocess.run(command, check=True)
    record: dict[str, Any] = json.loads((folder / f"{module}.json").read_text())
    return record


def _load(folder: Path, options: argparse.Namespace, module: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / options.mode / f"{module}.json").read_text())
    return record


def _settle(folder: Path, module: str, options: argparse.Namespace) -> None:
    """Run what is lost again, in both modes one after the other, so that the load is the same."""
    path = folder / options.mode / f"{module}.json"
    stock = json.loads((folder / "stock" / f"{module}.json").read_text())
    other = _load(folder, options, module)
    excuses = read_excuses(_HERE / "excused.txt")
    repeats: dict[str, list[list[str]]] = other.setdefault("repeats", {})
    for _ in range(_REPEATS):
        lost = [test for _, test, _, _ in compare(stock, other, excuses).lost]
        lost = [test for test in lost if len(repeats.get(test, ())) < _REPEATS]
        if not lost:
            return
        found = [_child(folder / mode, module, options, lost) for mode in ("stock", options.mode)]
        for test in lost:
            repeats.setdefault(test, []).append([outcome(record, test) for record in found])
        path.write_text(json.dumps(other, indent=0))


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
            stock, other = (json.loads(p.read_text()) if p.exists() else None for p in found)
            if other is not None and (stock is not None or all_pass(other)):
                row.add(compare(stock or other, other, excuses))
    for row in rows.values():
        for module, test, how, message in row.lost:
            print(f"lost: {module}.{test}: {how} {message[:300]}")
        for name in row.again:
            print(f"passed when run again: {name}")
        for name in row.unsure:
            print(f"failed under stock, too, when run again: {name}")
    print(table(rows))
    return int(any(row.lost for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
