"""python computing.py [locks]: computes in quanta, beside a thread that waits.

With ``locks`` a quantum is two threads that hand locks over to each other.  Each line of its
standard input is a number of quanta; it answers with the CPU seconds that they took, those of all
its OS threads.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time


def fib(n: int) -> int:
    """Calls."""
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def quantum() -> int:
    """Some milliseconds of loops, calls, containers and strings."""
    total = fib(14)
    for number in range(4000):
        total += number * number
    words = [str(number) for number in range(1500)]
    words.sort(key=lambda word: word[::-1])
    counts = {word: len(word) for word in words}
    total += sum(value for value in counts.values() if value > 1)
    return total + len(json.dumps(counts))


def handing_over() -> None:
    """Some milliseconds of locks that are waited for and released."""
    mine, other, both = threading.Lock(), threading.Lock(), threading.Lock()
    mine.acquire()

    def one() -> None:
        for _ in range(2000):
            other.acquire()
            with both:
                mine.release()

    def another() -> None:
        for _ in range(2000):
            mine.acquire()
            with both:
                other.release()

    threads = [threading.Thread(target=each) for each in (one, another)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    work = handing_over if sys.argv[1:] == ["locks"] else quantum
    gc.freeze()  # what the collector does with the modules of a package is not what is compared
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    for line in sys.stdin:
        started = time.process_time()
        for _ in range(int(line)):
            work()
        print(time.process_time() - started, flush=True)
    os._exit(0)
