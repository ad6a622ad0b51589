"""The seeds that are kept in ``seeds.txt``: those of the smoke test, and what others found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from settings import parse

_FILE = Path(__file__).parent / "seeds.txt"


@dataclass(frozen=True)
class Kept:
    """A line of the file: ``SEED | WITHOUT | SETTINGS | what it found``.

    Words that begin with "open:" say that the fault is still there.
    """

    seed: int
    found: str
    dropped: frozenset[int] = frozenset()
    given: dict[str, str] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        return self.found.startswith("open:")


def read_kept(file: Path = _FILE) -> list[Kept]:
    """The seeds of a file; ValueError if a line can't be read."""
    kept = []
    for line in file.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        seed, dropped, given, found = (each.strip() for each in line.split("|", 3))
        numbers = frozenset(int(each) for each in dropped.split(",") if each)
        kept.append(Kept(int(seed), found, numbers, parse(given)))
    return kept
