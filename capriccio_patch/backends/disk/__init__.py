"""Disk I/O schemes, chosen by name.

`register_disk_backend` adds one; so does the entry-point group ``capriccio_patch.disk_backends``.

``auto`` is the page cache first, and what is not there by io_uring where that can be had, else by
workers; without RWF_NOWAIT one of those two alone.
"""

from __future__ import annotations

from ...contracts.disk_backend import DiskBackend
from ...errors import BackendUnavailable, ConfigError
from .blocking import BlockingBackend
from .io_uring import IoUringBackend
from .nowait import NowaitBackend
from .workers import WorkersBackend

__all__ = [
    "DiskBackend",
    "available_disk_backends",
    "create_disk_backend",
    "register_disk_backend",
]

_ENTRY_POINTS = "capriccio_patch.disk_backends"

_backends: dict[str, type[DiskBackend]] = {}


def register_disk_backend(name: str, cls: type[DiskBackend]) -> None:
    """Make a scheme available under `name` for ``CAPRICCIO_DISKIO``; before `patch_all`."""
    _backends[name] = cls


for _cls in (NowaitBackend, IoUringBackend, WorkersBackend, BlockingBackend):
    register_disk_backend(_cls.kind, _cls)


def available_disk_backends() -> dict[str, str | None]:
    """The known schemes, each with the reason why it can't run here, or None."""
    return {name: cls.is_available() for name, cls in _backends.items()}


def create_disk_backend(name: str = "auto") -> DiskBackend:
    """A scheme, not initialised.

    ConfigError for an unknown name, BackendUnavailable, with the reason, for one that can't run
    here.
    """
    if name == "auto":
        slow: DiskBackend = WorkersBackend()
        if IoUringBackend.is_available() is None:
            slow = IoUringBackend()
        return slow if NowaitBackend.is_available() is not None else NowaitBackend(slow)
    if name not in _backends:
        _load_entry_points()
    if name not in _backends:
        known = ", ".join(["auto", *_backends])
        raise ConfigError(f"unknown disk I/O scheme {name!r}: known are {known}")
    cls = _backends[name]
    reason = cls.is_available()
    if reason is not None:
        raise BackendUnavailable(f"no such disk I/O scheme here: {name}: {reason}")
    return cls()


def _load_entry_points() -> None:
    from importlib.metadata import entry_points

    for entry in entry_points(group=_ENTRY_POINTS):
        if entry.name not in _backends:
            register_disk_backend(entry.name, entry.load())
