"""Socket I/O schemes, chosen by name.

``auto`` is the first of `PREFERRED` that can run here: the kernel's own queues of events, then what
every Unix has.  ``io_uring`` and ``thread`` save next to nothing, and cost up to 1.5 and 6 times
what epoll does (`docs/schemes.md`), so they, and schemes that others have added, are for who names
them.

`register_backend` adds one; so does the entry-point group ``capriccio_patch.backends``.
"""

from __future__ import annotations

from ...contracts.socket_backend import Backend
from ...io.reserved import standard_kept_free
from ..registry import AUTO, Registry

__all__ = [
    "PREFERRED",
    "REGISTRY",
    "Backend",
    "available_backends",
    "create_backend",
    "recreate_backend",
    "register_backend",
]

PREFERRED = ("epoll", "kqueue", "poll", "select")

_BUILT_IN = {
    "epoll": "sockets.epoll:EpollBackend",
    "kqueue": "sockets.kqueue:KqueueBackend",
    "poll": "sockets.poll:PollBackend",
    "select": "sockets.select:SelectBackend",
    "io_uring": "sockets.io_uring:IoUringBackend",
    "thread": "sockets.thread:ThreadBackend",
}

REGISTRY = Registry(
    "socket I/O scheme",
    Backend,
    "capriccio_patch.backends",
    _BUILT_IN,
)


def register_backend(name: str, cls: type[Backend]) -> None:
    """Make a scheme available under `name` for ``CAPRICCIO_SOCKIO``; before `patch_all`.

    TypeError if `cls` is not a complete subclass of `Backend`, ConfigError for the name ``auto``.
    Any OS thread.
    """
    REGISTRY.register(name, cls)


def available_backends() -> dict[str, str | None]:
    """The known schemes, each with the reason why it can't run here, or None.

    Those of entry points are loaded.
    """
    return REGISTRY.reasons()


def create_backend(name: str = AUTO) -> Backend:
    """An initialised scheme.

    ConfigError for an unknown name, BackendUnavailable, with the reason, for one that can't run
    here.  OSError if the system has no descriptors left.
    """
    name, cls = REGISTRY.first(PREFERRED if name == AUTO else (name,))
    return _initialised(name, cls)


def recreate_backend(old: Backend) -> Backend:
    """In a forked child: a scheme like the parent's, whose descriptors are closed."""
    old.close()
    return _initialised(old.name, type(old))


def _initialised(name: str, cls: type[Backend]) -> Backend:
    backend = cls()
    if backend.name != name:
        backend.name = name
    with standard_kept_free():
        backend.init()
    return backend
