"""What `bench peers` measures, and how it is to compare with the peers."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from .harness.runtimes import LOOPS, THREADED

__all__ = ["CASES", "GROWTH", "Case", "Run", "Target", "selected"]

_GREEN = tuple(name for name in THREADED if name != "stock")
_BESIDE_STOCK = ("capriccio", "stock")
_PARKED_BYTES = 6_200 if sys.version_info < (3, 14) else 8_000
"""What a thread that waits may take; frames of CPython 3.14 are larger."""


@dataclass(frozen=True)
class Target:
    """At most (or at least) so much of what a peer takes (or reaches)."""

    peer: str
    ratio: float


@dataclass(frozen=True)
class Run:
    """One run of a program, which may yield the values of several cases.

    `kind` is how it is measured: ``program`` prints its values itself; of a ``server`` that others
    ask the processor's time is taken from outside; ``startup`` is that of a program that is empty.
    """

    kind: str
    args: tuple[str, ...]
    runtimes: tuple[str, ...]
    size: int = 0
    """Connections, or threads."""


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    title: str
    unit: str
    run: Run
    key: str
    """Under which the run's program prints it."""
    targets: tuple[Target, ...] = ()
    more_is_better: bool = False
    full_only: bool = False
    most: float = 0.0
    """At most so much, whatever the peers take; 0: no such bound."""


def _targets(**ratios: float) -> tuple[Target, ...]:
    return tuple(Target(peer, ratio) for peer, ratio in ratios.items())


def _server(kind: str, connections: int, title: str, **targets: float) -> Case:
    runtimes = (*THREADED, *LOOPS) if kind == "echo" else THREADED
    run = Run("server", (kind,), runtimes, connections)
    name = f"{kind}_{connections}"
    return Case(
        name,
        f"{title}, {connections:,} {'threads' if kind == 'paper' else 'connections'}",
        "us",
        run,
        "",
        _targets(**targets),
        full_only=connections > 1000,
    )


def _stream(key: str, title: str) -> Case:
    run = Run("server", ("stream", key), THREADED, 1)
    return Case(f"stream_{key}", title, "ms", run, "", _targets(stock=1.0, gevent=0.8))


def _program(
    program: str, name: str, title: str, unit: str, runtimes: tuple[str, ...], **targets: float
) -> Case:
    return Case(
        name, title, unit, Run("program", (program, name), runtimes), name, _targets(**targets)
    )


def _micro(
    name: str, title: str, unit: str = "us", runtimes: tuple[str, ...] = THREADED, **targets: float
) -> Case:
    return _program("threads.py", name, title, unit, runtimes, **targets)


def _yields(threads: int, **targets: float) -> Case:
    title = f"time.sleep(0), {threads:,} threads"
    return _micro(f"yields_{threads}", title, "us", (*THREADED, *LOOPS), **targets)


def _file(name: str, title: str, runtimes: tuple[str, ...] = THREADED, **targets: float) -> Case:
    return _program("files.py", name, title, "us", runtimes, **targets)


def _read_whole(threads: int) -> Case:
    title = f"open and read a cached file of 1 MiB, {threads} thread{'s' * (threads > 1)}"
    return _file(f"read_whole_{threads}", title, _BESIDE_STOCK, stock=1.10)


def _parked(threads: int, runtimes: tuple[str, ...], full_only: bool) -> list[Case]:
    run = Run("program", ("crowd.py", "parked", str(threads)), runtimes, threads)
    text = f"{threads:,} threads parked"
    name = f"parked_{threads}"
    create, wake = ({}, {}) if full_only else ({"gevent": 1.8}, {"gevent": 2.5})
    return [
        Case(
            f"{name}_bytes",
            f"{text}, bytes each",
            "B",
            run,
            "bytes",
            (),
            False,
            full_only,
            _PARKED_BYTES,
        ),
        Case(
            f"{name}_create",
            f"{text}, made a second",
            "/s",
            run,
            "create",
            _targets(**create),
            True,
            full_only,
        ),
        Case(
            f"{name}_wake",
            f"{text}, woken a second",
            "/s",
            run,
            "wake",
            _targets(**wake),
            True,
            full_only,
        ),
    ]


