"""The rows, one module for each family of calls."""

from __future__ import annotations

from importlib import import_module

from ..scene import ROWS, Row

__all__ = ["FAMILIES", "all_rows"]

FAMILIES = (
    "threads",
    "sockets",
    "selecting",
    "descriptors",
    "disks",
    "locking",
    "streams",
    "children",
    "multiprocess",
    "signals",
    "tls",
    "names",
    "loops",
    "protocols",
    "offloaded",
)


def all_rows() -> list[Row]:
    """Every row, in the order of the families."""
    for family in FAMILIES:
        import_module(f"{__name__}.{family}")
    return sorted(ROWS.values(), key=lambda row: FAMILIES.index(row.module))
