"""Every private name that the package needs is asked for at once, when this is imported.

An interpreter that lacks one is refused before anything else is tried (`checks` has the rest).
"""

from __future__ import annotations

import os

from ..errors import PatchError


def _import_ctypes() -> None:
    """Some builds of libffi keep a file open for themselves: with no standard number (0, 1, 2)."""
    held: list[int] = []
    try:
        for fd in range(3):
            try:
                os.fstat(fd)
            except OSError:
                held += os.pipe()  # has the lowest numbers that are free
        import ctypes  # noqa: F401
    finally:
        for fd in held:
            os.close(fd)


try:
    _import_ctypes()

    # isort: split
    from . import interpose, originals, thread_state  # noqa: F401
except (AttributeError, ImportError, KeyError) as error:
    raise PatchError(f"this Python can't be patched: names: {error!r}") from error
