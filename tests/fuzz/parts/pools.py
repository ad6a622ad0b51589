"""Thread pools, futures, timers, and joins."""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.thread
import threading
import time

from .prelude import breathe, busy, described, in_threads
from .registry import part


@part(workers=range(1, 6), tasks=range(1, 30))
def pool_map(workers, tasks):
    """Results in order, the first exception where it belongs."""

    def work(n):
        breathe(n)
        if n == 17:
            raise LookupError(n)
        return n * n

    out = []
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            # What came before an exception stays.
            for value in pool.map(work, range(tasks), timeout=60):
                out += [value]
        except LookupError as error:
            out.append(described(error))
    return sum(x for x in out if isinstance(x, int)), out[-1]


@part(workers=range(1, 5), tasks=range(1, 12), depth=range(1, 3))
def nested_pools(workers, tasks, depth):
    """Pools that are made in the tasks of pools."""

    def count(n, depth):
        if not depth:
            return busy(n * 50) * 0 + 1
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            return sum(pool.map(count, range(tasks % 5 + 1), [depth - 1] * (tasks % 5 + 1)))

    return count(tasks, depth)


@part(workers=range(1, 5), tasks=range(1, 15), when=["ALL_COMPLETED", "FIRST_EXCEPTION"])
def futures_waited(workers, tasks, when):
    """wait, as_completed, callbacks, exceptions."""
    called = []
    lock = threading.Lock()

    def work(n):
        breathe(n)
        with lock:
            called.append(n)
        if n % 5 == 4:
            raise ZeroDivisionError(f"task {n}")
        return n

    with concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="w") as pool:
        futures = [pool.submit(work, n) for n in range(tasks)]
        done = [0] * tasks
        for n, future in enumerate(futures):
            future.add_done_callback(lambda _, n=n: done.__setitem__(n, done[n] + 1))
        concurrent.futures.wait(futures, timeout=60, return_when=when)
        ended = {futures.index(each) for each in concurrent.futures.as_completed(futures, 60)}
        errors = [described(each.exception(60)) for each in futures if each.exception(60)]
    return len(ended), sorted(called), done, errors


@part(queued=range(1, 10), cancel=[True, False])
def pool_shut(queued, cancel):
    """What waits in a pool that is shut down is done, or cancelled, as asked."""
    gate, began = threading.Event(), threading.Event()

    def first():
        began.set()
        return gate.wait()

    pool = concurrent.futures.ThreadPoolExecutor(1)
    futures = [pool.submit(first)] + [pool.submit(busy, n) for n in range(queued)]
    began.wait()
    timely = concurrent.futures.wait(futures[:1], timeout=0.002)
    pool.shutdown(wait=False, cancel_futures=cancel)
    try:
        pool.submit(busy, 1)
    except RuntimeError as error:
        text = str(error)
    gate.set()
    pool.shutdown()
    try:
        results = [each.result(60) for each in futures]
    except concurrent.futures.CancelledError as error:
        results = type(error).__name__
    return len(timely.not_done), text, results, [each.cancelled() for each in futures]


@part(pairs=range(1, 8))
def futures_by_hand(pairs):
    """Futures that one thread completes and another waits for."""
    futures = [concurrent.futures.Future() for _ in range(pairs)]

    def work(i):
        if i < pairs:
            futures[i].set_running_or_notify_cancel()
            breathe(i)
            if i % 2:
                futures[i].set_exception(IndexError(i))
            else:
                futures[i].set_result(i)
            return None
        try:
            return futures[i - pairs].result(None if i % 3 else 60)
        except IndexError as error:
            return described(error)

    results = in_threads(2 * pairs, work)
    try:
        concurrent.futures.Future().result(0.001)
    except TimeoutError as error:
        results.append(type(error).__name__)
    return results


@part(timers=range(1, 8), cancelled=range(3))
def timers_run(timers, cancelled):
    """Timers that fire, and some that are cancelled."""
    fired = []
    running = [threading.Timer(0.0005 * (n % 4), fired.append, (n,)) for n in range(timers)]
    idle = [threading.Timer(60, fired.append, (-1,)) for _ in range(cancelled)]
    for timer in running + idle:
        timer.start()
    for timer in idle:
        timer.cancel()
    for timer in running + idle:
        timer.join()
    return sorted(fired), [timer.is_alive() for timer in running + idle]


@part(joiners=range(1, 6), daemon=[True, False], timeout=[None, 60, 0.0005])
def joined(joiners, daemon, timeout):
    """Several threads join one, some with too short a timeout."""
    gate = threading.Event()
    target = threading.Thread(target=gate.wait, daemon=daemon)
    texts = []
    try:
        target.join()
    except RuntimeError as error:
        texts.append(str(error))
    target.start()
    target.join(0.001)
    alive = target.is_alive()
    ready = threading.Semaphore(0)

    def join(i):
        if i == joiners:
            for _ in range(joiners):
                ready.acquire()
            gate.set()
            return None
        ready.release()
        while target.is_alive():
            target.join(timeout)
        return target.is_alive()

    results = in_threads(joiners + 1, join)

    def join_itself(_):
        threading.current_thread().join()

    return texts, alive, results, in_threads(1, join_itself)


@part(depth=range(2, 25))
def spawned_in_turn(depth):
    """Each thread starts the next and joins it."""
    seen = []

    def work(n):
        seen.append(n)
        if n:
            thread = threading.Thread(target=work, args=(n - 1,))
            thread.start()
            time.sleep(0)
            thread.join()
        seen.append(-n)

    work(depth)
    return seen == [*range(depth, -1, -1), *range(0, -depth - 1, -1)]


@part(threads=range(5, 60))
def many_short_threads(threads):
    """More threads than any other part starts, each over at once."""
    results = in_threads(threads, lambda i: (breathe(i), threading.current_thread().name != "")[1])
    return len(results), all(results)
