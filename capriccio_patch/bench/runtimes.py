"""How a plain threaded program is run under each runtime.

1. The program itself names no runtime: what differs is only how its interpreter is started.
2. A runtime that can't run here is told of by `missing`, with what to do, before anything starts.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

NAMES = ("capriccio", "threads", "gevent", "eventlet")
TITLES = {
    "capriccio": "capriccio_patch",
    "threads": "stock threads",
    "gevent": "gevent",
    "eventlet": "eventlet",
}
ONE_WAITS = frozenset({"gevent", "eventlet"})
"""Runtimes under which a second thread that waits for a socket gets an error."""
_EVENTLET = (
    "import eventlet; eventlet.monkey_patch(); import runpy, sys; del sys.argv[0]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def missing(runtime: str) -> str | None:
    """Why `runtime` can't run here, and what to do about it; None if it can."""
    if runtime in ("gevent", "eventlet") and find_spec(runtime) is None:
        return f"{runtime} is not installed; pip install {runtime}"
    return None


def command(
    runtime: str,
    program: Path,
    *args: object,
    sockio: str | None = None,
    scheduler: str | None = None,
) -> list[str]:
    """The command that runs `program` with `args` under `runtime`, one of `NAMES`.

    `sockio` and `scheduler` concern capriccio alone.
    """
    tail = [str(program), *map(str, args)]
    if runtime == "threads":
        return [sys.executable, *tail]
    if runtime == "gevent":
        return [sys.executable, "-m", "gevent.monkey", *tail]
    if runtime == "eventlet":
        return [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _EVENTLET, *tail]
    options = []
    if sockio:
        options += ["--sockio", sockio]
    if scheduler:
        options += ["--scheduler", scheduler]
    return [sys.executable, "-m", "capriccio_patch", *options, *tail]


def environ() -> dict[str, str]:
    """An environment in which a child interpreter does not patch itself at its start."""
    return {name: value for name, value in os.environ.items() if name != "CAPRICCIO_PATCH"}
