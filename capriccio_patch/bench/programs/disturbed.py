"""python disturbed.py files|bursts|hogs N: an echo server, and N threads that do something else.

Prints its port.  Each line of its standard input says whether they are to do it, ``on`` or ``off``;
it answers with how much all have done so far.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import threading
import time

from servers import echo, serve  # type: ignore[import-not-found]

_DATA = os.urandom(4096)
_STEPS = 1000
_EVERY = 0.1

on = threading.Event()
done: list[int] = []


def files(number: int) -> None:
    """Write and read a file of its own."""
    while True:
        on.wait()
        _use_file(number)


def bursts(number: int) -> None:
    """The same, when the others do."""
    while True:
        on.wait()
        now = time.monotonic()
        time.sleep(math.ceil(now / _EVERY) * _EVERY - now)
        _use_file(number)


def _use_file(number: int) -> None:
    path = f"{_directory}/{number}"
    with open(path, "wb") as file:
        file.write(_DATA)
    with open(path, "rb") as file:
        assert file.read() == _DATA
    done[number] += 1


def hogs(number: int) -> None:
    """Compute, and nothing else."""
    while True:
        on.wait()
        total = 0
        for step in range(_STEPS):
            total += step
        done[number] += 1


def main(what: str, count: int) -> None:
    """Obey standard input until it ends."""
    disturb = {"files": files, "bursts": bursts, "hogs": hogs}[what]
    done.extend([0] * count)
    for number in range(count):
        threading.Thread(target=disturb, args=(number,), daemon=True).start()
    threading.Thread(target=serve, args=(echo,), daemon=True).start()
    for line in sys.stdin:
        if line.strip() == "on":
            on.set()
        else:
            on.clear()
        print(sum(done), flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as _directory:
        main(sys.argv[1], int(sys.argv[2]))
        sys.stdout.flush()
        time.sleep(0.2)  # files that are open yet are closed
    os._exit(0)