_PAPER = "the paper's server: accept, wait 1 s, answer, close"

CASES: tuple[Case, ...] = (
    _server("echo", 50, "echo of 64 bytes", uvloop=1.00, gevent=0.55),
    _server("echo", 1000, "echo of 64 bytes", uvloop=1.10, gevent=0.55),
    _server("echo", 5000, "echo of 64 bytes", uvloop=1.10, gevent=0.55),
    _server("tls", 50, "echo of 64 bytes by TLS", stock=0.90),
    _server("http", 50, "http.server, keep-alive", gevent=0.85, stock=0.92),
    _server("http", 1000, "http.server, keep-alive", gevent=0.80, stock=0.90),
    _server("http_each", 50, "http.server, a connection each", gevent=0.60),
    _server("paper", 1000, _PAPER, stock=0.90, gevent=0.80),
    _server("paper", 2000, _PAPER, stock=0.90, gevent=0.80),
    _server("paper", 15_000, _PAPER, stock=0.60, gevent=0.80),
    _stream("send", "stream of 1 GiB, sent"),
    _stream("receive", "stream of 1 GiB, received"),
    _yields(2, gevent=0.20, uvloop=0.35),
    _yields(1000, gevent=0.28, uvloop=0.75),
    _micro("lock", "with lock, uncontended", "ns", stock=0.80),
    _micro("rlock", "with rlock, uncontended", "ns", stock=0.80),
    _micro("early_lock", "with lock, made before the patch", "ns", stock=0.80),
    _micro("early_rlock", "with rlock, made before the patch", "ns", stock=0.80),
    _micro("handoff", "lock handed over", gevent=0.17),
    _micro("contended", "lock contended with sleep(0), 16 threads", gevent=0.65),
    _micro("condition", "Condition, in turns", gevent=0.13),
    _micro("event", "Event, in turns", gevent=0.30),
    _micro("queue_turns", "Queue, in turns", gevent=0.37),
    _micro("queue_stream", "Queue, by hundreds", gevent=0.75),
    _micro("simple_queue_turns", "SimpleQueue, in turns", gevent=0.21),
    _micro("simple_queue_stream", "SimpleQueue, by hundreds", "ns", gevent=0.80, stock=1.3),
    _micro("socketpair", "socketpair, in turns", gevent=0.55, stock=0.80),
    _micro("pipe", "pipe, in turns", runtimes=_BESIDE_STOCK, stock=0.80),
    _micro("start_join", "Thread started and joined", gevent=0.38),
    _micro("start_all", "10,000 Threads started, then joined", gevent=0.55),
    _micro("pool", "ThreadPoolExecutor(32), 10,000 calls", gevent=0.40),
    _file("os_read", "os.read, 4 KiB of a cached file", stock=1.15),
    _file("file_read", "FileIO.read, 4 KiB of a cached file", stock=1.15),
    *map(_read_whole, (1, 16, 100)),
    *_parked(100_000, _GREEN, False),
    *_parked(1_000_000, ("capriccio",), True),
    Case(
        "startup",
        "start-up, over bare Python",
        "ms",
        Run("startup", (), _GREEN),
        "",
        _targets(gevent=0.45),
    ),
    _micro("compute", "a loop that computes, one step", "ns", stock=1.01),
)
"""The table; the order is the report's.  gevent's ``os.read`` of a pipe stops all its threads."""

GROWTH = {
    "yield": "time.sleep(0)",
    "timeout": "wait with a timeout, over before it",
    "start": "Thread started and joined",
}
"""What ``crowd.py growth`` measures beside more and more waiting threads: key and title."""


def selected(names: Iterable[str], quick: bool) -> list[Case]:
    """The cases of which a name begins as one of `names`; all, without any.

    `quick` leaves out those that take long, unless they are named in full.  ValueError for a name
    that no case has.
    """
    wanted = tuple(names)
    for name in wanted:
        if not any(case.name.startswith(name) for case in CASES):
            raise ValueError(f"no case begins with {name!r}: {', '.join(c.name for c in CASES)}")
    return [
        case
        for case in CASES
        if (not wanted or case.name.startswith(wanted))
        and not (quick and case.full_only and case.name not in wanted)
    ]
