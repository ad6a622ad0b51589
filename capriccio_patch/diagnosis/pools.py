"""Pools that have come to a stop: each of their threads waits for a call that is yet to be made.

Facts.  A call that is in the queue of a ThreadPoolExecutor is made when one of its threads has
nothing else to do, and a pool with as many threads as it may have starts no other one.  So when
each of them waits, without a time-out, for the Future of a call that is still in that queue, none
is ever made.  Who else has such a Future may cancel it, as who has a lock may release it: that is
no plan to go on by.

1. Only the standard library's own class is looked at, and only Futures that are in the queue: of
   any other one it is not known who gives it a result.
2. Reading costs nothing while there is no pool all of whose threads wait for a condition.

Any OS thread that has the GIL.
"""

from __future__ import annotations

import gc

from ..contracts.thread import Thread
from ..cpython.modules import imported
from ..kernel.core import Kernel
from .waiting import is_stuck_inside, top_records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["WaitingPool", "stopped_pools", "waiting_pools"]

WaitingPool = tuple["Any", list[tuple[Thread, float]]]
"""A pool, and its threads with the times since when each has waited."""


def waiting_pools(kernel: Kernel, latest: float) -> list[WaitingPool]:
    """Each pool all of whose threads have waited for conditions since `latest` or before."""
    futures = imported("concurrent.futures.thread")
    if futures is None or not futures._threads_queues:
        return []
    records = {each.ident: each for each in top_records(kernel)}
    pools: dict[int, list[Any]] = {}
    for reference, queue in list(futures._threads_queues.data.items()):
        worker = reference()
        if worker is not None:
            pools.setdefault(id(queue), []).append(worker)
    waiting = []
    for workers in pools.values():
        threads = [records.get(worker.ident) for worker in workers]
        since = [
            (each, each.since) for each in threads if each is not None and _waits(each, latest)
        ]
        if len(since) == len(threads):
            waiting.append((_pool_of(workers[0]), since))
    return waiting


def stopped_pools(kernel: Kernel, pools: list[WaitingPool]) -> list[list[tuple[Thread, float]]]:
    """The threads of those of `pools` that have come to a stop.  One that waits still as it is said
    there has done so all the time.  Called once what reads stacks is imported."""
    return [
        threads
        for pool, threads in pools
        if _wait_for(kernel, [thread for thread, _ in threads], pool)
    ]


def _waits(thread: Thread, latest: float) -> bool:
    return thread.kind == "condition" and thread.since < latest and is_stuck_inside(thread)


def _wait_for(kernel: Kernel, threads: list[Thread], pool: Any) -> bool:
    """Whether `threads`, which are all that `pool` may have, wait for calls in its queue."""
    from .stacks import frame_of, waits_in
    from .things import is_future

    futures: Any = imported("concurrent.futures.thread")
    if type(pool) is not futures.ThreadPoolExecutor or pool._max_workers != len(threads):
        return False
    awaited = [waits_in(frame_of(kernel, each)).thing for each in threads]
    if not all(map(is_future, awaited)):
        return False
    found = gc.get_referents(pool._work_queue)
    found += [item for each in found if type(each) is list for item in each]  # until CPython 3.12
    queued = {id(each.future) for each in found if type(each) is futures._WorkItem}
    return queued.issuperset(map(id, awaited))


def _pool_of(worker: Any) -> Any:
    """The pool that has started a Thread, as long as that runs."""
    reference, *_ = vars(worker).get("_args") or [lambda: None]
    return reference()
