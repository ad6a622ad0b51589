"""What the primitives of threads cost: creation, switches, locks, a queue, pipes.

Writes a line of JSON when each begins, and one with what an operation took in each of several
rounds: CPU seconds of the process, the kernel's for it among them, so that other programs on the
machine matter little.  All run on one CPU, as the runtimes that have one OS thread do anyway, so
that all are compared alike.
"""

import argparse
import functools
import os
import queue
import signal
import threading
from collections.abc import Callable

from parent import say  # type: ignore[import-not-found]
from threads import (  # type: ignore[import-not-found]
    contended,
    handoff,
    lock,
    start_join,
    together,
    yields,
)

LIMIT = 120  # seconds that a row may take: nobody may be left to end a program that hangs
PARSER = argparse.ArgumentParser()
PARSER.add_argument("--scale", type=float, default=1.0, help="of the number of operations")
PARSER.add_argument("--rounds", type=int, default=5)
PARSER.add_argument("--active", type=int, default=10, help="pipes that are written to")
PARSER.add_argument("--idle", type=int, nargs="+", default=[0, 1000], help="pipes that are not")


def switch(count: int) -> float:
    """Two threads that yield to each other."""
    return float(yields(2 * count, 2)) / 2


def produce(count: int) -> float:
    """A producer and a consumer at a queue of ten places."""
    items: queue.Queue[int] = queue.Queue(10)

    def put() -> None:
        for number in range(count):
            items.put(number)

    def get() -> None:
        for _ in range(count):
            items.get()

    return float(together(put, get))


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

    pairs = [functools.partial(run, number) for number in range(active) for run in (ask, answer)]
    took = float(together(*pairs))
    for _, write in silent:
        os.write(write, b"x")
    for thread in readers:
        thread.join()
    for read, write in (*silent, *there, *back):
        os.close(read)
        os.close(write)
    return took * count / (share * active)


def main() -> None:
    options = PARSER.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cases: list[tuple[str, Callable[[int], float], int]] = [
        ("create", start_join, 2_000),
        ("switch", switch, 20_000),
        ("hand over", handoff, 10_000),
        ("uncontended", lock, 200_000),
        ("contended", functools.partial(contended, threads=10), 10_000),
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
            say(case=name, seconds=[case(count) / count for _ in range(options.rounds)])
        except (OSError, RuntimeError) as error:
            say(case=name, refused=str(error))
    os._exit(0)


if __name__ == "__main__":
    main()
