"""Socket I/O schemes, chosen by name.

``auto`` is the first of `PREFERRED` that can run here: the kernel's own queues of events, then what
every Unix has.  ``io_uring`` and ``thread`` save
next to nothing, and cost up to 1.5 and 6 times what epoll does (`docs/schemes.md`), so they, and
schemes that others have added, are for who names them.

`register_backend` adds one; so does the entry-point group ``capriccio_patch.backends``.
"""

from __future__ import annotations

from ...contracts.socket_backend import Backend
from ...errors import BackendUnavailable, ConfigError
from .epoll import EpollBackend
from .io_uring import IoUringBackend
from .kqueue import KqueueBackend
from .poll import PollBackend
from .select import SelectBackend
from .thread import ThreadBackend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "PREFERRED",
    "Backend",
    "available_backends",
    "create_backend",
    "recreate_backend",
    "register_backend",
]

PREFERRED = ("epoll", "kqueue", "poll", "select")

_ENTRY_POINTS = "capriccio_patch.backends"

_backends: dict[str, type[Backend]] = {}


def register_backend(name: str, cls: type[Backend]) -> None:
    """Make a scheme available under `name` for ``CAPRICCIO_SOCKIO``; before `patch_all`.

    TypeError if `cls` is not a complete subclass of `Backend`, ConfigError for the name ``auto``.
    Any OS thread.
    """
    if not (isinstance(cls, type) and issubclass(cls, Backend)):
        raise TypeError(f"a socket I/O scheme must be a subclass of Backend, not {cls!r}")
    missing = ", ".join(sorted(cls.__abstractmethods__))
    if missing:
        raise TypeError(f"the socket I/O scheme {cls.__name__} lacks {missing}")
    if name == "auto":
        raise ConfigError("no socket I/O scheme can be called 'auto': that chooses one")
    _backends[name] = cls


for _cls in (
    EpollBackend,
    KqueueBackend,
    PollBackend,
    SelectBackend,
    IoUringBackend,
    ThreadBackend,
):
    register_backend(_cls.name, _cls)


def available_backends() -> dict[str, str | None]:
    """The known schemes, each with the reason why it can't run here, or None.

    Those of entry points are loaded.
    """
    found: dict[str, str | None] = {}
    for name in [*_backends, *(name for name in _entry_points() if name not in _backends)]:
        try:
            found[name] = _class(name).is_available()
        except ConfigError as error:
            found[name] = str(error)
    return found


def create_backend(name: str = "auto") -> Backend:
    """An initialised scheme.

    ConfigError for an unknown name, BackendUnavailable, with the reason, for one that can't run
    here.  OSError if the system has no descriptors left.
    """
    names = PREFERRED if name == "auto" else (name,)
    reasons = []
    for each in names:
        cls = _class(each)
        reason = cls.is_available()
        if reason is None:
            backend = cls()
            if backend.name != each:
                backend.name = each
            backend.init()
            return backend
        reasons.append(f"{each}: {reason}")
    raise BackendUnavailable("no such socket I/O scheme here: " + "; ".join(reasons))


def recreate_backend(old: Backend) -> Backend:
    """In a forked child: a scheme like the parent's, whose descriptors are closed."""
    old.close()
    backend = type(old)()
    if backend.name != old.name:
        backend.name = old.name
    backend.init()
    return backend


def _class(name: str) -> type[Backend]:
    if name not in _backends:
        entries = _entry_points()
        if name not in entries:
            known = ", ".join(["auto", *_backends, *entries])
            raise ConfigError(f"unknown socket I/O scheme {name!r}: known are {known}")
        _load(entries[name])
    return _backends[name]


def _entry_points() -> dict[str, EntryPoint]:
    """What installed distributions offer, by name."""
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=_ENTRY_POINTS)}


def _load(entry: EntryPoint) -> None:
    try:
        register_backend(entry.name, entry.load())
    except Exception as error:
        source = entry.dist.name if entry.dist is not None else "an unknown distribution"
        raise ConfigError(
            f"the socket I/O scheme {entry.name!r} of {source} ({entry.value}) can't be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
