"""Libraries in C that are installed here, and what the patch does for each at its import.

``python -m capriccio_patch.audit --libraries`` imports each in an interpreter of its own that is
patched: its package, and then each of its extension modules.  Nothing of it is called, so what is
shown is what is taken over, and not that it waits well.

What makes an import fail, hang or end the interpreter is told of that library alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import Distribution, distributions
from textwrap import wrap

__all__ = ["Installed", "installed", "lines", "look_at"]

_STANDARD = {"curses": ["_curses"], "tkinter": ["_tkinter"]}
"""Of the standard library: what waits in C libraries."""
_OWN = "capriccio-patch"
_PROGRAM = """
import importlib, json, os, sys
import capriccio_patch
capriccio_patch.patch_all()
imported, failed = 0, ""
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        imported += 1
    except BaseException as error:
        failed = failed or f"{type(error).__name__}: {error}"
report = {"imported": imported, "failed": failed, "told": capriccio_patch.status()["libraries"]}
print("\\n" + json.dumps(report), end="", flush=True)
os._exit(0)  # whatever OS threads it has
"""
"""Imports what it is told, and writes how that went as the last line of its output, in JSON."""
_NOTHING = "nothing of it waits in C, as far as its imports tell"


@dataclass
class Installed:
    """One library, and what has been found out."""

    name: str
    modules: list[str]
    """Its packages, and then its extension modules."""
    told: dict[str, str] = field(default_factory=dict)
    """What `status` says, by library or module."""
    failed: str = ""


def installed() -> list[Installed]:
    """Those that can be found, by name."""
    found = {name: Installed(name, modules) for name, modules in _STANDARD.items()}
    for each in distributions():
        name = each.metadata["Name"] or ""
        modules = list(_modules(each))
        if modules and name.lower().replace("_", "-") != _OWN:
            packages = [module.partition(".")[0] for module in modules]
            first = name.partition("-")[0]  # psycopg-binary wants psycopg before it
            found.setdefault(name, Installed(name, [*dict.fromkeys([first, *packages, *modules])]))
    return [found[name] for name in sorted(found, key=str.lower)]


def _modules(distribution: Distribution) -> Iterator[str]:
    """Its extension modules."""
    for file in distribution.files or ():
        suffix = next((each for each in EXTENSION_SUFFIXES if file.name.endswith(each)), None)
        if suffix is None or ".." in file.parts:
            continue
        parts = [*file.parts[:-1], file.name[: -len(suffix)]]
        if all(part.isidentifier() for part in parts):
            yield ".".join(parts)


def look_at(
    libraries: Iterable[Installed], jobs: int, limit: float, tell: Callable[[Installed], None]
) -> None:
    """Import each in an interpreter that has `limit` seconds, `jobs` of them at a time."""

    def look(library: Installed) -> None:
        _look(library, limit)
        tell(library)

    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        list(pool.map(look, libraries))


def _look(library: Installed, limit: float) -> None:
    command = [sys.executable, "-c", _PROGRAM, *library.modules]
    try:
        done = subprocess.run(
            command,
            check=False,  # what it wrote tells
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        library.failed = f"its import takes longer than {limit:g} s"
        return
    try:
        found = json.loads(done.stdout.rpartition("\n")[2])
    except ValueError:
        library.failed = f"its import ends the interpreter with status {done.returncode}"
        return
    told = found["told"]
    own = library.name in _STANDARD
    library.told = {name: why for name, why in told.items() if own or name not in _STANDARD}
    if found["imported"] == 0:
        library.failed = f"its import fails: {found['failed']}"


def lines(libraries: Iterable[Installed], columns: int = 100) -> Iterator[str]:
    """A table: what is done for each; at the end those of which nothing waits."""
    libraries = list(libraries)
    width = max((len(each.name) for each in libraries), default=0) + 2
    rows = [(each.name, each.failed) for each in libraries if each.failed]
    for each in libraries:
        for name, told in each.told.items():
            rows.append((each.name, told if name == each.name else f"{name}: {told}"))
    silent = [each.name for each in libraries if not each.told and not each.failed]
    if silent:
        rows.append(("others", f"{_NOTHING}: {', '.join(silent)}"))
    for name, text in rows:
        yield from wrap(
            text,
            max(columns, width + 20),
            initial_indent=f"{name:{width}}",
            subsequent_indent=" " * width,
            break_on_hyphens=False,
            break_long_words=False,
        )
