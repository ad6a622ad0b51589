"""What the paper found, and what the figures of a report say about the same.

The first is a summary in our words of "Performance Analysis of 64-Bit Capriccio", section 7; the
second is made from the records alone.
"""

from __future__ import annotations

from typing import Any

from .harness import runtimes
from .results import ENOUGH, summary

REQUESTS = (
    "both Capriccio and pthreads serve requests in bursts. Pthreads are less predictable, and "
    "their bursts go higher and lower; relative performance does not show here, stability does."
)
CONNECTIONS = (
    "open connections follow the same bursts, in lock step, with a period that is not the server's "
    "delay of one second; perhaps the network's doing: connections that a busy server drops, and "
    "that the client takes a while to notice."
)
THROUGHPUT = (
    "in spite of the bursts, Capriccio and pthreads have about the same throughput below 30,000 "
    "threads, though Capriccio runs on one kernel thread. With 108,000 threads throughput suffers."
)
LIMITS = (
    "pthreads swap beyond 78,900 threads with stacks of 8 MB, before any connection is open. "
    "Capriccio makes 130,000 threads with stacks of 1 GB before memory is refused, and 300,000 "
    "with stacks of 1 MB before it swaps, as it does not touch a stack that is not used."
)
DELAYS = (
    "with 108,000 threads there are never as many open connections as threads. A longer delay "
    "brings more of them, up to a limit, and new ones come more and more slowly."
)

Record = dict[str, Any]


def _title(record: Record) -> str:
    return runtimes.title(record["runtime"])


def base_delay(loads: list[Record]) -> float:
    """The delay at which runtimes are compared: the one that most runs have."""
    found = [it["delay"] for it in loads]
    return float(max(sorted(set(found)), key=found.count))


def delay_series(loads: list[Record]) -> list[Record]:
    """The runs of one runtime and size that differ in their delay: the longest such series."""
    series: dict[tuple[str, int], list[Record]] = {}
    for it in loads:
        series.setdefault((it["runtime"], it["threads"]), []).append(it)
    return max(series.values(), key=len, default=[])


def requests(by_size: dict[int, list[Record]], cpus: int) -> list[str]:
    """How many requests each size got, and how evenly."""
    found = []
    for size, records in by_size.items():
        parts = [
            f"{_title(it)} {result['requests']:,.0f} requests/s, swing "
            f"{100 * result['swing']:.0f} %"
            for it in records
            if (result := summary(it, cpus))
        ]
        if parts:
            found.append(f"{size:,} threads: {'; '.join(parts)}.")
    return found


def connections(by_size: dict[int, list[Record]], cpus: int) -> list[str]:
    """How many of the threads had a connection."""
    found = []
    for size, records in by_size.items():
        parts = [
            f"{_title(it)} {result['open']:,.0f} ({100 * result['open'] / size:.0f} %)"
            for it in records
            if (result := summary(it, cpus))
        ]
        full = sum(it["listen"].get("ListenOverflows", 0) for it in records)
        if parts:
            text = f"{size:,} threads, open connections once warm: {'; '.join(parts)}."
            if full:
                text += f" The listen queue was full {full:,} times (net.core.somaxconn)."
            found.append(text)
    return found


def throughput(by_size: dict[int, list[Record]]) -> list[str]:
    """All that was answered."""
    found = []
    for size, records in by_size.items():
        parts = [
            f"{_title(it)} {it['columns']['answers'][-1]:,.0f} answers, "
            f"{it['columns']['bytes'][-1] / (1 << 20):,.0f} MiB, in "
            f"{it['columns']['second'][-1]:.0f} s"
            for it in records
        ]
        found.append(f"{size:,} threads: {'; '.join(parts)}.")
    return found


def delays(series: list[Record], cpus: int) -> list[str]:
    """Open connections and requests for each delay."""
    return [
        f"{it['delay']:g} s: {result['open']:,.0f} open connections "
        f"({100 * result['open'] / it['threads']:.0f} % of the threads), "
        f"{result['requests']:,.0f} requests/s ({100 * result['part']:.0f} % of the ideal)."
        for it in series
        if (result := summary(it, cpus))
    ]


def swapped(records: list[Record], cpus: int) -> list[str]:
    """Which runs made the machine swap; nothing if none did."""
    return [
        f"{_title(it)}: {result['swapped'] / 1024:,.0f} KiB/s."
        for it in records
        if (result := summary(it, cpus)) and result["swapped"]
    ]


def verdicts(loads: list[Record], cpus: int) -> list[str]:
    """Capriccio beside each other runtime, size by size, the losses first."""
    lost: list[str] = []
    won: list[str] = []
    for mine in loads:
        if mine["runtime"] != "capriccio":
            continue
        ours = summary(mine, cpus)
        for other in loads:
            same = (other["threads"], other["delay"]) == (mine["threads"], mine["delay"])
            theirs = summary(other, cpus) if same and other is not mine else {}
            if not ours or not theirs:
                continue
            losses, wins = _compared(ours, theirs)
            beside = f"{mine['threads']:,} threads, {mine['delay']:g} s, beside "
            beside += _title(other)
            if losses:
                lost.append(f"Loses: {beside}: {', '.join(losses)}.")
            if wins:
                won.append(f"Wins: {beside}: {', '.join(wins)}.")
    return lost + won


def _compared(ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[list[str], list[str]]:
    """What is worse and better by more than 5 %, each with how many times."""
    losses: list[str] = []
    wins: list[str] = []
    for name, title, more_is_better in (
        ("requests", "requests/s", True),
        ("cpu_each", "CPU for each request", False),
        ("switches_each", "context switches for each request", False),
        ("memory", "memory", False),
        ("p99", "99 % response time", False),
    ):
        a, b = ours[name], theirs[name]
        if not a or not b or min(a / b, b / a) > ENOUGH:
            continue
        text = f"{title} {a / b:.2f} times theirs"
        (wins if (a > b) == more_is_better else losses).append(text)
    return losses, wins
