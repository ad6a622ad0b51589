"""Which rows the program wants: ``only`` and ``exclude``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..config import Settings
from ..errors import ConfigError
from ..wrappers.base import Late, Patch

__all__ = ["Selection"]


class Selection:
    """What one patch is to take over of what can be."""

    def __init__(
        self,
        settings: Settings,
        rows: Iterable[Patch],
        late: Sequence[Late],
        others: Iterable[str] = (),
    ) -> None:
        """ConfigError if `settings` name what is in neither `rows` nor `late` nor `others`, which
        are names of libraries and modules."""
        self._only = settings.only
        self._exclude = settings.exclude
        self._groups: dict[str, list[str]] = {}
        for row in rows:
            self.add(row)
        self._check(rows, late, others)

    def _check(self, rows: Iterable[Patch], late: Sequence[Late], others: Iterable[str]) -> None:
        known = [*self._groups, *(name for row in rows for name in _names(row))]
        coming = tuple(f"{each}." for it in late for each in (it.group, it.module))
        coming += tuple(f"{each}." for each in others)
        for name in (*(self._only or ()), *self._exclude):
            if not (_within(known, name) or f"{name}.".startswith(coming)):
                groups = ", ".join(self._groups)
                raise ConfigError(f"nothing to patch is called {name!r}: {groups}")

    def add(self, row: Patch) -> None:
        """Count `row` as one of its group."""
        self._groups.setdefault(row.group, []).append(row.name)

    def group(self, name: str) -> list[str]:
        """The names of the rows of a group."""
        return self._groups.get(name, [])

    def wants(self, row: Patch) -> bool:
        """Whether `row` is to be applied."""

        def named(names: Iterable[str]) -> bool:
            return any(name == row.group or _within(_names(row), name) for name in names)

        return (not self._only or named(self._only)) and not named(self._exclude)


def _names(row: Patch) -> tuple[str, str]:
    """How a program may call what `row` takes over."""
    return row.name, f"{row.group}.{row.path}"


def _within(names: Iterable[str], prefix: str) -> bool:
    """Whether one of the dotted `names` is `prefix`, or begins with it."""
    return any(f"{each}.".startswith(f"{prefix}.") for each in names)
