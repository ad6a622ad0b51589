"""What was measured, on one time axis, and what follows from it.

Processes tell their totals at moments of their own; `table` reads each of them at whole seconds,
between two lines in proportion, and adds them up.  `summary` looks at the warm part alone.
"""

from __future__ import annotations

import csv
import json
import statistics
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

_CLIENT_COLUMNS = ("answers", "bytes", "open")
_SERVER_COLUMNS = ("answered", "failed", "open", "switches", "faults")
_COUNTERS = (
    "answers", "bytes", "answered", "failed", "switches", "faults", "machine_busy",
    "machine_switches", "swapped_in", "swapped_out", "server_user", "server_system", "client_cpu",
)  # fmt: skip
ENOUGH = 0.95
"""Of a resource, or of the ideal: what counts as all of it."""


class Totals:
    """What one process told, line by line."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.failures: dict[str, int] = {}
        self.took: list[tuple[float, dict[str, int]]] = []

    def add(self, message: dict[str, Any]) -> None:
        """A line: totals so far, at a time."""
        self.failures = message.pop("failures", self.failures)
        if took := message.pop("took", None):
            self.took.append((message["time"], took))
        self.rows.append(message)

    def last(self, column: str) -> float:
        """The newest value; 0 if there is none."""
        return float(self.rows[-1].get(column, 0)) if self.rows else 0.0

    def rate(self, column: str) -> float:
        """Its growth in a second, lately."""
        if len(self.rows) < 2:
            return 0.0
        before, now = self.rows[-2:]
        return float((now[column] - before[column]) / max(0.001, now["time"] - before["time"]))


def table(
    began: float,
    servers: Sequence[Totals],
    clients: Sequence[Totals],
    samples: Sequence[dict[str, Any]],
    warm: float,
) -> dict[str, Any]:
    """Columns by second since `began`; failures by kind; how long answers took once warm."""
    seconds = range(int(samples[-1]["time"] - began + 0.5) + 1 if samples else 0)
    axis = [began + second for second in seconds]
    columns: dict[str, list[float]] = {"second": [float(second) for second in seconds]}
    for name in _CLIENT_COLUMNS:
        columns[name] = _added(axis, [it.rows for it in clients], name)
    for name in _SERVER_COLUMNS:
        columns["server_open" if name == "open" else name] = _added(
            axis, [it.rows for it in servers], name
        )
    for name in samples[0] if samples else ():
        if name != "time" and samples[0][name] is not None:
            columns[name] = _added(axis, [samples], name)
    failures: Counter[str] = Counter()
    took: Counter[int] = Counter()
    for client in clients:
        failures.update(client.failures)
        for at, counts in client.took:
            if at - began > warm:
                took.update({int(power): count for power, count in counts.items()})
    return {"columns": columns, "failures": failures, "took": took}


def _added(
    axis: Sequence[float], sources: Sequence[Sequence[dict[str, Any]]], name: str
) -> list[float]:
    total = [0.0] * len(axis)
    for rows in sources:
        if rows:
            times = [row["time"] for row in rows]
            values = [row[name] for row in rows]
            for index, at in enumerate(axis):
                total[index] += _between(times, values, at)
    return total


def _between(times: Sequence[float], values: Sequence[float], at: float) -> float:
    after = bisect_right(times, at)
    if after == 0:
        return values[0]
    if after == len(times):
        return values[-1]
    before = after - 1
    part = (at - times[before]) / (times[after] - times[before])
    return values[before] + part * (values[after] - values[before])


def rates(record: dict[str, Any], column: str) -> list[float]:
    """The growth of a counter of a run in each second; the first is 0."""
    values = record["columns"].get(column, [])
    return [0.0, *(now - before for before, now in pairwise(values))]


def summary(record: dict[str, Any], cpus: int) -> dict[str, Any]:
    """The warm part of a run in a few figures; `cpus` are those that it could use."""
    columns = record["columns"]
    # What late clients do after their time, one by one, is no load of so many threads.
    warm = [it for it in columns["second"] if record["warm"] <= it <= record["duration"]]
    if len(warm) < 2:
        return {}
    first, last = int(warm[0]), int(warm[-1])
    span = last - first

    def rate(name: str) -> float:
        values = columns.get(name)
        return (values[last] - values[first]) / span if values else 0.0

    def mean(name: str) -> float:
        values = columns.get(name, [])[first : last + 1]
        return sum(values) / len(values) if values else 0.0

    found: dict[str, Any] = {
        "requests": rate("answers"),
        "ideal": record["threads"] / record["delay"] if record["delay"] else 0.0,
        "open": mean("open"),
        "server_cpu": rate("server_user") + rate("server_system"),
        "server_user": rate("server_user"),
        "server_system": rate("server_system"),
        "client_cpu": rate("client_cpu"),
        "machine_cpu": rate("machine_busy"),
        "switches": rate("switches"),
        "memory": max(columns["memory"]) + max(columns["page_tables"]),
        "os_threads": max(columns["os_threads"]),
        "swapped": rate("swapped_in") + rate("swapped_out"),
        "swing": _swing(rates(record, "answers")[first + 1 : last + 1]),
        "median": percentile(record["took"], 0.5),
        "p99": percentile(record["took"], 0.99),
    }
    found["part"] = found["requests"] / found["ideal"] if found["ideal"] else 0.0
    found["switches_each"] = found["switches"] / max(1.0, found["requests"])
    found["cpu_each"] = found["server_cpu"] / max(1.0, found["requests"])
    found["spent"] = _spent(record, found, cpus)
    return found


def _spent(record: dict[str, Any], found: dict[str, Any], cpus: int) -> str:
    """Which resource kept the server from the ideal; empty if it came close to that."""
    if found["part"] >= ENOUGH:
        return ""
    processes = len(record["processes"]["servers"])
    others = max(0.0, found["machine_cpu"] - found["server_cpu"] - found["client_cpu"])
    shares = (
        f"server {found['server_cpu']:.2f}, clients {found['client_cpu']:.2f}, "
        f"other programs {others:.2f} of {cpus} CPUs"
    )
    if found["machine_cpu"] >= 0.9 * cpus:
        return f"the machine's CPU: {shares}"
    if found["server_cpu"] >= 0.9 * processes:
        return f"the server's CPU, one for each process: {shares}"
    if found["swapped"]:
        return "memory: the machine swaps"
    if record["listen"].get("ListenOverflows"):
        return f"the listen queue, full {record['listen']['ListenOverflows']:,} times ({shares})"
    return f"none that was looked at ({shares})"


def _swing(values: Sequence[float]) -> float:
    """How much a rate goes up and down: its standard deviation as a part of its mean."""
    mean = statistics.fmean(values)
    return statistics.pstdev(values) / mean if mean else 0.0


def percentile(took: dict[Any, int], part: float) -> float | None:
    """Seconds beyond the delay within which `part` of the answers came; from powers of 1.1 ms."""
    left = part * sum(took.values())
    for power, count in sorted((int(power), count) for power, count in took.items()):
        left -= count
        if left <= 0:
            return float(1.1**power / 1000)
    return None


def stem(record: dict[str, Any]) -> str:
    """The name of a run's files, without what says their kind."""
    return f"load-{record['runtime']}-{record['threads']}-{record['delay']:g}s"


def save(folder: Path, record: dict[str, Any]) -> None:
    """Write a run's JSON, and its columns as CSV."""
    (folder / f"{stem(record)}.json").write_text(json.dumps(record, indent=1))
    columns = record["columns"]
    with (folder / f"{stem(record)}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
