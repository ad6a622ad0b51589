"""The parts of a kernel, as settings ask for them: scheduler, I/O schemes, records, workers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..backends.disk import create_disk_backend
from ..backends.sockets import create_backend
from ..config import Settings
from ..contracts.scheduler import Abilities, Scheduler
from ..contracts.socket_backend import Backend
from ..cpython.standstill import has_gil
from ..io.descriptors import Descriptors
from ..io.disk import Disk
from ..io.disk_services import DiskServices
from ..io.mounts import Mounts
from ..io.workers import Workers
from ..kernel import lifecycle
from ..kernel.core import Kernel
from ..patching.policy import create_policy, slice_for
from ..wrappers.base import Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["MakeKernel", "runtime_for", "watch_times"]

MakeKernel = Callable[[Backend, Scheduler], Kernel]
"""How a kernel of the calling OS thread's is made."""


def runtime_for(
    settings: Settings,
    opened: list[Callable[[], Any]],
    make_kernel: MakeKernel,
    bind: Callable[[Descriptors], None],
) -> Runtime:
    """A kernel of the calling OS thread's, and what it waits with.

    `bind` is called with the records of its descriptors.  What is to be called when all is over,
    last first, is added to `opened`.  Raises ConfigError for an unknown name, BackendUnavailable
    for a scheme that can't run here.
    """
    policy = create_policy(settings)
    scheme = create_disk_backend(settings.diskio)
    backend = create_backend(settings.sockio)
    opened.append(backend.close)
    kernel = make_kernel(backend, policy)
    opened.append(partial(lifecycle.end, kernel))
    descriptors = Descriptors(kernel)
    bind(descriptors)
    Abilities(policy).attach(kernel)
    workers = Workers(kernel)
    mounts = Mounts()
    opened.append(scheme.close)
    scheme.init(DiskServices(descriptors, workers, mounts))
    return Runtime(kernel, descriptors, workers, Disk(kernel, scheme, mounts))


def watch_times(settings: Settings, kernel: Kernel) -> tuple[float, float, str]:
    """A kernel's slice, and when and how it is told what has kept its threads waiting, both in
    seconds: not at all while others have the GIL in turns with it, and nobody is to blame."""
    blocked = (0.0, "off") if len(kernel.all()) > 1 and has_gil() else settings.blocked
    return slice_for(settings, kernel.scheduler), *blocked
