"""What the primitives of threads cost: creation, switches, locks, a queue, pipes.

Writes a line of JSON when each begins, and one with what an operation took in each of several
rounds: CPU seconds of the process, the kernel's for it among them, so that other programs on the
machine matter little.  All run on one CPU, as the runtimes that have one OS thread do anyway, so
that all are compared alike.
"""

import argparse
import functools
import json
import os
import queue
import signal
import threading
import time
from collections.abc import Callable

LIMIT = 120  # seconds that a row may take: nobody may be left to end a program that hangs
PARSER = argparse.ArgumentParser()
PARSER.add_argument("--scale", type=float, default=1.0, help="of the number of operations")
PARSER.add_argument("--rounds", type=int, default=5)
PARSER.add_argument("--active", type=int, default=10, help="pipes that are written to")
PARSER.add_argument("--idle", type=int, nargs="+", default=[0, 1000], help="pipes that are not")


def say(**message: object) -> None:
    print(json.dumps(message), flush=True)


def create(count: int) -> float:
    """Start and join a thread that does nothing, one after the other."""
    began = time.process_time()
    for _ in range(count):
        thread = threading.Thread(target=bool)
        thread.start()
        thread.join()
    return (time.process_time() - began) / count


def switch(count: int) -> float:
    """Two threads that yield to each other."""

    def run() -> None:
        for _ in range(count):
            time.sleep(0)

    return timed(2, run) / (2 * count)


def hand_over(count: int) -> float:
    """Two threads that wake each other by locks, in turns."""
    mine, theirs = threading.Lock(), threading.Lock()
    mine.acquire()
    theirs.acquire()

    def answer() -> None:
        for _ in range(count):
            theirs.acquire()
            mine.release()

    thread = threading.Thread(target=answer)
    thread.start()
    began = time.process_time()
    for _ in range(count):
        theirs.release()
        mine.acquire()
    took = time.process_time() - began
    thread.join()
    return took / (2 * count)


def uncontended(count: int) -> float:
    """Take and release a lock that nobody else wants."""
    lock = threading.Lock()
    began = time.process_time()
    for _ in range(count):
        with lock:
            pass
    return (time.process_time() - began) / count


def contended(count: int) -> float:
    """Ten threads that take one lock and yield while they hold it."""
    lock = threading.Lock()

    def run() -> None:
        for _ in range(count // 10):
            with lock:
                time.sleep(0)

    return timed(10, run) / (count // 10 * 10)


def produce(count: int) -> float:
    """A producer and a consumer at a queue of ten places."""
    items: queue.Queue[int] = queue.Queue(10)

    def consume() -> None:
        for _ in range(count):
            items.get()

    thread = threading.Thread(target=consume)
    thread.start()
    began = time.process_time()
    for number in range(count):
        items.put(number)
    thread.join()
    return (time.process_time() - began) / count


def pipes(count: int, active: int, idle: int) -> float:
    """A byte through a pipe and back, at `active` pairs of threads, while `idle` threads read."""
    silent = [os.pipe() for _ in range(idle)]
    readers = [threading.Thread(target=os.read, args=(read, 1)) for read, _ in silent]
    for thread in readers:
        thread.start()
    there = [os.pipe() for _ in range(active)]
    back = [os.pipe() for _ in range(active)]
    share = max(1, count // active)

    def ask(number: int) -> None:
        for _ in range(share):
            os.write(there[number][1], b"x")
            os.read(back[number][0], 1)

    def answer(number: int) -> None:
        for _ in range(share):
            os.read(there[number][0], 1)
            os.write(back[number][1], b"x")

    threads = [
        threading.Thread(target=run, args=(number,))
        for number in range(active)
        for run in (ask, answer)
    ]
    began = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.process_time() - began
    for _, write in silent:
        os.write(write, b"x")
    for thread in readers:
        thread.join()
    for read, write in (*silent, *there, *back):
        os.close(read)
        os.close(write)
    return took / (share * active)


def timed(threads: int, run: Callable[[], None]) -> float:
    """CPU seconds until so many threads have run it."""
    started = [threading.Thread(target=run) for _ in range(threads)]
    began = time.process_time()
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return time.process_time() - began


def main() -> None:
    options = PARSER.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cases: list[tuple[str, Callable[[int], float], int]] = [
        ("create", create, 2_000),
        ("switch", switch, 20_000),
        ("hand over", hand_over, 10_000),
        ("uncontended", uncontended, 200_000),
        ("contended", contended, 10_000),
        ("produce", produce, 20_000),
    ]
    for idle in options.idle:
        run = functools.partial(pipes, active=options.active, idle=idle)
        cases.append((f"pipes {idle}", run, 5_000))
    for name, case, full in cases:
        count = max(20, int(full * options.scale))
        signal.alarm(LIMIT)
        say(begins=name)
        try:
            say(case=name, seconds=[case(count) for _ in range(options.rounds)])
        except (OSError, RuntimeError) as error:
            say(case=name, refused=str(error))
    os._exit(0)


if __name__ == "__main__":
    main()
