"""One run of the paper's experiment: N server threads, N client threads, one delay.

1. What was measured survives whatever ends the run: `run` returns it, with the reason in `ended`.
2. Everything is counted by who does it: servers and clients tell their totals, the parent only
   looks.  `results` makes rates of them, on one time axis that begins when the clients do.
3. Client threads begin one after the other over `ramp` seconds, as no machine opens so many
   connections at once; what is called warm begins when each had its first answer.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .capacity import Plan, plan
from .harness import runtimes
from .harness.children import Child, ChildFailed, Children
from .harness.sampling import Sampler, listen_counters
from .harness.sequence import measuring
from .results import Totals, table

_START_LIMIT = 180.0  # seconds for all processes to have their threads
_LATE = 15.0  # seconds that a client's last line may take beyond its time
_RAMP_RATE = 3000  # first connections in a second

Report = Callable[[str, float, dict[str, Any]], None]
"""Told of the run's progress: what it does, how far it is (0 to 1), and totals so far."""


@dataclass(frozen=True)
class Load:
    """What to run; times in seconds, sizes in bytes."""

    threads: int
    runtime: str = "capriccio"
    delay: float = 1.0
    measured: float = 20.0  # after all is warm
    payload: int = 1024
    host: str = "127.0.0.1"
    port: int = 0  # of the first server; 0: any that are free
    addresses: str = ""  # network of the clients' source addresses; empty: as the system chooses
    client_runtime: str = "capriccio"
    client_threads: int = 2000  # in each process
    timeout: float = 60.0  # of each client's wait, beyond the delay
    stack_size: int = 0  # of each thread of the server; 0: as the system chooses
    sockio: str | None = None
    scheduler: str | None = None
    first_ramp: float = 0.0  # at least so many seconds for the clients to begin

    @property
    def ramp(self) -> float:
        return max(self.first_ramp, self.delay, self.threads / _RAMP_RATE)

    @property
    def warm(self) -> float:
        return self.ramp + self.delay + 1

    @property
    def duration(self) -> float:
        return math.ceil(self.warm) + max(2.0, self.measured)  # rates need two whole seconds


def asked(args: argparse.Namespace, **more: Any) -> Load:
    """The load that `args` describe: options that have the name of a field, and `more` fields."""
    names = {each.name for each in fields(Load)} & vars(args).keys()
    return Load(**{name: getattr(args, name) for name in names}, **more)


@dataclass
class _Run:
    """What is known of a run while it goes on."""

    load: Load
    report: Report
    servers: list[Child] = field(default_factory=list)
    clients: list[Child] = field(default_factory=list)
    totals: dict[Child, Totals] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    began: float = 0.0
    started_in: float = 0.0


def run(load: Load, report: Report) -> dict[str, Any]:
    """Run it; what was measured, as JSON can hold it.  TooLarge before anything starts."""
    processes = plan(load.runtime, load.threads, each=load.client_threads)
    state = _Run(load, report)
    before = listen_counters()
    found: dict[str, Any] = {}
    with Children() as children:
        with measuring(found):
            _start(state, children, processes)
            _measure(state, children)
        notes = {said for child in (*state.servers, *state.clients) if (said := child.said())}
    after = listen_counters()
    return {
        "kind": "load",
        **asdict(load),
        "ramp": load.ramp,
        "warm": load.warm,
        "duration": load.duration,
        "processes": asdict(processes),
        **found,
        "notes": sorted(notes),
        "started_in": state.started_in,
        "listen": {name: after[name] - before.get(name, 0) for name in after},
        **table(
            state.began,
            [state.totals.get(child, Totals()) for child in state.servers],
            [state.totals.get(child, Totals()) for child in state.clients],
            state.samples,
            load.warm,
        ),
    }


def server_commands(load: Load, threads: list[int]) -> list[list[str]]:
    """The command of each server process."""
    return [
        runtimes.command(
            load.runtime,
            "paper_server.py",
            f"--host={load.host}",
            f"--port={load.port + number if load.port else 0}",
            f"--threads={share}",
            f"--delay={load.delay}",
            f"--payload={load.payload}",
            f"--stack-size={load.stack_size}",
            *(["--one-accepts"] if runtimes.find(load.runtime).one_waits else []),
            sockio=load.sockio,
            scheduler=load.scheduler,
        )
        for number, share in enumerate(threads)
    ]


