"""Starts threads that do nothing but wait, and tells at set numbers what they took so far.

Writes a line of JSON at each step, and when the last thread is there or no more can be started;
then waits to be killed, so that what stands in the way can be looked at.
"""

import argparse
import os
import threading
import time

from parent import lives, say  # type: ignore[import-not-found]

PARSER = argparse.ArgumentParser()
PARSER.add_argument("--threads", type=int, required=True)
PARSER.add_argument("--stack-size", type=int, default=0, help="bytes, of each thread")


class Clock:
    """Seconds since it was made, and the CPU time among them."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.cpu = time.process_time()

    def say(self, number: int, refused: str = "") -> None:
        say(
            threads=number,
            seconds=time.perf_counter() - self.began,
            cpu=time.process_time() - self.cpu,
            refused=refused,
        )


def steps(last: int) -> list[int]:
    """1, 2, 5, 10, ... thousand, and the last."""
    found = [
        digit * 10**power
        for power in range(3, 9)
        for digit in (1, 2, 5)
        if digit * 10**power < last
    ]
    return [0, *found, last]


def main() -> None:
    options = PARSER.parse_args()
    if options.stack_size:
        threading.stack_size(options.stack_size)
    gate = threading.Lock()
    gate.acquire()
    number = 0
    clock = Clock()
    try:
        for step in steps(options.threads):
            while number < step:
                if number % 1000 == 0 and not lives():
                    os._exit(1)
                threading.Thread(target=gate.acquire, daemon=True).start()
                number += 1
            time.sleep(0)  # those that only stand in a queue begin now
            clock.say(number)
    except (RuntimeError, MemoryError, OSError) as error:
        clock.say(number, str(error) or type(error).__name__)
    except KeyboardInterrupt:
        os._exit(0)
    while lives():
        time.sleep(0.2)
    os._exit(0)


if __name__ == "__main__":
    main()
