"""The record of one green thread.

1. What a thread is doing, and what may be done to it (``kernel``):

   ============  ========  ================  =============  =====================================
   state         parked    by_interrupt      timed_out      in the run queue, or deferred
   ============  ========  ================  =============  =====================================
   running       no        no                as it woke     no
   parked        yes       no                no             no; a resume is due
   woken         no        no                no             yes; a resume is an error
   expired       no        no                yes            yes; a resume that comes first wins
   interrupted   no        yes               no             yes; a resume that comes first wins
   ============  ========  ================  =============  =====================================

   ``parked`` is set when a thread begins to wait.  It is cleared by the kernel alone.
2. ``ident`` is the record's own address plus one: unique among live threads, and never that of an
   OS thread, whose identifiers are addresses of thread control blocks.  So C code that takes
   identifiers for pointers can be spared one of ours even when its thread has ended: it is odd.
3. ``c_state`` holds what C code keyed by OS thread while this thread ran (``threading.local``,
   asyncio's running loop), and ``trace`` its trace and profile functions while it does not run;
   None for the many that have none.
"""

from __future__ import annotations

from collections import OrderedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["GRANTED", "Finalizer", "Slot", "Thread", "WaitQueue"]

GRANTED = -1.0
"""``Thread.since`` of a deferred thread that was given a slice, until it parks again."""


class Thread:
    """One green thread: what it runs, where it waits and since when."""

    __slots__ = (
        "__weakref__",
        "by_interrupt",
        "c_state",
        "deadline",
        "error",
        "greenlet",
        "ident",
        "interrupt",
        "kind",
        "object",
        "on_exit",
        "parked",
        "run",
        "since",
        "started",
        "timed_out",
        "timer",
        "trace",
    )

    ident: int

    def __init__(self) -> None:
        self.ident = id(self) + 1
        self.greenlet: Any = None
        self.run: Any = None
        self.started = False
        self.parked = False
        self.timed_out = False
        self.deadline: float | None = None
        self.timer: list[Any] | None = None
        self.interrupt: Any = None
        self.by_interrupt = False
        self.error: Any = None
        self.on_exit: Any = None
        self.kind = ""
        self.object: Any = None
        self.since = 0.0
        """When it parked last, by the kernel's clock; 0.0: never; or `GRANTED`."""
        self.c_state: dict[str, Any] | None = None
        self.trace: list[int] | None = None

    @property
    def is_granted(self) -> bool:
        """Whether it was deferred, was given a slice, and has not parked since."""
        return self.since == GRANTED

    def __repr__(self) -> str:
        state = f"parked in {self.kind}" if self.parked else "runnable"
        return f"<Thread {self.ident:#x} {state}>"


class Finalizer(Thread):
    """Who runs while the kernel is between two threads: finalizers, weakref callbacks, C callbacks.

    The kernel makes it the current thread while it works on a thread's behalf (its *host*).  Code
    that runs then is the host's code, with the host's identity, and may wait for something without
    disturbing what the host waits for.
    """

    __slots__ = ("host",)

    host: Thread

    def __init__(self) -> None:
        super().__init__()
        self.started = True

    @property
    def ident(self) -> int:
        return self.host.ident

    @ident.setter
    def ident(self, value: int) -> None:
        """The base class assigns one; a finalizer's is its host's."""


class WaitQueue(OrderedDict[Thread, None]):
    """Several waiting threads, in order."""

    __slots__ = ()


Slot = Thread | WaitQueue | None
"""Who waits for one thing: nobody, one thread, or several (`kernel.parking`)."""