def client_commands(load: Load, threads: list[int], ports: list[int]) -> list[list[str]]:
    """The command of each client process; they wait for a line that says when to begin."""
    own = load.runtime == load.client_runtime == "capriccio"
    return [
        runtimes.command(
            load.client_runtime,
            "paper_client.py",
            "--wait",
            f"--host={load.host}",
            f"--threads={share}",
            f"--first={sum(threads[:number])}",
            f"--of={sum(threads)}",
            f"--addresses={load.addresses}",
            f"--ramp={load.ramp}",
            f"--duration={load.duration}",
            f"--delay={load.delay}",
            f"--timeout={load.delay + load.timeout}",
            "--ports",
            *ports,
            sockio=load.sockio if own else None,
        )
        for number, share in enumerate(threads)
    ]


def await_ready(
    children: Children, waiting: list[Child], tell: Callable[[int], None]
) -> dict[Child, dict[str, Any]]:
    """What each of `waiting` says when its threads run; `tell` hears how many are ready."""
    ready: dict[Child, dict[str, Any]] = {}
    deadline = time.monotonic() + _START_LIMIT
    while len(ready) < len(waiting):
        if time.monotonic() > deadline:
            late = next(child.title for child in waiting if child not in ready)
            raise ChildFailed(f"{late} did not start its threads within {_START_LIMIT:.0f} s")
        for child, message in children.read(0.5):
            if "ready" in message:
                ready[child] = message
                if len(ready) == len(waiting):
                    break
        tell(len(ready))
    return ready


def _start(state: _Run, children: Children, processes: Plan) -> None:
    load = state.load
    for number, command in enumerate(server_commands(load, processes.servers), 1):
        state.servers.append(children.start(f"server {number}", command))
    servers = await_ready(
        children, state.servers, lambda done: state.report("starting servers", 0, {"ready": done})
    )
    state.started_in = max(message["seconds"] for message in servers.values())
    ports = [servers[child]["port"] for child in state.servers]
    # A few at a time: so many interpreters that start at once would only wait for each other.
    commands = client_commands(load, processes.clients, ports)
    for first in range(0, len(commands), 4):
        batch = [
            children.start(f"client {number}", commands[number])
            for number in range(first, min(first + 4, len(commands)))
        ]
        state.clients += batch
        await_ready(
            children,
            batch,
            lambda done, before=first: state.report(  # type: ignore[misc]
                "starting clients", 0, {"ready": before + done}
            ),
        )


def _measure(state: _Run, children: Children) -> None:
    sampler = Sampler([it.pid for it in state.servers], [it.pid for it in state.clients])
    state.totals = {child: Totals() for child in (*state.servers, *state.clients)}
    state.began = time.time() + 0.5
    for child in state.clients:
        child.tell(str(state.began))
    duration = state.load.duration
    second = 0
    while (now := time.time() - state.began) < duration + _LATE:
        if now >= second:
            state.samples.append(sampler.sample())
            second = int(now) + 1
        for child, message in children.read(max(0.01, second - now)):
            state.totals[child].add(message)
        phase = "measuring" if now > state.load.warm else "warming up"
        state.report(phase, min(1.0, max(0.0, now) / duration), _so_far(state))
        if all(child.process.poll() is not None for child in state.clients):
            for child in state.clients:
                if child.process.returncode:
                    raise ChildFailed(child.failure())
            return
    raise ChildFailed(f"clients did not end within {_LATE:.0f} s of their time")


def _so_far(state: _Run) -> dict[str, Any]:
    clients = [state.totals[child] for child in state.clients]
    return {
        "rate": sum(it.rate("answers") for it in clients),
        "open": sum(it.last("open") for it in clients),
        "failures": sum(sum(it.failures.values()) for it in clients),
    }
