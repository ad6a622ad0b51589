"""Runtimes measured one after the other: a bar for each, and what was found is kept at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import conditions, runtimes
from .load import INTERRUPTED
from .progress import Bars

__all__ = ["measure_in_turn"]

Found = dict[str, Any]


def measure_in_turn(
    kind: str,
    names: Sequence[str],
    measure: Callable[[str, Bars], Found],
    line: Callable[[Found], str],
    folder: Path | None,
) -> list[Found]:
    """What ``measure(runtime, bars)`` finds for each runtime, up to one that is interrupted.

    `line` tells it in a few words.  All of it so far is in ``folder/kind.json`` after each.
    """
    found: list[Found] = []
    about = conditions.describe()
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    with Bars(len(names)) as bars:
        for name in names:
            bars.begin(f"{kind}: {runtimes.TITLES[name]}")
            found.append(measure(name, bars))
            bars.end(line(found[-1]))
            if folder:
                result = {"kind": kind, "conditions": about, "runtimes": found}
                (folder / f"{kind}.json").write_text(json.dumps(result, indent=1))
            if found[-1]["ended"] == INTERRUPTED:
                break
    return found
