"""What `bench peers` measures, and how it is to compare with the peers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .harness.runtimes import LOOPS, THREADED

__all__ = ["CASES", "GROWTH", "Case", "Run", "Target", "selected"]

_GREEN = tuple(name for name in THREADED if name != "stock")


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


def _targets(**ratios: float) -> tuple[Target, ...]:
    return tuple(Target(peer, ratio) for peer, ratio in ratios.items())


def _server(kind: str, connections: int, title: str, **targets: float) -> Case:
    runtimes = (*THREADED, *LOOPS) if kind == "echo" else THREADED
    run = Run("server", (kind,), runtimes, connections)
    name = f"{kind}_{connections}"
    return Case(
        name,
        f"{title}, {connections:,} connections",
        "us",
        run,
        "",
        _targets(**targets),
        full_only=connections == 5000,
    )


def _stream(key: str, title: str) -> Case:
    run = Run("server", ("stream", key), THREADED, 1)
    return Case(f"stream_{key}", title, "ms", run, "", _targets(stock=1.05))


def _micro(
    name: str, title: str, unit: str = "us", runtimes: tuple[str, ...] = THREADED, **targets: float
) -> Case:
    return Case(
        name, title, unit, Run("program", ("threads.py", name), runtimes), name, _targets(**targets)
    )


def _parked(
    threads: int, runtimes: tuple[str, ...], full_only: bool, **bytes_: float
) -> list[Case]:
    run = Run("program", ("crowd.py", "parked", str(threads)), runtimes, threads)
    rates = _targets(gevent=2.0) if bytes_ else ()
    text = f"{threads:,} threads parked"
    name = f"parked_{threads}"
    return [
        Case(f"{name}_{key}", f"{text}, {what}", unit, run, key, targets, key != "bytes", full_only)
        for key, what, unit, targets in (
            ("bytes", "bytes each", "B", _targets(**bytes_)),
            ("create", "made a second", "/s", rates),
            ("wake", "woken a second", "/s", rates),
        )
    ]


CASES: tuple[Case, ...] = (
    _server("echo", 50, "echo of 64 bytes", gevent=0.50, stock=0.75, uvloop=1.15),
    _server("echo", 1000, "echo of 64 bytes", gevent=0.60, stock=0.15, uvloop=1.10),
    _server("echo", 5000, "echo of 64 bytes", gevent=0.60, stock=0.15, uvloop=1.10),
    _server("http", 50, "http.server, keep-alive", gevent=0.85, stock=0.90),
    _server("http", 1000, "http.server, keep-alive", gevent=0.85, stock=0.90),
    _stream("send", "stream of 1 GiB, sent"),
    _stream("receive", "stream of 1 GiB, received"),
    _micro("yields", "time.sleep(0)", runtimes=(*THREADED, *LOOPS), gevent=0.45, uvloop=0.70),
    _micro("lock", "with lock, uncontended", "ns", stock=1.6),
    _micro("rlock", "with rlock, uncontended", "ns", stock=2.2),
    _micro("early_lock", "with lock, made before the patch", "ns", stock=1.6),
    _micro("early_rlock", "with rlock, made before the patch", "ns", stock=2.2),
    _micro("handoff", "lock handed over", gevent=0.5, stock=0.25),
    _micro("condition", "Condition, in turns", gevent=0.5, stock=0.25),
    _micro("event", "Event, in turns", gevent=1.0),
    _micro("queue_turns", "Queue, in turns", gevent=1.0),
    _micro("simple_queue_turns", "SimpleQueue, in turns"),
    _micro("socketpair", "socketpair, in turns", gevent=0.6, stock=1.0),
    _micro("queue_stream", "Queue, by hundreds", stock=1.2),
    _micro("simple_queue_stream", "SimpleQueue, by hundreds", "ns", stock=3.0),
    _micro("start_join", "Thread started and joined", gevent=0.55, stock=0.35),
    _micro("start_all", "10,000 Threads started, then joined", gevent=0.55, stock=0.35),
    _micro("pool", "ThreadPoolExecutor(32), 10,000 calls", gevent=0.45, stock=1.0),
    *_parked(100_000, _GREEN, False, gevent=0.75),
    *_parked(1_000_000, ("capriccio",), True),
    _micro("file_read", "4 KiB of a cached file", stock=2.0),
    Case(
        "startup",
        "start-up, over bare Python",
        "ms",
        Run("startup", (), _GREEN),
        "",
        _targets(gevent=0.6),
    ),
    _micro("compute", "a loop that computes, one step", "ns", stock=1.01),
)
"""The table; the order is the report's."""

GROWTH = {
    "yield": "time.sleep(0)",
    "timeout": "wait with a timeout, over before it",
    "start": "Thread started and joined",
}
"""What ``crowd.py growth`` measures beside more and more waiting threads: key and title."""


def selected(names: Iterable[str], quick: bool) -> list[Case]:
    """The cases of which a name begins as one of `names`; all, without any.

    `quick` leaves out those that take long.  ValueError for a name that no case has.
    """
    wanted = tuple(names)
    for name in wanted:
        if not any(case.name.startswith(name) for case in CASES):
            raise ValueError(f"no case begins with {name!r}: {', '.join(c.name for c in CASES)}")
    return [
        case
        for case in CASES
        if (not wanted or case.name.startswith(wanted)) and not (quick and case.full_only)
    ]
