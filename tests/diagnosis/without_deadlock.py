"""python tests/diagnosis/without_deadlock.py [COUNT [SEED]]: random programs that do not deadlock.

Each is a few threads that take locks in one order, pass on what comes through queues, wait for each
other, and are woken by whatever can: time, other OS threads, signals, children, descriptors.  The
searches for deadlocks are made all the time instead of after a while, and whatever they tell is a
fault: it is printed with its seed, and the exit status is 1.  An interpreter of its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextvars import ContextVar, copy_context
from functools import partial
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import capriccio_patch
from capriccio_patch.diagnosis import allowance, attach, crossed, deadlock
from capriccio_patch.diagnosis.stacks import name_of

Step = Callable[[], None]
_LOCKS = (threading.Lock, threading.RLock, threading.Condition, threading.Semaphore)


class Program:
    """Threads that all come to their end."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.locks: list[Any] = [self.random.choice(_LOCKS)() for _ in range(4)]
        self.threads: list[threading.Thread] = []

    def run(self) -> None:
        for _ in range(self.random.randint(2, 6)):
            steps = [self.step() for _ in range(self.random.randint(1, 3))]
            self.threads.append(threading.Thread(target=_all, args=(steps,), daemon=True))
        for thread in self.threads:
            thread.start()
        for thread in self.threads:
            thread.join()

    def step(self) -> Step:
        makers = [
            self.nested,
            self.nested,
            self.called,
            self.slept,
            self.limited,
            self.piped,
            self.met,
            self.notified,
            self.pooled,
            self.pooled_within,
            self.joined,
            self.woken,
            self.woken,
            self.crossed,
            self.logged,
            self.passed,
        ]
        return self.random.choice(makers)()

    def nested(self) -> Step:
        """Locks in one order, around something that waits."""
        first, second = sorted(self.random.sample(range(4), 2))
        inside = self.random.choice([self.slept, self.woken, self.piped, self.met])()

        def both() -> None:
            with self.locks[first], self.locks[second]:
                inside()

        return both

    def called(self) -> Step:
        number = self.random.randrange(4)
        inside = self.random.choice([self.slept, self.woken])()

        def taken() -> None:
            self.locks[number].acquire()
            try:
                inside()
            finally:
                self.locks[number].release()

        return taken

    def slept(self) -> Step:
        seconds = self.random.choice([0, 0, 0.001, 0.003])
        return lambda: time.sleep(seconds)

    def limited(self) -> Step:
        """Waits that end by themselves."""
        limit = self.random.choice([0.001, 0.004])
        condition, jobs = threading.Condition(), queue.Queue[int]()
        lock = self.locks[self.random.randrange(4)]

        def waits() -> None:
            with condition:
                condition.wait(limit)
            try:
                jobs.get(timeout=limit)
            except queue.Empty:
                pass
            if lock.acquire(timeout=limit):
                lock.release()

        return waits

    def piped(self) -> Step:
        """Through queues, from thread to thread."""
        jobs, answers = queue.Queue[Any](self.random.choice([0, 1])), queue.SimpleQueue[int]()
        number = self.random.randint(1, 5)

        def work() -> None:
            while (job := jobs.get()) is not None:
                answers.put(job + 1)
                jobs.task_done()
            jobs.task_done()

        def pipe() -> None:
            worker = threading.Thread(target=work)
            worker.start()
            for job in range(number):
                jobs.put(job)
            jobs.put(None)
            jobs.join()
            worker.join()
            assert sum(answers.get() for _ in range(number)) == number * (number + 1) // 2

        return pipe

    def met(self) -> Step:
        parties = self.random.randint(2, 4)

        def meet() -> None:
            barrier = threading.Barrier(parties)
            others = [threading.Thread(target=barrier.wait) for _ in range(parties - 1)]
            for other in others:
                other.start()
            barrier.wait()
            for other in others:
                other.join()

        return meet

    def notified(self) -> Step:
        def notify() -> None:
            changed, state = threading.Condition(), [0]

            def change() -> None:
                with changed:
                    state[0] = 1
                    changed.notify_all()

            with changed:
                other = threading.Thread(target=change)
                other.start()
                changed.wait_for(lambda: state[0])
            other.join()

        return notify

    def pooled(self) -> Step:
        workers = self.random.randint(1, 3)
        inside = self.random.choice([self.slept, self.woken])()

        def pool() -> None:
            with ThreadPoolExecutor(workers) as executor:
                futures = [executor.submit(inside) for _ in range(3)]
                futures[0].result()
                wait(futures[:2])
                assert len(list(as_completed(futures))) == 3

        return pool

    def pooled_within(self) -> Step:
        """Calls of a pool that wait for others of it; one of its threads is always left for those,
        or comes back to them."""
        workers = self.random.randint(2, 3)
        inside = self.random.choice([self.slept, self.woken])()

        def pool() -> None:
            with ThreadPoolExecutor(workers) as executor:

                def outer() -> None:
                    futures = [executor.submit(inside) for _ in range(2)]
                    for future in futures:
                        future.result()

                executor.submit(inside)
                for future in [executor.submit(outer) for _ in range(workers - 1)]:
                    future.result()

        return pool

    def joined(self) -> Step:
        earlier = list(self.threads)

        def join() -> None:
            for thread in earlier:
                thread.join()

        return join

    def crossed(self) -> Step:
        """Two that wait for each other until somebody who has one of their queues begins."""
        has = self.random.choice(_WAYS)
        pause = self.random.choice([self.slept, self.woken])()
        number = self.random.randint(1, 3)

        def cross() -> None:
            pair = Pair(number)
            begin = has(pair)
            threads, pair = pair.threads, None
            for thread in threads:
                thread.name = has.__name__
            pause()
            _look()
            begin()
            for thread in threads:
                thread.join()

        return cross

    def logged(self) -> Step:
        """Records pass through a queue to who writes them."""
        pause = self.random.choice([self.slept, self.woken])()

        def log() -> None:
            jobs: queue.Queue[Any] = queue.Queue()
            listener = QueueListener(jobs, logging.NullHandler())
            logger = logging.Logger("passed on")
            logger.addHandler(QueueHandler(jobs))
            listener.start()
            logger.warning("one")
            pause()
            listener.stop()

        return log

    def passed(self) -> Step:
        """To the threads of an event loop."""
        inside = self.random.choice([self.slept, self.woken])()

        def work() -> None:
            if threading.current_thread().daemon:  # the loop's own threads are those of the program
                asyncio.run(asyncio.to_thread(inside))

        return work

    def woken(self) -> Step:
        """By something that is no green thread."""
        return self.random.choice([_by_timer, _by_os_thread, _by_alarm, _by_descriptor, _by_socket])


