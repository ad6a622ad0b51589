"""What a row has to hand: a thread that ticks, one that ends the wait, sockets, pipes, processes.

1. A row calls `Scene.wait` once; what the ticker missed and the time taken are those of that call.
2. Whoever ends the wait is a thread of `threading`, after `DELAY`.  If the call keeps it from
   running, a real OS thread does the same after `RESCUE`: a call that blocks is measured, and does
   not hang.
3. Time for which the system gave the OS thread that ticks no CPU is not the call's: where that is
   known, it is taken off a gap.
4. Rows and this module use the standard library as any program does, with the patch in force or
   without; only the OS thread that comes to the rescue uses unpatched.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from enum import Enum
from functools import wraps
from typing import Any, NamedTuple

from . import unpatched

__all__ = [
    "DELAY",
    "ROWS",
    "Kind",
    "Row",
    "Scene",
    "Skip",
    "block_signals",
    "drain",
    "fill",
    "row",
    "rows",
]

DELAY = 0.15
"""Seconds that a call has to wait."""
RESCUE = 4 * DELAY
PERIOD = 0.002
"""Seconds between two ticks."""


class Skip(Exception):
    """This platform lacks what the row needs; the argument says what."""


class Kind(Enum):
    """Who decides how long the call waits."""

    ENDED = "ended"
    """The row: `DELAY` seconds."""
    DEVICE = "device"
    """A device or a server: if it answers at once, nothing can be told."""


class Row(NamedTuple):
    """One call to be audited."""

    name: str
    module: str
    kind: Kind
    run: Callable[[Scene], Any]
    offload: tuple[str, ...]


ROWS: dict[str, Row] = {}
"""The rows of the modules that have been imported, by name."""


def row(
    name: str, kind: Kind = Kind.ENDED, offload: tuple[str, ...] = ()
) -> Callable[[Callable[[Scene], Any]], Callable[[Scene], Any]]:
    """Make a function the row `name`.  What it returns, or raises, has to be the same under stock.

    `offload` names functions that the patch is told to offload.
    """

    def register(run: Callable[[Scene], Any]) -> Callable[[Scene], Any]:
        if name in ROWS:
            raise ValueError(f"two rows named {name}")
        ROWS[name] = Row(name, run.__module__.rpartition(".")[2], kind, run, offload)
        return run

    return register


def rows(
    variants: Mapping[str, tuple[Any, ...]],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function a row for each name, called with the scene and what `variants` has for it."""

    def register(run: Callable[..., Any]) -> Callable[..., Any]:
        for name, args in variants.items():
            row(name)(wraps(run)(lambda scene, args=args: run(scene, *args)))
        return run

    return register


