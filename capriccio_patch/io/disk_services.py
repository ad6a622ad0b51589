"""What the runtime does for a disk I/O scheme: `contracts.disk_backend.Services`."""

from __future__ import annotations

from ..contracts.request import Request
from .descriptors import Descriptors
from .mounts import Mounts
from .workers import Workers

__all__ = ["DiskServices"]


class DiskServices:
    """Workers for what has to be done on an OS thread, and watched descriptors.

    Scheduler's OS thread only.
    """

    __slots__ = ("_workers", "is_local", "unwatch", "watch")

    def __init__(self, descriptors: Descriptors, workers: Workers, mounts: Mounts) -> None:
        self._workers = workers
        self.is_local = mounts.is_local
        self.watch = descriptors.watch
        self.unwatch = descriptors.unwatch

    def submit(self, request: Request) -> None:
        """Have a worker perform `request` and complete it."""
        self._workers.submit(request, request.local)
