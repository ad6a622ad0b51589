"""What the machine does while a server runs: the columns of vmstat, once a second.

Each `sample` is a row of counters since boot or since a process began, and of gauges; `results`
makes rates of the counters.  A process that has gone counts as it was last seen.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil

_TCP_EXTENSIONS = Path("/proc/net/netstat")
LISTEN_COUNTERS = ("ListenOverflows", "ListenDrops")


class Sampler:
    """Looks at the machine, at the server's processes, and at the clients'."""

    def __init__(self, servers: list[int], clients: list[int]) -> None:
        self._servers = [psutil.Process(pid) for pid in servers]
        self._clients = [psutil.Process(pid) for pid in clients]
        self._last: dict[psutil.Process, tuple[float, float]] = {}

    def sample(self) -> dict[str, Any]:
        """Seconds of CPU, bytes of memory, pages of swap, and numbers, now."""
        cpu = psutil.cpu_times()
        swap = psutil.swap_memory()
        row: dict[str, Any] = {
            "time": time.time(),
            "machine_busy": sum(cpu[:3]) + sum(cpu[5:8]),  # all but idle, iowait and guests
            "machine_switches": psutil.cpu_stats().ctx_switches,
            "run_queue": run_queue(),
            "available": psutil.virtual_memory().available,
            "swapped_in": swap.sin,
            "swapped_out": swap.sout,
            "memory": 0,
            "page_tables": 0,
            "os_threads": 0,
            "descriptors": 0,
        }
        for process in self._servers:
            try:
                row["memory"] += process.memory_info().rss
                row["page_tables"] += page_tables(process.pid)
                row["os_threads"] += process.num_threads()
                row["descriptors"] += process.num_fds()
            except psutil.Error:
                continue
        row["server_user"], row["server_system"] = self._cpu(self._servers)
        row["client_cpu"] = sum(self._cpu(self._clients))
        return row

    def _cpu(self, processes: list[psutil.Process]) -> tuple[float, float]:
        for process in processes:
            try:
                times = process.cpu_times()
            except psutil.Error:
                continue
            self._last[process] = times.user, times.system
        seen = [self._last.get(process, (0.0, 0.0)) for process in processes]
        return sum(user for user, _ in seen), sum(system for _, system in seen)


def run_queue() -> int | None:
    """How many tasks run or could; None where the kernel does not tell."""
    try:
        for line in Path("/proc/stat").read_text().splitlines():
            if line.startswith("procs_running"):
                return int(line.split()[1])
    except OSError:
        pass
    return None


def page_tables(pid: int) -> int:
    """Bytes of the process's page tables, which its resident size leaves out; 0 if unknown."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmPTE"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0


def listen_counters() -> dict[str, int]:
    """Connections that found a listen queue full, since boot, on the whole machine."""
    try:
        names, values = _TCP_EXTENSIONS.read_text().splitlines()[:2]
    except (OSError, ValueError):
        return {}
    table = dict(zip(names.split(), values.split(), strict=True))
    return {name: int(table[name]) for name in LISTEN_COUNTERS if name in table}
