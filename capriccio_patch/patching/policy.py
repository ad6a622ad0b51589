"""The scheduler that settings ask for, and the times that follow from it."""

from __future__ import annotations

from ..config import Settings
from ..contracts.scheduler import Abilities, Scheduler
from ..errors import ConfigError
from ..schedulers import create_scheduler, with_recorder

__all__ = ["create_policy", "slice_for"]


def create_policy(settings: Settings) -> Scheduler:
    """The scheduler that `settings` ask for; ConfigError for an unknown one."""
    policy = create_scheduler(settings.scheduler)
    if settings.seed is not None:
        if not Abilities(policy).draws_lots:
            raise ConfigError(
                f"seed={settings.seed}: the scheduler {settings.scheduler!r} draws no lots; "
                "'random' does"
            )
        Abilities(policy).seed = settings.seed
    return policy if settings.graph is None else with_recorder(policy)


def slice_for(settings: Settings, policy: Scheduler) -> float:
    """Seconds that a thread may compute; 0.0: for ever."""
    least = Abilities(policy).least_slice
    return max(settings.slice, least) if settings.slice else 0.0
