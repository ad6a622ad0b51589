"""The command ``python -m capriccio_patch.ps``: asks a running program, and shows the answer."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time

from . import text
from .reaching import Unreachable, ask, programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["main"]

_EPILOG = """\
Without PID the patched programs of this user are listed.  A program is asked by the interpreter, on
CPython 3.14 and later, or at the socket that it opens with CAPRICCIO_PS=1 in its environment; that
one answers while C code blocks its threads, too.
"""
_SHORTEST, _LONGEST = 0.1, 1e6
_KINDS = (".svg", ".html", ".dot", ".json")
_HOME, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"


def main(args: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(args)
    if options.pid is None and args:
        parser.error("PID is missing")
    try:
        if options.pid is None:
            _list()
        elif options.graph is not None:
            _draw(options.pid, options.graph)
        elif options.watch is not None:
            _watch(options.pid, options.watch)
        else:
            _show(options)
    except Unreachable as error:
        print(f"capriccio_patch.ps: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has seen enough.
        _close_output()
    except OSError as error:
        print(f"capriccio_patch.ps: {error}", file=sys.stderr)
        _close_output()
        return 1
    return 0


def _close_output() -> None:
    """Or the interpreter would complain when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()  # closed: there is none


def _period(value: str) -> float:
    seconds = float(value)
    if not 0 < seconds < _LONGEST:
        raise ValueError
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m capriccio_patch.ps",
        description="Show what the threads of a running program do.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pid", nargs="?", type=int, metavar="PID")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--tree", action="store_true", help="who waits for whom")
    how.add_argument("--stacks", action="store_true", help="stacks, equal ones once")
    how.add_argument("--json", action="store_true", help="everything, for programs")
    how.add_argument(
        "--watch", nargs="?", const=1.0, type=_period, metavar="SECONDS", help="again and again"
    )
    how.add_argument("--graph", metavar="FILE", help="draw its blocking graph: .svg, .html, .dot")
    return parser


def _list() -> None:
    found = list(programs())
    for pid, command, way in found:
        print(f"{pid:>8}  {way:<18}  {command}")
    if not found:
        print("no patched program of this user is found", file=sys.stderr)


def _threads(pid: int) -> dict[str, Any]:
    answer = ask(pid, "threads")
    try:
        data: dict[str, Any] = json.loads(answer)
    except ValueError:
        raise Unreachable(f"process {pid} has said nothing that can be understood") from None
    return data


def _show(options: argparse.Namespace) -> None:
    data = _threads(options.pid)
    if options.json:
        print(json.dumps(data, indent=1))
        return
    if options.stacks or options.tree:
        shown = text.stacks(data) if options.stacks else text.tree(data)
    else:
        shown = text.table(data, shutil.get_terminal_size()[0] if _is_terminal() else None)
    print(text.summary(data), shown, sep="\n\n", flush=True)


def _draw(pid: int, path: str) -> None:
    kind = os.path.splitext(path)[1]
    if kind not in _KINDS:
        raise Unreachable(f"{path}: the name of a graph ends in {', '.join(_KINDS)}")
    drawing = ask(pid, f"graph {kind[1:]}")
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(drawing)
    except OSError as error:
        raise Unreachable(str(error)) from None


def _watch(pid: int, seconds: float) -> None:
    """A screen, again and again, until the program ends."""
    is_terminal = _is_terminal()
    data = _threads(pid)
    while True:
        columns, lines = shutil.get_terminal_size()
        size = (lines - 3, columns) if is_terminal else (None, None)
        shown = text.groups(data, *size)
        found = f"{text.summary(data)}\n\n{shown}".splitlines()
        if is_terminal:
            # Written over what is there: a screen that is cleared first would flicker.
            cut = [line[:columns] + _REST_OF_LINE for line in found]
            print(_HOME + "\n".join(cut) + _REST, flush=True)
        else:
            print(*found, "", sep="\n", flush=True)
        time.sleep(max(seconds, _SHORTEST))
        try:
            data = _threads(pid)
        except Unreachable as error:
            print(f"\ncapriccio_patch.ps: {error}", file=sys.stderr)
            return
