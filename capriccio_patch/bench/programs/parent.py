"""What a program tells its parent, and whether there still is one."""

from __future__ import annotations

import json
import os
from typing import Any

_parent = os.getppid()


def say(**message: Any) -> None:
    """Write a line of JSON."""
    print(json.dumps(message), flush=True)


def lives() -> bool:
    """Whether the process that started this one has not ended."""
    return os.getppid() == _parent
