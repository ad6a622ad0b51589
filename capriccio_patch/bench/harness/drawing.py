"""How a runtime looks in pictures: one colour, kind of line and mark in all of them."""

from __future__ import annotations

from typing import Any

from .runtimes import find

__all__ = ["look"]

_COLOURS = {
    "capriccio": "#1769aa",
    "stock": "#d1495b",
    "gevent": "#3c8d53",
    "eventlet": "#8a5fb5",
    "asyncio": "#c98a1b",
    "uvloop": "#4d4d4d",
}
_LINES = {"capriccio": "-", "stock": "--", "gevent": "-.", "eventlet": ":"}
_MARKS = {"capriccio": "o", "stock": "s", "gevent": "D", "eventlet": "^"}


def look(name: str, marks: bool = False, lines: bool = True) -> dict[str, Any]:
    """Arguments of matplotlib for what belongs to a runtime, its title among them."""
    runtime = find(name)
    found: dict[str, Any] = {"color": _COLOURS[runtime.name], "label": runtime.title}
    if lines:
        found["linestyle"] = _LINES.get(runtime.name, "-")
    if marks:
        found["marker"] = _MARKS.get(runtime.name, "o")
    return found
