"""A server in a process of its own, others that ask it, and what that takes."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Self

from .harness.children import Child, ChildFailed, Children
from .harness.runtimes import LOOPS, PROGRAMS, command, find

__all__ = ["Service"]

_GIB = 1 << 30
_LIMIT = 180.0
"""Seconds that a turn may take."""


class Service:
    """A context manager: an idle server stays for all rounds, and ends with all that ask it."""

    def __init__(
        self,
        runtime: str,
        kind: str,
        connections: int,
        settings: Mapping[str, str] | None = None,
        **asked: Any,
    ) -> None:
        """Start a server of a `kind` that ``servers.py`` has, which `connections` ask.

        `settings` are added to its environment; `asked` are arguments of our ``patch_all``.
        """
        self._kind = kind
        self._connections = connections
        self._children = Children()
        program = "loops.py" if runtime in LOOPS else "servers.py"
        args = [kind, connections, *(["--one-accepts"] if find(runtime).one_waits else [])]
        started = command(runtime, program, *args, **asked)
        self._server = self._children.start("the server", started, settings)
        self._load: Child | None = None
        self._work = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._children.__exit__(*details)

    def open(self, seconds: float, idle: int = 0) -> None:
        """Connect, and find out how much is a round of about `seconds`.

        So many connections more are open and `idle`.
        """
        port = self._server.line()
        if idle:
            self._ask_from(port, idle)
        self._load = self._ask_from(port, self._connections)
        if self._kind == "stream":
            self._work = _GIB if seconds >= 0.5 else _GIB // 8
            return
        self._work = 2 * self._connections
        while True:
            started = time.monotonic()
            self._ask(self._work)
            took = time.monotonic() - started
            if took >= seconds / 4:
                self._work = max(self._work, int(self._work * seconds / took))
                return
            self._work *= 2

    def _ask_from(self, port: str, connections: int) -> Child:
        load = str(PROGRAMS / "load.py")
        command = [sys.executable, "-P", load, self._kind, port, str(connections)]
        child = self._children.start("its load", command)
        if child.line(_LIMIT) != "ready":
            raise ChildFailed("the server does not answer")
        return child

    def turn(self, receives: bool = False) -> float:
        """The server's CPU seconds for one request, or for a GiB that it sends or `receives`."""
        work = self._work
        before = self._server.cpu()
        self._ask(-work if receives else work)
        spent = self._server.cpu() - before
        return spent / (work / _GIB if self._kind == "stream" else work)

    def rate(self) -> float:
        """Requests a second, by the clock."""
        started = time.perf_counter()
        self._ask(self._work)
        return self._work / (time.perf_counter() - started)

    def _ask(self, work: int) -> None:
        assert self._load is not None
        self._load.tell(work)
        self._load.line(_LIMIT)
