"""python tests/diagnosis/with_deadlock.py [COUNT [SEED]]: random programs that all deadlock.

Each is a few threads that wait for something from outside, start others, compute, and then wait for
what nobody will do.  Every deadlock is to be told, as an exception in the main thread; one that is
not leaves the program standing still, with its seed as the last line.  What a program leaves behind
stands in the way of the next.  An interpreter of its own.
"""

from __future__ import annotations

import _thread
import os
import queue
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import capriccio_patch

Step = Callable[[], object]
_never = threading.Event()


def _event() -> Step:
    return threading.Event().wait


def _queue() -> Step:
    return queue.Queue[None]().get


def _simple_queue() -> Step:
    return queue.SimpleQueue[None]().get


def _full_queue() -> Step:
    jobs = queue.Queue[None](1)
    jobs.put(None)
    return lambda: jobs.put(None)


def _condition() -> Step:
    changed = threading.Condition()

    def wait() -> None:
        with changed:
            changed.wait()

    return wait


def _lock() -> Step:
    lock = threading.Lock()
    lock.acquire()
    return lock.acquire


def _owner_has_ended() -> Step:
    lock = threading.RLock()
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    thread.join()
    return lock.acquire


def _semaphore() -> Step:
    return threading.Semaphore(0).acquire


def _barrier() -> Step:
    return threading.Barrier(2).wait


def _join() -> Step:
    thread = threading.Thread(target=_never.wait, daemon=True)
    thread.start()
    return thread.join


_ENDS = [
    *(_event, _queue, _simple_queue, _full_queue, _condition, _lock, _owner_has_ended),
    *(_semaphore, _barrier, _join),
]


def _by_child(seconds: float) -> None:
    reader, writer = os.pipe()
    with subprocess.Popen(["sh", "-c", f"sleep {seconds}; echo"], stdout=writer):
        os.close(writer)
        os.read(reader, 1)
    os.close(reader)


def _by_os_thread(seconds: float) -> None:
    done = threading.Semaphore(0)

    def later() -> None:
        capriccio_patch.original("time.sleep")(seconds)
        done.release()

    capriccio_patch.original("_thread.start_new_thread")(later, ())
    done.acquire()


def _by_socket(seconds: float) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writing = threading.Timer(seconds, theirs.send, (b"x",))
        writing.start()
        ours.recv(1)
        writing.join()


def _by_time(seconds: float) -> None:
    threading.Event().wait(seconds)


def _start_one(_: float) -> None:
    threading.Thread(target=int).start()


def _compute(_: float) -> None:
    sum(range(20_000))


def _read(_: float) -> None:
    Path(__file__).read_bytes()


_STEPS = [_by_child, _by_os_thread, _by_socket, _by_time, time.sleep, _start_one, _compute, _read]
_SECONDS = [0, 0.001, 0.05, 0.12, 0.25]
"""Less than the search waits for, and more."""


def _thread_of(chosen: random.Random) -> threading.Thread:
    steps = [_step(chosen) for _ in range(chosen.randrange(4))]
    steps.append(chosen.choice(_ENDS)())
    others_end = chosen.random() < 0.5  # the last that runs is one that has ended

    def run() -> None:
        for step in steps:
            if others_end:
                _thread.start_new_thread(int, ())
            step()

    return threading.Thread(target=run, daemon=True)


def _step(chosen: random.Random) -> Step:
    make: Any = chosen.choice(_STEPS)
    seconds = chosen.choice(_SECONDS)
    return lambda: make(seconds)


def program(seed: int) -> bool:
    """Whether the deadlock is told in which it ends."""
    chosen = random.Random(seed)
    for _ in range(chosen.randrange(4)):
        _thread_of(chosen).start()
    for _ in range(chosen.randrange(4)):
        _step(chosen)()
    end = chosen.choice(_ENDS)()
    try:
        end()
    except capriccio_patch.Deadlock:
        return True
    return False


def main(count: int, seed: int) -> int:
    capriccio_patch.patch_all(deadlock="raise", blocked="off")
    for number in range(seed, seed + count):
        print(f"seed {number}", flush=True)
        if not program(number):
            print("went on", flush=True)
            return 1
    print(f"{count} programs, each was told", flush=True)
    return 0


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]] + [100, 1][len(sys.argv) - 1 :]
    status = main(*given)
    os._exit(status)
