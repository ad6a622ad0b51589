"""``queue.Queue`` and its subclasses: putting where there is always room, and getting.

They are Python in the standard library and would work as they are; what they do in every program
with workers is made short here.  A queue stays what it is: its mutex, its conditions and the
methods that subclasses replace (``_put``, ``_get``, ``_qsize``) are used as the standard library
uses them, and all else (bounded queues, timeouts, no waiting) goes its way.

Source followed: Lib/queue.py.
"""

from __future__ import annotations

from ...cpython import originals
from ..base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    import queue

    Lock = originals.LockType
    try_lock = originals.lock_acquire
    stock_put: Any = queue.Queue.put
    stock_get: Any = queue.Queue.get
    ShutDown: Any = getattr(queue, "ShutDown", None)  # from CPython 3.13

    def put(self: Any, item: Any, block: bool = True, timeout: float | None = None) -> Any:
        mutex = self.mutex
        if self.maxsize > 0 or type(mutex) is not Lock or not try_lock(mutex, False):
            return stock_put(self, item, block, timeout)
        try:
            if ShutDown is not None and self.is_shutdown:
                raise ShutDown
            self._put(item)
            self.unfinished_tasks += 1
            condition = self.not_empty
            if condition._waiters:
                condition.notify()
        finally:
            mutex.release()
        return None

    def get(self: Any, block: bool = True, timeout: float | None = None) -> Any:
        mutex = self.mutex
        if timeout is not None or not block or type(mutex) is not Lock:
            return stock_get(self, block, timeout)
        if not try_lock(mutex, False):
            return stock_get(self, block, timeout)
        try:
            while not self._qsize():
                if ShutDown is not None and self.is_shutdown:
                    raise ShutDown
                self.not_empty.wait()
            item = self._get()
            condition = self.not_full
            if condition._waiters:
                condition.notify()
            return item
        finally:
            mutex.release()

    return [
        Patch("queue", "queue", "Queue.put", put),
        Patch("queue", "queue", "Queue.get", get),
    ]
