"""Try, wait, retry: once for reads and once for writes.

A call that would block raises BlockingIOError instead.  Its thread waits for its turn and for the
descriptor (`io.waits`), tries again, and goes back to the head of the queue if somebody was faster.

1. A thread whose try succeeds has its turn still: the caller passes it on, or proves that nothing
   is left to pass on.  One whose try fails for good has passed it on.
2. One whose descriptor was closed meanwhile gets EBADF: its number may stand for another file.

Green threads only.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EBADF
from os import strerror

from ..contracts.choice import Choice
from ..contracts.descriptor import Descriptor
from .waits import Waits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["EXPIRED", "Expired", "read", "write"]

_CLOSED = strerror(EBADF)


class Expired(Choice):
    """The deadline of a wait has passed; what that means to the program is the caller's to say.

    Not an exception: it would be the context of the one that the caller raises.
    """

    EXPIRED = "expired"


EXPIRED = Expired.EXPIRED


def read(
    waits: Waits,
    d: Descriptor,
    deadline: float | None,
    attempt: Callable[[], T],
    *,
    woken: bool = False,
) -> T | Expired:
    """What `attempt` returns, or raises, in this thread's turn to read.

    `woken`: it is its turn already.  `EXPIRED` when `deadline` has passed.
    """
    again = woken
    while True:
        if not woken and not waits.wait_read(d, deadline, again):
            return EXPIRED
        if d.closed:
            raise OSError(EBADF, _CLOSED)
        d.can_read = woken = False
        try:
            return attempt()
        except BlockingIOError:
            again = True
        except BaseException:
            waits.pass_on(d)
            raise


def write(
    waits: Waits,
    d: Descriptor,
    deadline: float | None,
    attempt: Callable[[], T],
    *,
    again: bool = False,
) -> T | Expired:
    """What `attempt` returns, or raises, in this thread's turn to write.

    `again`: it has had its turn and goes on.  `EXPIRED` when `deadline` has passed.
    """
    while True:
        if not waits.wait_write(d, deadline, again):
            return EXPIRED
        if d.closed:
            raise OSError(EBADF, _CLOSED)
        try:
            return attempt()
        except BlockingIOError:
            again = True
        except BaseException:
            waits.pass_on_write(d)
            raise
