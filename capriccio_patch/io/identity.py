"""Which file a descriptor stands for: a number that was closed may come back for another."""

from __future__ import annotations

from ..cpython import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

__all__ = ["Identity", "identity", "identity_if_open", "identity_of"]

Identity = tuple[int, int]
"""The device, and the number of the inode on it."""


def identity_of(status: os.stat_result) -> Identity:
    """That of the file that fstat(2) has told of."""
    return status.st_dev, status.st_ino


def identity(fd: int) -> Identity:
    """One fstat(2); OSError for a closed number.  Any OS thread."""
    return identity_of(originals.fstat(fd))


def identity_if_open(fd: int) -> Identity | None:
    """As `identity`; None for a closed number."""
    try:
        return identity(fd)
    except OSError:
        return None
