"""The records of what is carried out elsewhere while green threads wait: a call, a disk operation.

1. A request owns its memory: an abandoned one is still being carried out, in a worker or in the
   kernel, when the caller's buffer is gone.
2. It is completed on the scheduler's OS thread, so a completion can't overtake the park.
3. It is performed once, and lets go of its arguments then: the caller may count references.
"""

from __future__ import annotations

from collections.abc import Callable

from ..cpython import originals
from .choice import Choice
from .thread import Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object

__all__ = ["Call", "Completions", "Operation", "Request"]


class Completions(Protocol):
    """What a request needs of the kernel."""

    def call_soon(self, call: Callable[..., None], *args: Any) -> None:
        """Have the scheduler's OS thread make a call.  Any OS thread."""

    def resume(self, thread: Thread) -> None:
        """End the wait of a parked thread."""

    def resume_deferred(self, thread: Thread) -> None:
        """End the wait of a parked thread, which runs when others have had their time."""


class Loan(Protocol):
    """What a green thread lends to the OS thread that makes a call for it: `kernel.loans`."""

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function(*args)`` with what was lent.  The OS thread that makes the call."""

    def settle(self) -> None:
        """The call is over.  The lender."""


class Operation(Choice):
    """What a request asks for."""

    READ = "read"
    WRITE = "write"
    SYNC = "fsync"
    DATASYNC = "fdatasync"
    EMPTY = "truncate"
    CALL = "call"


class Call:
    """A call that an OS thread makes, and the green threads that wait for its outcome.

    ``done``: the outcome is there, as ``result`` or ``error``.  How a green thread waits for it is
    in `io.off_thread`.  ``loan``: what the call is made with, if it may call the program back.
    """

    __slots__ = ("args", "call", "done", "error", "kernel", "loan", "result", "waiters")

    def __init__(self, kernel: Completions, call: Callable[..., Any], *args: Any) -> None:
        self.kernel = kernel
        self.call = call
        self.args = args
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.waiters: list[Thread] = []
        self.loan: Loan | None = None

    def __repr__(self) -> str:
        return f"<call {self.call}>"

    def perform(self) -> None:
        """Make the blocking call, once, and let go of its arguments.  Any OS thread."""
        call, args = self.call, self.args
        self.call, self.args = _performed, ()
        loan = self.loan
        try:
            self.result = call(*args) if loan is None else loan.run(call, *args)
        except BaseException as error:
            self.error = error

    def run(self) -> None:
        """On the OS thread that makes the call."""
        self.perform()
        self.kernel.call_soon(self.complete)

    def complete(self) -> None:
        """The outcome is there.  Scheduler's OS thread."""
        self.done = True
        waiters, self.waiters = self.waiters, []
        for thread in waiters:
            self.kernel.resume(thread)

    def outcome(self) -> Any:
        """The result, or the error raised.  The thread that asked for the call."""
        if self.loan is not None:
            self.loan.settle()
            self.loan = None
        error = self.error
        if error is not None:
            self.error = None
            try:
                raise error
            finally:
                del error  # a cycle through the traceback otherwise
        return self.result


class Request(Call):
    """One disk operation that may have to wait: the paper's request.

    ``offset`` is -1 for the file's current position.  The ``result`` of a READ is what was read; of
    a WRITE the number of bytes; of a CALL what ``call(*args)`` returned.  ``closes``: ``fd``
    is closed when it is complete.  ``local``: it is known to wait for no server.
    """

    __slots__ = ("closes", "fd", "local", "offset", "operation")

    def __init__(
        self,
        kernel: Completions,
        operation: Operation,
        call: Callable[..., Any],
        *args: Any,
        fd: int = -1,
        offset: int = -1,
    ) -> None:
        super().__init__(kernel, call, *args)
        self.operation = operation
        self.fd = fd
        self.offset = offset
        self.closes = False
        self.local = False

    def __repr__(self) -> str:
        what = self.call if self.operation is Operation.CALL else f"of descriptor {self.fd}"
        return f"<{self.operation.value} {what}>"

    def complete(self) -> None:
        """As of any call; many may end together, so the threads run behind those that answer."""
        self.done = True
        if self.closes:
            originals.close(self.fd)
        waiters, self.waiters = self.waiters, []
        for thread in waiters:
            self.kernel.resume_deferred(thread)


def _performed() -> None:
    """Stands for the call of a request that was performed."""
