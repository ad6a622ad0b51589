"""How a plain threaded program is run under each runtime.

1. The program itself names no runtime: what differs is the source that its interpreter runs first.
2. A runtime that can't run here is told of by `missing`, with what to do, before anything starts.
3. A child sees no setting of the caller's environment: what it is to be asked for is in `command`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = [
    "LOOPS",
    "NAMES",
    "OURS",
    "PROGRAMS",
    "THREADED",
    "Runtime",
    "command",
    "environment",
    "find",
    "missing",
    "patch",
    "title",
]

PROGRAMS = Path(__file__).parents[1] / "programs"
_ROOT = Path(__file__).parents[3]
_SETTINGS = ("CAPRICCIO_", "PYTHON", "GEVENT", "EVENTLET")


@dataclass(frozen=True)
class Runtime:
    """One way to run a program."""

    name: str
    title: str
    patch: str = ""
    """The source that puts it in force; ``{}`` stands for what else it is asked for."""
    needs: str = ""
    """The package without which it can't run."""
    is_loop: bool = False
    """It has an event loop for programs of coroutines, and nothing for threads."""
    one_waits: bool = False
    """A second thread that waits for a socket gets an error."""
    also: str = ""
    """Another name that options take, and that older results have."""


OURS = "capriccio"
_ALL = (
    Runtime(
        OURS,
        "capriccio_patch",
        "import capriccio_patch; capriccio_patch.patch_all({})",
        needs="greenlet",
    ),
    Runtime("stock", "stock threads", also="threads"),
    Runtime(
        "gevent",
        "gevent",
        "from gevent import monkey; monkey.patch_all()",
        needs="gevent",
        one_waits=True,
    ),
    Runtime(
        "eventlet",
        "eventlet",
        "import eventlet; eventlet.monkey_patch()",
        needs="eventlet",
        one_waits=True,
    ),
    Runtime("asyncio", "asyncio", is_loop=True),
    Runtime("uvloop", "uvloop", "import uvloop; uvloop.install()", needs="uvloop", is_loop=True),
)
_BY_NAME = {name: it for it in _ALL for name in (it.name, it.also) if name}
NAMES = tuple(it.name for it in _ALL)
THREADED = tuple(it.name for it in _ALL if not it.is_loop)
LOOPS = tuple(it.name for it in _ALL if it.is_loop)


def find(name: str) -> Runtime:
    """The runtime of that name; ValueError if there is none."""
    if name not in _BY_NAME:
        raise ValueError(f"{name!r} is none of {', '.join(NAMES)}")
    return _BY_NAME[name]


def title(name: str) -> str:
    """What a runtime is called in texts."""
    return find(name).title


def missing(name: str) -> str | None:
    """Why a runtime can't run here, and what to do about it; None if it can."""
    package = find(name).needs
    if package and find_spec(package) is None:
        return f"{package} is not installed; pip install {package}"
    return None


def patch(name: str, **asked: Any) -> str:
    """The source that puts a runtime in force; `asked` are arguments of our ``patch_all``."""
    arguments = (f"{key}={value!r}" for key, value in asked.items() if value is not None)
    return find(name).patch.format(", ".join(arguments))


def command(name: str, program: Path | str, *args: object, **asked: Any) -> list[str]:
    """The command that runs `program`, a path or a name in `PROGRAMS`, under the runtime `name`.

    `args` are the program's.  `asked` are arguments of ``patch_all``, and concern ours alone.
    """
    launch = [sys.executable, "-P", "-W", "ignore::DeprecationWarning", PROGRAMS / "launch.py"]
    return [*map(str, launch), patch(name, **asked), str(PROGRAMS / program), *map(str, args)]


def environment() -> dict[str, str]:
    """What a child finds: this package to import, and no setting that would change a runtime."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
    return kept | {"PYTHONPATH": str(_ROOT)}
