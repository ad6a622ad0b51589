"""Finalizers, weakref callbacks and gc callbacks that take a lock, put, write or wait.

The collector runs them in the middle of anything, in any thread; so all that they lock is `LEAF`,
under which nothing else is taken.  In a forked child they do nothing.
"""

from __future__ import annotations

import _thread
import gc
import io
import logging
import os
import queue
import socket
import threading
import time
import weakref

from .prelude import MAIN_PROCESS, breathe, in_threads
from .registry import part

LEAF = threading.RLock()


def make_log():
    """Its handler's lock is `LEAF`, and it takes no other once the level is cached."""
    logging.logThreads = False
    log = logging.getLogger("fuzz")
    log.propagate = False
    handler = logging.StreamHandler(io.StringIO())
    handler.lock = LEAF
    log.handlers = [handler]
    log.setLevel(10)
    log.info("first")
    return log


LOG = make_log()


def act(what, gone):
    """What a finalizer does."""
    if os.getpid() != MAIN_PROCESS:
        return
    if what in ("lock", "mix"):
        with LEAF:
            time.sleep(0)
    if what in ("log", "mix"):
        LOG.info("gone")
    if what == "sleep":
        time.sleep(0.0005)
    elif what == "socket":
        a, b = socket.socketpair()
        a.sendall(b"x")
        b.recv(1)
        a.close()
        b.close()
    elif what == "raw thread":
        lock = _thread.allocate_lock()
        lock.acquire()
        _thread.start_new_thread(lock.release, ())
        lock.acquire()
    gone.put(1)


class Cycle:
    """Only the collector frees it."""

    def __init__(self):
        self.itself = self


class Finalized(Cycle):
    """Acts when it is freed."""

    def __init__(self, what, gone):
        super().__init__()
        self.arguments = what, gone

    def __del__(self):
        act(*self.arguments)


def leave(how, what, gone, kept):
    """Leave something for the collector, or free it now."""
    if how == "finalize":
        weakref.finalize(Cycle(), act, what, gone)
    elif how == "weakref":
        kept.append(weakref.ref(Cycle(), lambda _: act(what, gone)))
    elif how == "del":
        Finalized(what, gone)
    else:
        once = Finalized(what, gone)
        once.itself = None


def all_gone(gone, number):
    """Collect until so many have acted, for at most 20 s."""
    deadline = time.monotonic() + 20
    while gone.qsize() < number and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.0005)
    return gone.qsize()


DOINGS = ["lock", "log", "mix", "mix", "sleep", "socket", "raw thread", "put"]


@part(
    how=["finalize", "finalize", "weakref", "del", "at once"],
    what=DOINGS,
    threads=range(1, 6),
    rounds=range(10, 200),
    threshold=[7, 23, 50, 120],
    child=False,
    weight=6,
)
def churn(how, what, threads, rounds, threshold):
    """Threads leave garbage, and use what its finalizers use."""
    gone, own = queue.SimpleQueue(), queue.SimpleQueue()
    kept = []
    gc.set_threshold(threshold)

    def work(i):
        for n in range(rounds):
            leave(how, what, gone, kept)
            with LEAF:
                time.sleep(0.0001 if n % 2 else 0)
            if what in ("log", "mix"):
                LOG.info("x")
            own.put(n)
            if n % 50 == 49:
                gc.collect()
        return i

    results = in_threads(threads, work, daemon=True)
    return results, all_gone(gone, threads * rounds), own.qsize()


@part(threads=range(1, 5), rounds=range(2, 10), what=DOINGS, child=False)
def gc_callback(threads, rounds, what):
    """Callbacks of the collector."""
    gone = queue.SimpleQueue()

    def callback(phase, _):
        if phase == "stop":
            act(what, gone)

    gc.callbacks.append(callback)
    try:

        def work(i):
            for n in range(rounds):
                Cycle()
                gc.collect(n % 3)
                breathe(n)
            return i

        results = in_threads(threads, work)
    finally:
        gc.callbacks.remove(callback)
    return results, gone.qsize() > 0


@part(threads=range(1, 8), what=DOINGS, child=False)
def local_freed(threads, what):
    """What a thread keeps in its locals is freed with it."""
    gone = queue.SimpleQueue()
    local = threading.local()

    def work(i):
        local.value = Finalized(what, gone)
        local.value.itself = None
        breathe(i)

    in_threads(threads, work)
    return all_gone(gone, threads)


@part(threads=range(1, 6), rounds=range(2, 20), child=False)
def generator_freed(threads, rounds):
    """A generator that the collector closes while it holds a lock lets go of it."""
    gone = queue.SimpleQueue()

    def hold(cycle):
        try:
            yield cycle
        finally:
            act("lock", gone)

    def work(i):
        for n in range(rounds):
            cycle = Cycle()
            cycle.itself = hold(cycle)
            next(cycle.itself)
            del cycle
            with LEAF:
                breathe(n)
        return i

    gc.set_threshold(20)
    return in_threads(threads, work), all_gone(gone, threads * rounds)


@part(threads=range(1, 5), child=False)
def finalizer_joins(threads):
    """An object freed at once starts a thread, and joins it."""
    ended = []

    class Joins:
        def __del__(self):
            thread = threading.Thread(target=ended.append, args=(1,))
            thread.start()
            thread.join()

    def work(i):
        Joins()
        breathe(i)
        Joins()

    in_threads(threads, work)
    return len(ended)
