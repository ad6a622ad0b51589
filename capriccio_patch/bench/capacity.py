"""What this machine can hold: how many threads, in how many processes, and if not, why.

Each bound is one row: what is spent, how much there is, how much one thread takes.  A size beyond
the least of them is refused before anything starts.  What a thread takes of memory is what was
measured, rounded up; a run that needs more all the same ends with what it measured till then.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from .harness.conditions import setting

KIB = 1 << 10
MEMORY_OF_SERVER_THREAD = {
    "capriccio": 14 * KIB,
    "stock": 56 * KIB,  # with its page tables and its stack in the kernel
    "gevent": 16 * KIB,
    "eventlet": 20 * KIB,
}
MEMORY_OF_PARKED_THREAD = {
    "capriccio": 12 * KIB,
    "stock": 44 * KIB,
    "gevent": 12 * KIB,
    "eventlet": 13 * KIB,
}
MEMORY_OF_CLIENT_THREAD = 16 * KIB
MEMORY_OF_CONNECTION = 10 * KIB  # both ends, in the kernel
MEMORY_OF_PROCESS = 40 << 20
SPARE_MEMORY = 0.1  # of what is available
SPARE_DESCRIPTORS = 200  # of each process: files, pipes, connections that are being closed
SPARE_TASKS = 1_000  # of the system: other programs must be able to start
MAPPINGS_OF_OS_THREAD = 3  # stack, guard page, the interpreter's chunk of frames


class TooLarge(Exception):
    """A size that this machine can't hold; `largest` is what it can."""

    def __init__(self, threads: int, largest: int, reason: str) -> None:
        self.largest = largest
        fits = f"the largest that fits is {largest:,}" if largest > 0 else "none fits"
        super().__init__(f"{threads:,} threads are too many here: {reason}; {fits}")


@dataclass(frozen=True)
class Plan:
    """How many threads each process of servers and of clients gets."""

    servers: list[int]
    clients: list[int]


def raise_descriptor_limit() -> int:
    """Let this process and its children open as many as the hard limit allows; that number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    return hard


def plan(
    runtime: str, threads: int, *, servers: bool = True, clients: bool = True, each: int = 2000
) -> Plan:
    """Spread `threads` over processes, clients by `each`; TooLarge if they can't be held."""
    per_process = per_server_process(runtime)
    memory = 0.0
    if servers:
        memory += MEMORY_OF_SERVER_THREAD[runtime] + MEMORY_OF_PROCESS / per_process
    if clients:
        memory += MEMORY_OF_CLIENT_THREAD + MEMORY_OF_PROCESS / each
    memory += MEMORY_OF_CONNECTION
    bounds = [_memory(memory), *_open_files(servers + clients)]
    if servers and runtime == "stock":
        bounds += _tasks()
    _check(threads, bounds)
    return Plan(_spread(threads, per_process) if servers else [], _spread(threads, each))


def check_parked(runtime: str, threads: int) -> None:
    """TooLarge if so many threads that only wait don't fit into memory."""
    _check(threads, [_memory(MEMORY_OF_PARKED_THREAD[runtime])])


def check_server(runtime: str, threads: int) -> None:
    """TooLarge if one server with so many threads, each with a connection, can't be held."""
    memory = MEMORY_OF_SERVER_THREAD[runtime] + MEMORY_OF_CONNECTION
    held = per_server_process(runtime), "a process can hold no more of them"
    bounds = [held, _memory(memory), *_open_files(2)]
    _check(threads, [*bounds, *_tasks()] if runtime == "stock" else bounds)


def per_server_process(runtime: str) -> int:
    """How many threads one server may have, each with a connection."""
    most = raise_descriptor_limit() - SPARE_DESCRIPTORS
    mappings = setting("vm.max_map_count")
    if runtime == "stock" and mappings is not None:
        most = min(most, int(mappings) // MAPPINGS_OF_OS_THREAD - SPARE_DESCRIPTORS)
    return max(1, most)


def tasks_left() -> tuple[int, str]:
    """How many more OS threads the system allows, and which setting says so."""
    running = _running_tasks()
    bounds = [
        (int(value) - running, name)
        for name in ("kernel.pid_max", "kernel.threads-max")
        if (value := setting(name)) is not None
    ]
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != resource.RLIM_INFINITY:
        bounds.append((soft - running, "ulimit -u (RLIMIT_NPROC)"))
    bounds += [(limit - used, "the cgroup's pids.max") for used, limit in _cgroups()]
    return min(bounds, default=(1 << 30, "nothing"))


def _check(threads: int, bounds: list[tuple[int, str]]) -> None:
    largest, reason = min(bounds)
    if threads > largest:
        raise TooLarge(threads, max(0, largest), reason)


def _spread(threads: int, each: int) -> list[int]:
    """Evenly over as few processes as it takes."""
    processes = -(-threads // each)
    share, more = divmod(threads, processes)
    return [share + 1] * more + [share] * (processes - more)


def _memory(each: float) -> tuple[int, str]:
    available = psutil.virtual_memory().available * (1 - SPARE_MEMORY)
    reason = (
        f"each takes about {each / KIB:.0f} KiB of memory, of which {available / (1 << 30):.1f} GiB"
        " may be used now"
    )
    return int(available / each), reason


def _open_files(sides: int) -> Iterator[tuple[int, str]]:
    if (most := setting("fs.file-max")) is not None:
        yield int(most) // sides, f"the system opens {int(most):,} files at most (fs.file-max)"


def _tasks() -> Iterator[tuple[int, str]]:
    left, name = tasks_left()
    reason = f"the system has room for {left:,} more OS threads ({name}), some of them for others"
    yield left - SPARE_TASKS, reason


def _running_tasks() -> int:
    try:  # its fourth field: tasks that run, and all there are
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    except OSError:
        return len(psutil.pids())


def _cgroups() -> Iterator[tuple[int, int]]:
    """Tasks now, and at most, of each control group of this process that bounds them."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers in ("", "pids"):
            folder = Path("/sys/fs/cgroup", controllers, name.lstrip("/"))
            try:
                used, limit = ((folder / f"pids.{it}").read_text() for it in ("current", "max"))
            except OSError:
                continue
            if limit.strip() != "max":
                yield int(used), int(limit)
