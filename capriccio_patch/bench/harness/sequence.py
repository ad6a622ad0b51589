"""Runtimes measured one after the other: a bar for each, and what was found is kept at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import conditions, runtimes
from .children import ChildFailed

if TYPE_CHECKING:  # it needs rich, and not every command does
    from .progress import Bars

__all__ = ["COMPLETE", "INTERRUPTED", "Found", "measure_each", "measuring"]

COMPLETE = "complete"
INTERRUPTED = "interrupted"

Found = dict[str, Any]
"""What was measured of a runtime; ``ended`` is one of the above, or says what ended it."""


@contextmanager
def measuring(found: Found) -> Iterator[None]:
    """Note in `found` how the measurement ended; Ctrl-C and a child that fails are no errors."""
    try:
        yield
        found["ended"] = COMPLETE
    except KeyboardInterrupt:
        found["ended"] = INTERRUPTED
    except ChildFailed as error:
        found["ended"] = str(error)


def measure_each(
    kind: str,
    names: Sequence[str],
    measure: Callable[[str, Bars], Found],
    line: Callable[[Found], str],
    folder: Path | None,
    bars: Bars,
) -> list[Found]:
    """What ``measure(runtime, bars)`` finds for each runtime, up to one that is interrupted.

    `line` tells it in a few words.  All of it so far is in ``folder/kind.json`` after each.
    """
    found: list[Found] = []
    about = conditions.describe()
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        bars.begin(f"{kind}: {runtimes.title(name)}")
        found.append(measure(name, bars))
        bars.end(line(found[-1]))
        if folder:
            result = {"kind": kind, "conditions": about, "runtimes": found}
            (folder / f"{kind}.json").write_text(json.dumps(result, indent=1))
        if found[-1]["ended"] == INTERRUPTED:
            break
    return found
