"""Plain threaded Python that scales: each thread of `threading` a user-level thread.

``patch_all()`` takes over every call of the standard library that blocks, for references taken
before it as well; the calling thread parks, and the others go on.

pytest need not look for assertions here: PYTEST_DONT_REWRITE.
"""

from .cpython.modules import Importing

with Importing():
    from .cpython import names  # noqa: F401  # an interpreter that lacks some is refused first

    # isort: split
    from .cpython import fork_hooks  # noqa: F401  # before there is much to look through

    # isort: split
    from .api import (
        blocking_graph,
        interrupt,
        is_patched,
        offload,
        original,
        patch_all,
        set_priority,
        status,
        unpatch_all,
    )
    from .backends.disk import DiskBackend, available_disk_backends, register_disk_backend
    from .backends.sockets import Backend, available_backends, register_backend
    from .diagnosis.attach import dump, leaked
    from .errors import (
        BackendUnavailable,
        CapriccioError,
        CapriccioWarning,
        ConfigError,
        Deadlock,
        PatchError,
        ThreadsAlive,
        ThreadsBlocked,
    )
    from .schedulers import known_schedulers, register_scheduler

__version__ = "0.1.0"
pytest_plugins = ("capriccio_patch.integrations.pytest_plugin",)
"""What ``pytest -p capriccio_patch`` loads."""

__all__ = [
    "Backend",
    "BackendUnavailable",
    "CapriccioError",
    "CapriccioWarning",
    "ConfigError",
    "Deadlock",
    "DiskBackend",
    "PatchError",
    "ThreadsAlive",
    "ThreadsBlocked",
    "__version__",
    "available_backends",
    "available_disk_backends",
    "blocking_graph",
    "dump",
    "interrupt",
    "is_patched",
    "known_schedulers",
    "leaked",
    "offload",
    "original",
    "patch_all",
    "register_backend",
    "register_disk_backend",
    "register_scheduler",
    "set_priority",
    "status",
    "unpatch_all",
]
