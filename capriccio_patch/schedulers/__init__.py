"""Schedulers, chosen by name.

`register_scheduler` adds one; so does the entry-point group ``capriccio_patch.schedulers``.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ConfigError
from .base import Scheduler
from .fifo import FifoScheduler
from .lifo import LifoScheduler

__all__ = ["Scheduler", "create_scheduler", "known_schedulers", "register_scheduler"]

_ENTRY_POINTS = "capriccio_patch.schedulers"

_schedulers: dict[str, Callable[[], Scheduler]] = {
    "fifo": FifoScheduler,
    "lifo": LifoScheduler,
}


def register_scheduler(name: str, factory: Callable[[], Scheduler]) -> None:
    """Make a scheduler available under `name` for ``CAPRICCIO_SCHEDULER``; before `patch_all`."""
    _schedulers[name] = factory


def known_schedulers() -> list[str]:
    """The names that `create_scheduler` takes."""
    return list(_schedulers)


def create_scheduler(name: str) -> Scheduler:
    """A new scheduler; ConfigError for an unknown name."""
    if name not in _schedulers:
        from importlib.metadata import entry_points

        for entry in entry_points(group=_ENTRY_POINTS):
            if entry.name not in _schedulers:
                register_scheduler(entry.name, entry.load())
    if name not in _schedulers:
        known = ", ".join(_schedulers)
        raise ConfigError(f"unknown scheduler {name!r}: known are {known}")
    return _schedulers[name]()
