"""The threads that a program is a network of; `ForkActor` and `ProcessActor` are the processes."""

from __future__ import annotations

import _thread
import concurrent.futures
import concurrent.futures.thread
import os
import threading
import time
import traceback

from .prelude import note, print_notes, with_own

actors = {}


def join_actor(number):
    """Join one that this thread, or another, starts."""
    while number not in actors:
        time.sleep(0.0005)
    actors[number].join()


def guarded(name, call):
    """An actor that fails ends the whole program, so that none waits for it."""
    try:
        with_own(name, call)
    except BaseException:
        note(name, traceback.format_exc())
        print_notes()
        os._exit(99)


class ThreadActor:
    """A thread, daemon or not, or a timer."""

    def __init__(self, name, call, kind):
        if kind == "timer":
            self.thread = threading.Timer(0.0005, guarded, (name, call))
        else:
            self.thread = threading.Thread(
                target=guarded, args=(name, call), name=name, daemon=kind == "daemon"
            )
        self.kind = kind
        self.thread.start()

    def join(self):
        # The main thread does not join for long: 3.13.0 handles no signals in a join.
        if self.kind == "daemon" or threading.current_thread() is threading.main_thread():
            while self.thread.is_alive():
                self.thread.join(0.002)
        self.thread.join()


class RawActor:
    """A thread of _thread, that a lock tells the end of."""

    def __init__(self, name, call):
        self.done = _thread.allocate_lock()
        self.done.acquire()
        _thread.start_new_thread(self.work, (name, call))

    def work(self, name, call):
        guarded(name, call)
        self.done.release()

    def join(self):
        self.done.acquire()


class PoolActor:
    """A task of a pool that several actors share."""

    def __init__(self, name, call, pool):
        self.future = pool.submit(guarded, name, call)

    def join(self):
        self.future.result()


def make_pool():
    return concurrent.futures.ThreadPoolExecutor(16)
