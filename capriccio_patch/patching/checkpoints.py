"""What a scheduler is offered beyond its contract, wired up where it asks for it.

A seed, the kernel it schedules for, and lots to draw before calls that are taken over
(`contracts.scheduler` has the list).  A scheduler that asks for none of it costs nothing here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

from ..config import Settings
from ..contracts.thread import Finalizer
from ..cpython import originals
from ..errors import ConfigError
from ..kernel.core import Kernel
from ..preemption.safe_point import may_yield
from ..schedulers import create_scheduler, with_recorder
from ..wrappers.base import Patch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..graph.model import BlockingGraph

__all__ = [
    "Outcome",
    "blocked_for",
    "create_policy",
    "draw",
    "recorded",
    "slice_for",
    "with_checkpoints",
]

# Answered at once from what the caller itself is: nothing can come between.
_ABOUT_ONESELF = frozenset(
    {
        "_thread.get_ident",
        "_thread._count",
        "_thread._get_main_thread_ident",
        "_thread.RLock._is_owned",
        "_thread.RLock._recursion_count",
        "_thread.RLock.__repr__",
        "_socket.socket.gettimeout",
        "_socket.socket.getblocking",
    }
)
_PATIENCE = 3  # slices
_NOT_CONCERNED = frozenset({"asyncio", "ctypes", "importlib", "signal", "sys"})
"""Groups of what belongs to the interpreter or to an event loop, not between threads."""


def create_policy(settings: Settings) -> Any:
    """The scheduler that `settings` ask for; ConfigError for an unknown one."""
    policy = create_scheduler(settings.scheduler)
    if settings.seed is not None:
        if not hasattr(policy, "seed"):
            raise ConfigError(
                f"seed={settings.seed}: the scheduler {settings.scheduler!r} draws no lots; "
                "'random' does"
            )
        policy.seed = settings.seed
    return policy if settings.graph is None else with_recorder(policy)


def slice_for(settings: Settings, policy: Any) -> float:
    """Seconds that a thread may compute; 0.0: for ever."""
    least: float = getattr(policy, "least_slice", 0.0)
    return max(settings.slice, least) if settings.slice else 0.0


def blocked_for(settings: Settings, policy: Any) -> tuple[float, str]:
    """Seconds after which a thread that lets no other run is reported, and how.

    Not while it may still be preempted.
    """
    limit, mode = settings.blocked
    least: float = getattr(policy, "least_slice", 0.0)
    return (max(limit, _PATIENCE * least) if limit else 0.0), mode


def with_checkpoints(kernel: Kernel, rows: list[Patch]) -> list[Patch]:
    """`rows`, with the scheduler asked before each call, if it wants to be."""
    checkpoint = getattr(kernel.scheduler, "checkpoint", None)
    if checkpoint is None:
        return rows
    names: frozenset[str] | None = kernel.scheduler.checkpoints
    checked = []
    for row in rows:
        replacement = row.replacement
        if type(replacement) is FunctionType:
            if names is None:
                if row.group not in _NOT_CONCERNED and row.name not in _ABOUT_ONESELF:
                    replacement = _checked_anywhere(kernel, checkpoint, replacement)
            elif row.name in names:
                replacement = _checked(kernel, checkpoint, replacement)
        checked.append(row._replace(replacement=replacement))
    return checked


def _checked(
    kernel: Kernel, checkpoint: Callable[[], bool], function: Callable[..., Any]
) -> Callable[..., Any]:
    """`function`, a call before which a thread may wait wherever it is made."""
    get_ident = originals.get_ident

    def call(*args: Any, **kwargs: Any) -> Any:
        if (
            get_ident() == kernel.os_ident
            and type(kernel.current) is not Finalizer
            and checkpoint()
        ):
            kernel.yield_()
        return function(*args, **kwargs)

    return call


def _checked_anywhere(
    kernel: Kernel, checkpoint: Callable[[], bool], function: Callable[..., Any]
) -> Callable[..., Any]:
    """`function`, a call of any kind: a thread may step aside only where it may be preempted."""

    def where_allowed() -> bool:
        # One up is `call`; above it, nothing when the interpreter itself flushes a stream.
        return may_yield(sys._getframe(1).f_back) and checkpoint()

    return _checked(kernel, where_allowed, function)


def recorded(kernel: Kernel) -> BlockingGraph:
    """The blocking graph, as far as the scheduler has recorded it.  Scheduler's OS thread."""
    from ..graph.recorder import Recorder

    recorder = getattr(kernel.scheduler, "recorder", None) or Recorder(kernel)
    graph: BlockingGraph = recorder.snapshot()
    return graph


def draw(kernel: Kernel, path: str) -> None:
    """At exit: write the blocking graph to a file; a warning if that can't be done."""
    from ..graph.drawing import drawn

    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(drawn(recorded(kernel), path.rpartition(".")[2]))
    except OSError as error:
        print(f"capriccio_patch: no graph is drawn: {error}", file=sys.stderr)


class Outcome:
    """Whether the program has failed, and the line that tells how to have it fail so again."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.failed = False
        """Set by whoever knows; what the interpreter has reported is found in `sys`."""

    def patches(self) -> list[Patch]:
        """The rows that note what is raised and not caught in threads."""
        if not hasattr(self._kernel.scheduler, "seed"):
            return []
        import _thread

        original = originals.thread_excepthook
        kernel = self._kernel
        report = kernel.report

        def excepthook(args: Any, /) -> Any:
            if args[0] is not SystemExit:
                self.failed = True
            return original(args)

        def report_raw(thread: Any) -> None:
            self.failed = True
            if report is not None:
                report(thread)

        kernel.report = report_raw
        assert hasattr(_thread, "_excepthook")
        return [Patch("threading", "_thread", "_excepthook", excepthook)]

    def tell(self) -> None:
        """At exit: if the program has failed and there is a seed, print it."""
        seed = getattr(self._kernel.scheduler, "seed", None)
        if seed is None or not (self.failed or hasattr(sys, "last_value")):
            return
        try:
            print(f"capriccio_patch: failed with --seed {seed}", file=sys.stderr, flush=True)
        except (AttributeError, OSError, ValueError):
            pass  # standard error is closed, or there is none
