"""What a socket I/O scheme of a third party imports: its contract, and what such schemes share."""

from __future__ import annotations

from ..contracts.descriptor import Descriptor
from ..contracts.socket_backend import Backend
from ..cpython import originals
from . import notifier
from .notifier import Notifier

__all__ = ["Backend", "Notifier", "notice_reuse"]


def notice_reuse(descriptor: Descriptor) -> int:
    """For schemes that the kernel does not tell: notes whether the number stands for another file
    than at the last request, in ``descriptor.reused``.

    One fstat(2) a request, whose ``st_mode`` this returns; descriptors whose close is seen (owned)
    need none: 0.  OSError for a bad descriptor.  Scheduler's OS thread.
    """
    if descriptor.owned:
        return 0
    status = originals.fstat(descriptor.fd)
    descriptor.reused = bool(notifier.notice_reuse(descriptor, status))
    return int(status.st_mode)
