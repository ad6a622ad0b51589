"""Socket I/O schemes, chosen by name.

`register_backend` adds one; so does the entry-point group ``capriccio_patch.backends``.
"""

from __future__ import annotations

from ..errors import BackendUnavailable, ConfigError
from .base import Backend
from .epoll import EpollBackend
from .poll import PollBackend
from .select import SelectBackend

__all__ = ["Backend", "available_backends", "create_backend", "register_backend"]

_ENTRY_POINTS = "capriccio_patch.backends"

_backends: dict[str, type[Backend]] = {}


def register_backend(name: str, cls: type[Backend]) -> None:
    """Make a scheme available under `name` for ``CAPRICCIO_SOCKIO``; before `patch_all`.

    ``auto`` tries schemes in the order of their registration.
    """
    _backends[name] = cls


for _cls in (EpollBackend, PollBackend, SelectBackend):
    register_backend(_cls.name, _cls)


def available_backends() -> dict[str, str | None]:
    """The known schemes, each with the reason why it can't run here, or None."""
    return {name: cls.is_available() for name, cls in _backends.items()}


def create_backend(name: str = "auto") -> Backend:
    """An initialised scheme.

    ConfigError for an unknown name, BackendUnavailable, with the reason, for one that can't run.
    """
    if name == "auto":
        candidates = list(_backends.values())
    else:
        if name not in _backends:
            _load_entry_points()
        if name not in _backends:
            known = ", ".join(["auto", *_backends])
            raise ConfigError(f"unknown socket I/O scheme {name!r}: known are {known}")
        candidates = [_backends[name]]
    reasons = []
    for cls in candidates:
        reason = cls.is_available()
        if reason is None:
            backend = cls()
            backend.init()
            return backend
        reasons.append(f"{cls.name}: {reason}")
    raise BackendUnavailable("no such socket I/O scheme here: " + "; ".join(reasons))


def _load_entry_points() -> None:
    from importlib.metadata import entry_points

    for entry in entry_points(group=_ENTRY_POINTS):
        if entry.name not in _backends:
            register_backend(entry.name, entry.load())
