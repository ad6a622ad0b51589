"""queue.Queue, LifoQueue, PriorityQueue and SimpleQueue."""

from __future__ import annotations

import queue
import threading

from .prelude import breathe, in_threads
from .registry import part

QUEUES = ["Queue", "LifoQueue", "PriorityQueue", "SimpleQueue"]


def make_queue(kind, size=0):
    return queue.SimpleQueue() if kind == "SimpleQueue" else getattr(queue, kind)(size)


def take_item(items, way):
    """Get an item, in one of four ways."""
    if way % 4 == 0:
        return items.get()
    if way % 4 == 1:
        return items.get(timeout=60)
    while True:
        try:
            if way % 4 == 2:
                return items.get(timeout=0.0005)
            return items.get_nowait()
        except queue.Empty:
            breathe(3)


@part(
    kind=QUEUES,
    size=[0, 0, 1, 2, 7],
    producers=range(1, 5),
    consumers=range(1, 5),
    items=range(1, 40),
    weight=4,
)
def work_queue(kind, size, producers, consumers, items):
    """Every item comes through once, in its producer's order where the queue keeps that."""
    work = make_queue(kind, size)
    got = [[] for _ in range(consumers)]

    def produce(i):
        for n in range(items):
            if n % 3 == 1 and size:
                while True:
                    try:
                        work.put((0, i, n), timeout=0.001)
                        break
                    except queue.Full:
                        pass
            else:
                work.put((0, i, n))
            breathe(n + i)

    def consume(i):
        for n in range(10**6):
            item = take_item(work, n + i)
            if item[0]:
                break
            got[i].append(item)
            if kind != "SimpleQueue":
                work.task_done()
            breathe(n)

    def both(i):
        if i < consumers:
            return consume(i)
        in_threads(producers, produce)
        if kind != "SimpleQueue":
            work.join()
        else:
            while not work.empty():
                breathe(5)
        for _ in range(consumers):
            work.put((1, 0, 0))
        return None

    results = in_threads(consumers + 1, both)
    everything = sorted(item for each in got for item in each)
    complete = everything == [(0, i, n) for i in range(producers) for n in range(items)]
    ordered = all(
        [n for _, p, n in each if p == i] == sorted(n for _, p, n in each if p == i)
        for each in got
        for i in range(producers)
    )
    return complete, ordered or kind in ("LifoQueue", "PriorityQueue"), results, work.qsize()


@part(kind=QUEUES, items=range(1, 30))
def queue_order(kind, items):
    """The order in which a full queue is emptied; then it is empty, in time."""
    work = make_queue(kind)
    numbers = [n * 7 % 31 for n in range(items)]

    def fill(_):
        for n in numbers:
            work.put(n)

    in_threads(1, fill)
    out = [take_item(work, n) for n in range(items)]
    ends = []
    for arguments in ({"timeout": 0.002}, {"block": False}):
        try:
            work.get(**arguments)
        except queue.Empty as error:
            ends.append(type(error).__name__)
    expected = {"LifoQueue": numbers[::-1], "PriorityQueue": sorted(numbers)}
    return out == expected.get(kind, numbers), ends


@part(size=range(1, 5), timeout=[0.001, 0.003])
def queue_full(size, timeout):
    """A bounded queue that is full says so, and takes again when somebody took."""
    work = queue.Queue(size)
    filled, told = threading.Event(), threading.Event()

    def put(_):
        for n in range(size):
            work.put(n)
        texts = []
        for arguments in ({"timeout": timeout}, {"block": False}):
            try:
                work.put(-1, **arguments)
            except queue.Full as error:
                texts.append(type(error).__name__)
        filled.set()
        told.wait()
        work.put(size, timeout=60)
        return texts

    def get(_):
        filled.wait()
        told.set()
        return [take_item(work, n) for n in range(size + 1)]

    return in_threads(2, lambda i: (put, get)[i](i))


@part(stages=range(1, 6), items=range(1, 30), size=[0, 1, 3], kind=["Queue", "SimpleQueue"])
def pipeline(stages, items, size, kind):
    """Items that go through stages in a row keep their order."""
    lines = [make_queue(kind, size) for _ in range(stages + 1)]

    def stage(i):
        for n in range(items):
            lines[i + 1].put(take_item(lines[i], n) + 1)
            breathe(i + n)

    def ends(i):
        if i == stages:
            for n in range(items):
                lines[0].put(n)
            return None
        if i == stages + 1:
            return [take_item(lines[-1], 0) for _ in range(items)]
        return stage(i)

    out = in_threads(stages + 2, ends)[-1]
    return out == [n + stages for n in range(items)]


@part(waiters=range(1, 6), immediate=[True, False])
def queue_shut(waiters, immediate):
    """A queue that is shut down ends waits, where queues can be."""
    work = queue.Queue(2)
    if not hasattr(work, "shutdown"):
        return "none"
    waiting = threading.Semaphore(0)

    def wait(i):
        waiting.release()
        try:
            work.get(timeout=60 if i % 2 else None)
        except queue.ShutDown:
            return "shut"

    def shut(_):
        for _ in range(waiters):
            waiting.acquire()
        breathe(5)
        work.shutdown(immediate=immediate)

    return in_threads(waiters + 1, lambda i: wait(i) if i < waiters else shut(i))