class Pair:
    """Two threads that wait for each other."""

    def __init__(self, number: int) -> None:
        kinds: list[Any] = [queue.Queue, queue.SimpleQueue, queue.LifoQueue]
        self.one, self.two = kinds[number % 3](), kinds[number % 2]()
        targets = [(self.one, self.two), (self.two, self.one)]
        self.threads = [
            threading.Thread(target=_pass_on, args=(*each, number), daemon=True) for each in targets
        ]
        for thread in self.threads:
            thread.start()


class Begins:
    """Begins when it is left, or when it ends."""

    def __init__(self, jobs: Any) -> None:
        self.jobs = jobs

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.jobs.put(0)

    def __del__(self) -> None:
        if self.jobs is not None:
            self.jobs.put(0)


def _pass_on(mine: Any, other: Any, number: int) -> None:
    for _ in range(number):
        other.put(mine.get())


def _by_variable(pair: Pair) -> Step:
    return lambda: pair.one.put(0)


def _by_method(pair: Pair) -> Step:
    return partial(pair.two.put, 0)


def _by_container(pair: Pair) -> Step:
    found = {"queues": [(pair.one,), (pair.two,)]}

    def begin() -> None:
        for (each,) in found["queues"]:
            each.put(0)

    return begin


def _by_global(pair: Pair) -> Step:
    _pairs.append(pair)
    return _begin_last


_pairs: list[Pair] = []


def _begin_last() -> None:
    while _pairs:
        _pairs.pop().one.put(0)


def _by_generator(pair: Pair) -> Step:
    def giver() -> Iterator[None]:
        yield
        pair.one.put(0)

    given = giver()
    next(given)
    return lambda: next(given, None)


def _by_end_of_generator(pair: Pair) -> Step:
    def giver(jobs: Any) -> Iterator[None]:
        try:
            yield
        finally:
            jobs.put(0)

    given = [giver(pair.one)]
    next(given[0])
    return given.clear


def _by_finalizer(pair: Pair) -> Step:
    held = [Begins(pair.one)]
    return held.clear


def _by_weak_reference(pair: Pair) -> Step:
    if type(pair.one) is queue.SimpleQueue:
        return _by_variable(pair)
    found = weakref.WeakSet([pair.one])

    def begin() -> None:
        for each in found:
            each.put(0)

    return begin


def _by_thread(pair: Pair) -> Step:
    thread = threading.Thread(target=pair.one.put, args=(0,))
    return thread.start


