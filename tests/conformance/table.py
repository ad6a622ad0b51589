"""Sets what passes under stock beside what passes patched."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "EXIT",
    "PASSED",
    "Comparison",
    "all_pass",
    "compare",
    "outcome",
    "read_excuses",
    "table",
]

EXIT = "<exit>"
"""Stands for a test: that the process ends as it should."""
PASSED = ("ok", "xfail", "again")


def outcome(record: dict[str, Any], test: str) -> str:
    """What became of a test; ``absent`` if it was not there."""
    found = record["tests"].get(test, "absent")
    return str(found if isinstance(found, str) else found[0])


def all_pass(record: dict[str, Any]) -> bool:
    """Whether nothing in it can be lost, whatever stock does."""
    tests = record["tests"]
    ends_well = not (record.get("exit") or record.get("module"))
    return bool(tests) and ends_well and all(outcome(record, test) == "ok" for test in tests)


@dataclass
class Comparison:
    """What a mode loses of what stock passes."""

    passing: int = 0
    again: list[str] = field(default_factory=list)
    """Passed only when run once more; under stock as many may have done so."""
    unsure: list[str] = field(default_factory=list)
    """Lost but for failing under stock as well, when run once more beside each other."""
    lost: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Module, test, outcome, message."""
    excused: list[str] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """How many of the lost are of a kind."""
        return sum(outcome == kind for _, _, outcome, _ in self.lost)

    def add(self, other: Comparison) -> None:
        """Take another module's in."""
        self.passing += other.passing
        self.again += other.again
        self.unsure += other.unsure
        self.lost += other.lost
        self.excused += other.excused


def compare(stock: dict[str, Any], other: dict[str, Any], excuses: dict[str, str]) -> Comparison:
    """One module."""
    result = Comparison()
    name = stock["name"]
    for test in stock["tests"]:
        if outcome(stock, test) not in PASSED:
            continue
        result.passing += 1
        got = outcome(other, test)
        if got == "again":
            result.again.append(f"{name}.{test}")
        if got in PASSED:
            continue
        if f"{name}.{test}" in excuses:
            result.excused.append(f"{name}.{test}")
            continue
        if settled := _settled(other, test):
            getattr(result, settled).append(f"{name}.{test}")
            continue
        found = other["tests"].get(test, other.get("module"))
        message = str(found[1]) if isinstance(found, list) and len(found) > 1 else ""
        result.lost.append((name, test, got, message))
    if other.get("exit") and not stock.get("exit"):
        # All tests ran, and then the process hung or ended with another status than stock's.
        if settled := _settled(other, EXIT):
            getattr(result, settled).append(f"{name}.{EXIT}")
        else:
            result.lost.append((name, EXIT, "hang" if other["exit"] == "hang" else "error", ""))
    return result


def _settled(other: dict[str, Any], test: str) -> str:
    """``again`` or ``unsure`` if the repeats of a lost test tell so: pairs, stock's first."""
    for under_stock, got in other.get("repeats", {}).get(test, ()):
        if got in PASSED:
            return "again"
        if under_stock not in PASSED:
            return "unsure"
    return ""


def read_excuses(path: Path) -> dict[str, str]:
    """``module.test: why`` a line; ValueError where the reason is missing."""
    excuses = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            test, _, why = line.partition(": ")
            if not why.strip():
                raise ValueError(f"{path}: {test!r} has no reason")
            excuses[test] = why.strip()
    return excuses


def table(rows: dict[str, Comparison]) -> str:
    """A table in Markdown, a row for each of `rows`."""
    lines = [
        "| | pass in stock | lost | hangs | crashes | excused | passed again | stock too fails |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {row.passing} | {len(row.lost)} | {row.count('hang')} | {row.count('crash')} "
        f"| {len(row.excused)} | {len(row.again)} | {len(row.unsure)} |"
        for name, row in rows.items()
    ]
    return "\n".join(lines)
