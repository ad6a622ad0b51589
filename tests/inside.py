"""The one way to what the package keeps to itself: what is in force in this process.

For tests, and for programs that tests run as text.
"""

from __future__ import annotations

from typing import Any

from capriccio_patch import api


def applied() -> Any:
    """The patch in force, with its runtime, its table and its watchdog."""
    assert api._applied is not None, "nothing is patched"
    return api._applied