def _by_task(pair: Pair) -> Step:
    """Of a thread that waits for something else."""
    begin = threading.Event()

    def later() -> None:
        begin.wait()
        pair.one.put(0)

    threading.Thread(target=later, daemon=True).start()
    return begin.set


def _by_entering(pair: Pair) -> Step:
    """The thread of the pair has to be looked for on the stack of another one."""
    begin = threading.Event()

    def enter() -> None:
        jobs = pair.one
        begins = Begins(jobs)
        with begins:
            begins = None
            begin.wait()

    threading.Thread(target=enter, daemon=True).start()
    return begin.set


def _by_local(pair: Pair) -> Step:
    local = threading.local()
    local.pair = pair
    return lambda: local.pair.one.put(0)


_context: ContextVar[Pair] = ContextVar("pair")


def _by_context(pair: Pair) -> Step:
    context = copy_context()
    context.run(_context.set, pair)
    return lambda: context.run(lambda: _context.get().one.put(0))


_WAYS = [
    *(_by_variable, _by_method, _by_container, _by_global, _by_generator, _by_end_of_generator),
    *(_by_finalizer, _by_weak_reference, _by_thread, _by_task, _by_entering, _by_local),
    _by_context,
]


def _look() -> None:
    """Search for crossed threads, at once."""
    kernel = attach._kernel
    assert kernel is not None
    search = crossed.Crossed(kernel)
    for _ in range(3):
        circle = search.look(kernel.clock(), lambda _: False)
        if circle and search.is_closed(circle):
            _told.append(f"crossed: {[name_of(each.ident) for each in circle]}")


def _all(steps: list[Step]) -> None:
    for step in steps:
        step()


def _by_timer() -> None:
    done = threading.Event()
    threading.Timer(0.002, done.set).start()
    done.wait()


def _by_os_thread() -> None:
    done = threading.Semaphore(0)

    def later() -> None:
        _os_sleep(0.003)
        done.release()

    _start_os_thread(later, ())
    done.acquire()


_alarmed = threading.Condition()
_alarms = 0


def _by_alarm() -> None:
    with _alarmed:
        seen = _alarms
        signal.setitimer(signal.ITIMER_REAL, 0.002)
        while seen == _alarms:
            _alarmed.wait()


def _alarm(*_: object) -> None:
    # Not in the handler: it may interrupt who has the lock.
    threading.Thread(target=_count_alarm).start()


def _count_alarm() -> None:
    global _alarms
    with _alarmed:
        _alarms += 1
        _alarmed.notify_all()


def _by_descriptor() -> None:
    reader, writer = os.pipe()
    writing = threading.Timer(0.001, os.write, (writer, b"x"))
    writing.start()
    os.read(reader, 1)
    writing.join()
    os.close(reader)
    os.close(writer)


def _by_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        other = threading.Thread(target=lambda: theirs.sendall(theirs.recv(1)))
        other.start()
        ours.sendall(b"x")
        ours.recv(1)
        other.join()


def _by_child() -> None:
    subprocess.run(["true"], check=True)


_told: list[str] = []
_os_sleep: Any = None
_start_os_thread: Any = None


def main(count: int, seed: int) -> int:
    global _os_sleep, _start_os_thread
    capriccio_patch.patch_all(deadlock="warn", blocked="off")
    _os_sleep = capriccio_patch.original("time.sleep")
    _start_os_thread = capriccio_patch.original("_thread.start_new_thread")
    deadlock.QUIET = 0.0005
    deadlock.PATIENCE = 0.0005
    allowance.SHARE = crossed.SHARE = 1
    crossed._AGAIN = crossed._LONGEST = 0.0005
    deadlock.Deadlocks.look.__defaults__ = (0.0005,)
    warnings.showwarning = lambda message, *_: _told.append(str(message))
    warnings.simplefilter("always")
    uses_alarms = seed % 2
    if uses_alarms:  # else a handler would keep the search for a deadlock of all from being made
        signal.signal(signal.SIGALRM, _alarm)
    else:
        globals()["_by_alarm"] = _by_child if seed % 10 == 0 else _by_timer
    for number in range(seed, seed + count):
        Program(number).run()
        deadlines = time.monotonic() + 0.01
        if number % 100 == 0:
            while time.monotonic() < deadlines:  # what is told is told by another OS thread
                time.sleep(0.001)
        if _told:
            print(f"seed {number}:", *_told, sep="\n", flush=True)
            return 1
    print(f"{count} programs, no report", flush=True)
    return 0


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]] + [200, 1][len(sys.argv) - 1 :]
    status = main(*given)
    os._exit(status)
