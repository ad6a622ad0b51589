"""Schedulers, chosen by name.

`register_scheduler` adds one; so does the entry-point group ``capriccio_patch.schedulers``.  What
is not this package's own is watched (`checked`): it may break the contract, but not unseen.
"""

from __future__ import annotations

from collections.abc import Callable

from ..contracts.scheduler import Scheduler
from ..errors import ConfigError
from .fifo import FifoScheduler
from .lifo import LifoScheduler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "Scheduler",
    "create_scheduler",
    "known_schedulers",
    "register_scheduler",
    "with_recorder",
]

_ENTRY_POINTS = "capriccio_patch.schedulers"


# Loaded when they are chosen: every patched program pays for what is imported here.


def _priority() -> Any:
    from .priority import PriorityScheduler

    return PriorityScheduler()


def _random() -> Any:
    from .random import RandomScheduler

    return RandomScheduler()


def _graph() -> Any:
    from .graph import GraphScheduler

    return GraphScheduler()


_OWN: dict[str, Callable[[], Scheduler]] = {
    "fifo": FifoScheduler,
    "lifo": LifoScheduler,
    "priority": _priority,
    "graph": _graph,
    "random": _random,
}
_schedulers = dict(_OWN)


def register_scheduler(name: str, factory: Callable[[], Scheduler]) -> None:
    """Make a scheduler available under `name` for ``CAPRICCIO_SCHEDULER``; before `patch_all`.

    ``factory()`` returns a new one (`contracts.scheduler` says what it has to do).
    """
    _schedulers[name] = factory


def known_schedulers() -> list[str]:
    """The names that `create_scheduler` takes, those of entry points included."""
    return list(dict.fromkeys([*_schedulers, *(entry.name for entry in _entries())]))


def create_scheduler(name: str) -> Scheduler:
    """A new scheduler; ConfigError for an unknown name."""
    if name not in _schedulers:
        for entry in _entries():
            if entry.name == name:
                register_scheduler(name, entry.load())
                break
        else:
            known = ", ".join(known_schedulers())
            raise ConfigError(f"unknown scheduler {name!r}: known are {known}")
    factory = _schedulers[name]
    if factory is _OWN.get(name):
        return factory()
    from .checked import CheckedScheduler

    return CheckedScheduler(name, factory())


def with_recorder(scheduler: Scheduler) -> Scheduler:
    """`scheduler`, with the blocking graph recorded; as attribute ``recorder`` once attached."""
    from .recording import Observed, ObservedFifo

    if isinstance(scheduler, ObservedFifo):
        return scheduler
    return ObservedFifo() if type(scheduler) is FifoScheduler else Observed(scheduler)


def _entries() -> Any:
    from importlib.metadata import entry_points

    return entry_points(group=_ENTRY_POINTS)
