"""Parts of a kernel, for what only looks at it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def parts_of_kernel(**parts: Any) -> Any:
    """These attributes; hooks for a fork are taken, and never called."""
    return SimpleNamespace(on_fork=id, around_fork=lambda *_: None, **parts)
