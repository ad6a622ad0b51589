"""The shared objects of the process: which there are, by name, and what each needs.

1. What has been read is kept: an import costs what it brings.  When the loader has removed
   something all is read again.
2. An object is known by where it lies, `Object.address`, which another one may have later: who
   keeps something by it asks `Objects.removals`.

With the global lock held.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Object", "Objects"]


class Object:
    """One shared object."""

    __slots__ = ("address", "needed", "own_name", "path")

    def __init__(self, path: str, address: int, own_name: str, needed: list[str]) -> None:
        self.path = path
        self.address = address
        self.own_name = own_name
        self.needed = needed
        """The names of those that it needs."""

    @property
    def name(self) -> str:
        """The name of its file; empty for the program itself."""
        return os.path.basename(self.path)


class Objects:
    """What is loaded."""

    def __init__(self, core: Any) -> None:
        """`core` is the C module."""
        self._core = core
        self.removals = 0
        """How many objects the loader has removed, as far as is known."""
        self._count = 0
        self._by_path: dict[str, Object] = {}
        self._by_name: dict[str, Object] = {}

    def update(self) -> None:
        """Look at what has been loaded since the last time."""
        removals, rows = self._core.libc_objects(self._count, self.removals)
        if removals != self.removals:
            self.removals = removals
            self._count = 0
            self._by_path.clear()
            self._by_name.clear()
        self._count += len(rows)
        for row in rows:
            each = Object(*row)
            self._by_path[each.path] = each
            for name in filter(None, (each.own_name, each.name)):
                self._by_name[name] = each

    def at(self, path: str) -> Object | None:
        """The object of the file at `path`; None if it is not loaded."""
        found = self._by_path.get(path)
        if found is None:  # the loader may know it by another name
            alike = self._by_name.get(os.path.basename(path))
            if alike is not None and os.path.realpath(alike.path) == os.path.realpath(path):
                found = alike
        return found

    def with_needed(self, root: Object, passes: Callable[[Object], bool]) -> Iterator[Object]:
        """`root` and those that it needs, and they, as far as `passes` says, each once."""
        seen: set[int] = set()
        to_do = [root]
        while to_do:
            each = to_do.pop()
            if each.address in seen or not passes(each):
                continue
            seen.add(each.address)
            yield each
            to_do += [self._by_name[name] for name in each.needed if name in self._by_name]
