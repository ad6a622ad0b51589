"""psycopg 3: its generators wait in Python, by ``poll``, and not in the C of its fast build.

The library has a wait function in each of the two, which do the same with the same generators; so
nothing else changes, and ``PSYCOPG_WAIT_FUNC`` is the program's own choice as before.
"""

from __future__ import annotations

from ..wrappers.base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_MODULE = "psycopg.waiting"
_IN_PYTHON = {"wait": "wait_poll", "_ready": "_ready_poll"}


def patches(_runtime: Runtime, module: Any) -> list[Patch]:
    """The rows for ``psycopg.waiting``, if that waits in C; else none."""
    if module.wait is not getattr(module, "wait_c", None):
        return []
    return [
        Patch("psycopg", _MODULE, name, getattr(module, own))
        for name, own in _IN_PYTHON.items()
        if hasattr(module, name) and hasattr(module, own)
    ]
