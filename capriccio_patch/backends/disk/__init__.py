"""Disk I/O schemes, chosen by name.

``auto`` is the page cache first, and what is not there by io_uring where that can be had, else by
workers; without RWF_NOWAIT one of those two alone.

`register_disk_backend` adds one; so does the entry-point group ``capriccio_patch.disk_backends``.
"""

from __future__ import annotations

from ...contracts.disk_backend import DiskBackend
from ..registry import AUTO, Registry

__all__ = [
    "REGISTRY",
    "DiskBackend",
    "available_disk_backends",
    "create_disk_backend",
    "register_disk_backend",
]

_BUILT_IN = {
    "nowait": "disk.nowait:NowaitBackend",
    "io_uring": "disk.io_uring:IoUringBackend",
    "workers": "disk.workers:WorkersBackend",
    "blocking": "disk.blocking:BlockingBackend",
}

REGISTRY = Registry(
    "disk I/O scheme",
    DiskBackend,
    "capriccio_patch.disk_backends",
    _BUILT_IN,
)


def register_disk_backend(name: str, cls: type[DiskBackend]) -> None:
    """Make a scheme available under `name` for ``CAPRICCIO_DISKIO``; before `patch_all`.

    TypeError if `cls` is not a complete subclass of `DiskBackend`, ConfigError for the name
    ``auto``.  Any OS thread.
    """
    REGISTRY.register(name, cls)


def available_disk_backends() -> dict[str, str | None]:
    """The known schemes, each with the reason why it can't run here, or None.

    Those of entry points are loaded.
    """
    return REGISTRY.reasons()


def create_disk_backend(name: str = AUTO) -> DiskBackend:
    """A scheme, not initialised.

    ConfigError for an unknown name, BackendUnavailable, with the reason, for one that can't run
    here.
    """
    if name == AUTO:
        from .nowait import NowaitBackend

        _, slow = REGISTRY.first(("io_uring", "workers"))
        return slow() if NowaitBackend.is_available() is not None else NowaitBackend(slow())
    cls: type[DiskBackend] = REGISTRY.first((name,))[1]
    return cls()
