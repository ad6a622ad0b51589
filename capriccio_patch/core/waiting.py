"""What C is told of locks, conditions and queues.

1. Locks are tried before anything is made for them: whether recursive ones are C's follows from it.
2. A subject whose parts C does not know stays Python's; the reason is returned.
3. ``queue`` is bound when it is imported, with its rows.

Main OS thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

from ..cpython import originals
from ..cpython.modules import standard
from ..kernel.core import Kernel
from ..wrappers.table import ThreadParts
from ..wrappers.threads.lock_waits import LockWaits
from ..wrappers.threads.waiters import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["SUBJECTS", "bind", "bind_queue", "try_locks"]

SUBJECTS: Mapping[str, str] = {
    "cond": "conditions",
    "event": "conditions",
    "lock": "locks",
    "queue": "queue",
    "rlock": "locks",
    "simple": "simple_queue",
}
"""Which subject a function of C belongs to, by the first word of its name."""


def try_locks(core: Any) -> None:
    """SystemError if the locks of this CPython are not as C knows them."""
    core.try_locks(
        originals.allocate_lock(),
        originals.lock_acquire,
        originals.lock_release,
        originals.RLockType(),
        originals.rlock_acquire,
        originals.rlock_release,
    )


def bind(core: Any, kernel: Kernel, parts: ThreadParts) -> dict[str, str]:
    """Have C work on `parts`; returns by subject why one of them stays Python's."""
    objects = {
        "LockType": originals.LockType,
        "RLockType": originals.RLockType,
        "proxies": kernel.proxies,
        "c_released": parts.c_released.data,  # type: ignore[attr-defined]
        "TIMEOUT_MAX": originals.TIMEOUT_MAX,
        **_of("lock", parts.lock_waits, originals.lock_acquire),
        **_of("rlock", parts.rlock_waits, originals.rlock_acquire),
    }
    core.bind("locks", objects, {})
    waits, queues = parts.waits, parts.simple_queues
    methods = vars(queues.module.SimpleQueue)
    subjects = {
        "conditions": {
            "Condition": threading.Condition,
            "condition": threading.Condition(originals.allocate_lock()),
            "event": threading.Event(),
            "Waiter": Waiter,
            "events": parts.events.waiting,
            "waits": waits,
            "waits.resume": waits.resume,
            "remove": deque.remove,
        },
        "simple_queue": {
            "SimpleQueue": queues.module.SimpleQueue,
            "waiting": queues.lot.waiting,
            "wake": queues.lot.wake_one,
            "put": methods["put"],
            "get": methods["get"],
            "qsize": methods["qsize"],
        },
    }
    failed = {}
    for subject, these in subjects.items():
        try:
            core.bind(subject, these, {})
        except SystemError as error:
            failed[subject] = str(error)
    return failed


def bind_queue(core: Any) -> None:
    """``queue`` was imported, and none of its methods is taken over yet."""
    module = standard("queue")
    methods = vars(module.Queue)
    objects = {name: methods[name] for name in ("_put", "_get", "_qsize")}
    objects |= {"Queue": module.Queue, "queue": module.Queue()}
    if hasattr(module, "ShutDown"):  # from CPython 3.13
        objects["ShutDown"] = module.ShutDown
    core.bind("queue", objects, {})


def _of(name: str, waits: LockWaits, acquire: Any) -> dict[str, Any]:
    objects = {
        each: getattr(waits, each)
        for each in ("waiting", "starving", "given", "kind", "wake", "give_up")
    }
    return {f"{name}.{key}": value for key, value in {**objects, "acquire": acquire}.items()}
