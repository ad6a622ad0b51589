"""The record of one disk operation that may have to wait: the paper's request.

1. A request owns its memory: an abandoned one is still being carried out, in a worker or in the
   kernel, when the caller's buffer is gone.
2. It is completed on the scheduler's OS thread, so a completion can't overtake the park.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from ..cpython import originals
from .thread import Thread

__all__ = ["Operation", "Request"]


class Completions(Protocol):
    """What a request needs of the kernel."""

    def call_soon(self, call: Callable[..., None], *args: Any) -> None:
        """Have the scheduler's OS thread make a call.  Any OS thread."""

    def resume_behind(self, thread: Thread) -> None:
        """End the wait of a parked thread, which runs when others have had their time."""


class Operation(Enum):
    """What a request asks for."""

    READ = "read"
    WRITE = "write"
    SYNC = "fsync"
    DATASYNC = "fdatasync"
    EMPTY = "truncate"
    CALL = "call"


class Request:
    """One operation that may have to wait.

    ``offset`` is -1 for the file's current position.  The ``result`` of a READ is what was read; of
    a WRITE the number of bytes; of a CALL what ``call(*args)`` returned.  ``closes``: ``fd``
    is closed when it is complete.  ``local``: it is known to wait for no server.
    """

    __slots__ = (
        "args",
        "call",
        "closes",
        "done",
        "error",
        "fd",
        "kernel",
        "local",
        "offset",
        "operation",
        "result",
        "thread",
    )

    def __init__(
        self,
        kernel: Completions,
        operation: Operation,
        call: Callable[..., Any],
        *args: Any,
        fd: int = -1,
        offset: int = -1,
    ) -> None:
        self.kernel = kernel
        self.operation = operation
        self.call = call
        self.args = args
        self.fd = fd
        self.offset = offset
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.closes = False
        self.local = False
        self.thread: Thread | None = None

    def __repr__(self) -> str:
        what = self.call if self.operation is Operation.CALL else f"of descriptor {self.fd}"
        return f"<{self.operation.value} {what}>"

    def perform(self) -> None:
        """Make the blocking call, once, and let go of its arguments.  Any OS thread."""
        call, args = self.call, self.args
        self.call, self.args = _performed, ()
        try:
            self.result = call(*args)
        except BaseException as error:
            self.error = error

    def run(self) -> None:
        """On a worker's OS thread."""
        self.perform()
        self.kernel.call_soon(self.complete)

    def complete(self) -> None:
        """The outcome is there.  Scheduler's OS thread."""
        self.done = True
        if self.closes:
            originals.close(self.fd)
        thread = self.thread
        if thread is not None:
            self.thread = None
            self.kernel.resume_behind(thread)

    def outcome(self) -> Any:
        """The result, or the error raised."""
        error = self.error
        if error is not None:
            self.error = None
            try:
                raise error
            finally:
                del error  # a cycle through the traceback otherwise
        return self.result


def _performed() -> None:
    """Stands for the call of a request that was performed."""
