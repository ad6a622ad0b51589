"""``_queue.SimpleQueue``: the queue of ``concurrent.futures``, in C.

The items stay in the C object, so a queue is shared with OS threads as it is; only the waiting of
green threads is ours.  `put` may be called from finalizers and signal handlers, as in stock.
"""

from __future__ import annotations

import _queue

from ...cpython import originals
from ...kernel.parking import Lot
from ..base import Patch, Runtime, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["SimpleQueues"]

_FOREVER = 1 << 62


class SimpleQueues:
    """The queues; of another `module` when ``_queue`` was imported again."""

    def __init__(self, runtime: Runtime, module: Any = _queue) -> None:
        self._runtime = runtime
        self.module = module
        self._qsize = vars(module.SimpleQueue)["qsize"]
        self.lot = Lot(runtime.kernel, "queue", pass_on=self._pass_on)

    def _pass_on(self, queue: Any) -> None:
        if self._qsize(queue):
            self.lot.wake_one(queue)

    def rows(self) -> list[Patch]:
        """The rows of this module."""
        return _rows(self._runtime, self.module, self.lot)


def _rows(runtime: Runtime, module: Any, lot: Lot) -> list[Patch]:
    kernel = runtime.kernel
    clock = kernel.clock
    get_ident = originals.get_ident
    cls = module.SimpleQueue
    Empty = module.Empty
    original_put = vars(cls)["put"]
    original_get = vars(cls)["get"]
    qsize = vars(cls)["qsize"]
    waiting, wake, park = lot.everywhere, lot.wake_one, lot.park

    def put(self: Any, item: Any, block: bool = True, timeout: float | None = None) -> None:
        original_put(self, item)
        if waiting and id(self) in waiting:
            wake(self)

    def put_nowait(self: Any, item: Any) -> None:
        original_put(self, item)
        if waiting and id(self) in waiting:
            wake(self)

    def get(self: Any, block: bool = True, timeout: float | None = None) -> Any:
        if timeout is not None and block:
            return get_timed(self, timeout)
        if qsize(self) or not block:
            try:
                return original_get(self, False)
            except Empty:  # an OS thread was faster
                if not block:
                    raise
        if get_ident() != kernel.os_ident:
            return original_get(self)
        return wait(self, None)

    def get_timed(queue: Any, timeout: Any) -> Any:
        if get_ident() != kernel.os_ident:
            return original_get(queue, True, timeout)
        limit = seconds(timeout, lambda: original_get(queue, True, timeout))
        if limit < 0 or limit > _FOREVER:
            return original_get(queue, True, timeout)  # raises
        try:
            return original_get(queue, False)
        except Empty:
            if not limit:
                raise
        return wait(queue, clock() + limit)

    def wait(queue: Any, deadline: float | None) -> Any:
        again = False
        while True:
            in_time = park(queue, deadline, first=again, ready=qsize)
            try:
                return original_get(queue, False)
            except Empty:
                if not in_time:
                    raise
                again = True

    def get_nowait(self: Any) -> Any:
        return original_get(self, False)

    return [
        Patch("queue", "_queue", "SimpleQueue.put", put, owner=cls),
        Patch("queue", "_queue", "SimpleQueue.put_nowait", put_nowait, owner=cls),
        Patch("queue", "_queue", "SimpleQueue.get", get, owner=cls),
        Patch("queue", "_queue", "SimpleQueue.get_nowait", get_nowait, owner=cls),
    ]