class Scene:
    """What surrounds the one call that a row makes."""

    def __init__(self, starved: Callable[[], float] = float) -> None:
        """`starved` tells for how many seconds, ever, the OS thread that ticks was left without a
        CPU by the system."""
        self._starved = starved
        self._starved_before = 0.0
        self.waited = 0.0
        """Seconds that the call took."""
        self.longest = 0.0
        """The longest gap between two ticks meanwhile, in seconds."""
        self.ticks = 0
        self.over = False
        self._last = 0.0
        self._ticking = threading.Event()
        self._actions: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    # -- the call --------------------------------------------------------------------------------

    def after(self, action: Callable[..., Any], *args: Any) -> None:
        """Have ``action(*args)`` called `DELAY` after `wait` began."""
        self._actions.append((action, args))

    def wait(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Make the call that has to wait; what it returns or raises."""
        threading.Thread(target=self._tick, name="ticker", daemon=True).start()
        if self._actions:
            unpatched.start_new_thread(self._rescue, ())
            threading.Thread(target=self._end, name="ender", daemon=True).start()
        self._ticking.wait()
        self._starved_before = self._starved()
        begun = self._last = time.perf_counter()
        self.longest = 0.0
        self.ticks = 0
        try:
            return call(*args, **kwargs)
        finally:
            now = time.perf_counter()
            self.over = True
            self.waited = now - begun
            self._note(now)

    def _tick(self) -> None:
        self._ticking.set()
        while not self.over:
            time.sleep(PERIOD)
            now = time.perf_counter()
            if not self.over:
                self._note(now)
                self.ticks += 1

    def _note(self, now: float) -> None:
        starved = self._starved()
        gap = now - self._last - (starved - self._starved_before)
        self.longest = max(self.longest, gap)
        self._last = now
        self._starved_before = starved

    def _end(self) -> None:
        time.sleep(DELAY)
        self._act()

    def _rescue(self) -> None:
        """On a real OS thread: end the wait if nobody else could."""
        block_signals()
        unpatched.sleep(RESCUE)
        self._act()

    def _act(self) -> None:
        while self._actions:
            try:
                action, args = self._actions.pop(0)
            except IndexError:
                return
            action(*args)

    # -- what a row works with -------------------------------------------------------------------

    def need(self, owner: Any, *names: str) -> None:
        """Skip the row unless `owner` (a module, a class) has all these attributes."""
        for name in names:
            if not hasattr(owner, name):
                raise Skip(f"no {owner.__name__}.{name} here")

    def listener(self, family: int = socket.AF_INET, backlog: int = 8) -> socket.socket:
        """A socket that listens on the loopback interface, or on a path of this directory."""
        address: Any = ("127.0.0.1", 0)
        if family == socket.AF_UNIX:
            address = "listener"
        elif family == socket.AF_INET6:
            address = ("::1", 0)
        try:
            server = socket.socket(family)
            server.bind(address)
        except OSError as error:
            raise Skip(f"no socket of this family: {error.strerror}") from None
        server.listen(backlog)
        return server

    def tcp(self, family: int = socket.AF_INET) -> tuple[socket.socket, socket.socket]:
        """Two ends of one connection."""
        with self.listener(family) as server:
            here = socket.socket(family)
            here.connect(server.getsockname())
            there, _ = server.accept()
        return here, there

    def udp(self) -> tuple[socket.socket, socket.socket]:
        """Two datagram sockets, connected to each other."""
        here, there = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
        for one in (here, there):
            one.bind(("127.0.0.1", 0))
        here.connect(there.getsockname())
        there.connect(here.getsockname())
        return here, there

    def fifo(self, name: str = "fifo") -> str:
        """The path of a new fifo."""
        os.mkfifo(name)
        return name

    def process(self, code: str, *args: str) -> subprocess.Popen[bytes]:
        """A plain Python that runs `code`; it is to write a line when all is ready, and to stay
        until its standard input ends: ``scene.after(process.stdin.close)``."""
        return self._start(("-c", code, *args), ())

    def program(self, path: str, *args: str, keep: tuple[int, ...]) -> subprocess.Popen[bytes]:
        """The same for a program in a file, which inherits the descriptors `keep`."""
        return self._start((path, *args), keep)

    def _start(self, args: tuple[str, ...], keep: tuple[int, ...]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=keep,
        )
        assert process.stdout is not None
        if not process.stdout.readline():
            raise Skip("a process that the row needs could not do its part")
        return process


def block_signals() -> None:
    """Keep signals from this OS thread, of which the row knows nothing."""
    unpatched.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def fill(descriptor: int) -> int:
    """Write to a pipe, socket or terminal until it takes no more; the number of bytes."""
    was = os.get_blocking(descriptor)
    os.set_blocking(descriptor, False)
    count = 0
    try:
        for size in (65536, 4096, 1):
            while True:
                try:
                    count += os.write(descriptor, b"x" * size)
                except BlockingIOError:
                    break
    finally:
        os.set_blocking(descriptor, was)
    return count


def drain(descriptor: int, count: int) -> None:
    """Read `count` bytes, or to the end."""
    while count > 0 and (data := os.read(descriptor, min(count, 65536))):
        count -= len(data)
