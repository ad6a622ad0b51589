"""``os.scandir`` and its entries, which look up more than the directory told, when asked.

1. The directory is read by whoever makes the call: by a worker, the iterator that is returned has
   all entries; else it reads on directly.
2. An entry's type is known from the directory, on the file systems of today; what `stat` tells, and
   what a link points to, has to be looked up.  That is left to a worker as for ``os.stat``
   (`lookup`), also when the entry knows the answer from an earlier call.
"""

from __future__ import annotations

import os
import posix
from collections.abc import Callable, Iterator
from functools import partial

from ...cpython import originals
from ...io.name_cache import Lookup
from ..base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

__all__ = ["Entries", "patches"]


class Entries:
    """What ``os.scandir`` returns when a worker has read the directory."""

    __slots__ = ("_entries",)

    def __init__(self, scandir: Any, *args: Any, **named: Any) -> None:
        with scandir(*args, **named) as entries:
            self._entries = iter([*entries])

    def __iter__(self) -> Iterator[os.DirEntry[Any]]:
        return self

    def __next__(self) -> os.DirEntry[Any]:
        return next(self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """No more entries."""
        self._entries = iter(())


def patches(runtime: Runtime, lookup: Lookup) -> list[Patch]:
    """The rows for the entries."""
    kernel = runtime.kernel
    get_ident = originals.get_ident
    disk = runtime.disk
    alone = disk.alone
    cache_first = disk.backend.asks_cache
    methods = posix.DirEntry.__dict__
    is_symlink: Callable[[Any], bool] = methods["is_symlink"]

    def look_up(original: Any, entry: Any, follow: bool) -> Any:
        if cache_first and lookup.is_cached(entry.path, None, follow):
            return original(entry, follow_symlinks=follow)
        return disk.call(partial(original, entry, follow_symlinks=follow))

    def knows(name: str) -> Callable[..., Any]:
        original = methods[name]

        def of_type(self: Any, *, follow_symlinks: Any = True) -> Any:
            if (
                get_ident() == kernel.os_ident
                and follow_symlinks
                and not alone()
                and is_symlink(self)
            ):
                return look_up(original, self, True)
            return original(self, follow_symlinks=follow_symlinks)

        of_type.__name__ = name
        return of_type

    original_stat = methods["stat"]

    def stat(self: Any, *, follow_symlinks: Any = True) -> Any:
        if get_ident() != kernel.os_ident or alone():
            return original_stat(self, follow_symlinks=follow_symlinks)
        return look_up(original_stat, self, bool(follow_symlinks))

    return [
        Patch("os", "posix", "DirEntry.stat", stat),
        Patch("os", "posix", "DirEntry.is_dir", knows("is_dir")),
        Patch("os", "posix", "DirEntry.is_file", knows("is_file")),
    ]
