"""The ways in which a program ends, once its notes are printed."""

from __future__ import annotations

import atexit
import os
import queue
import select
import signal
import socket
import sys
import threading
import time

from .prelude import busy, note, print_notes
from .registry import part

ENDLESS = [
    "lock",
    "sleep",
    "recv",
    "queue",
    "select",
    "compute",
    "event",
    "pipe",
    "accept",
    "short",
]


def endless(kind):
    """Blocks, or computes, for ever."""
    if kind == "lock":
        lock = threading.Lock()
        with lock:
            lock.acquire()
    elif kind == "sleep":
        time.sleep(1000)
    elif kind == "recv":
        a, _b = socket.socketpair()
        a.recv(1)
    elif kind == "queue":
        queue.Queue().get()
    elif kind == "select":
        select.select([os.pipe()[0]], [], [])
    elif kind == "event":
        threading.Event().wait(1000)
    elif kind == "pipe":
        os.read(os.pipe()[0], 1)
    elif kind == "accept":
        socket.create_server(("127.0.0.1", 0)).accept()
    while True:
        if kind == "short":
            time.sleep(0.0005)
        else:
            busy(1000)


@part(ending=True, weight=3)
def returns():
    """Nothing is left."""


@part(ending=True, status=[0, 3, "text", None])
def exits(status):
    """sys.exit in the main thread."""
    sys.exit(status)


@part(ending=True)
def raises():
    """An exception that nobody catches."""
    raise ValueError("at the end")


@part(ending=True, status=[0, 5])
def leaves(status):
    """os._exit, with threads about."""
    threading.Thread(target=endless, args=("sleep",)).start()
    os._exit(status)


@part(ending=True, number=[signal.SIGKILL.value, signal.SIGTERM.value])
def killed(number):
    """By a signal, sent in a thread."""
    threading.Thread(target=os.kill, args=(os.getpid(), number)).start()
    time.sleep(60)


@part(ending=True)
def interrupted():
    """A KeyboardInterrupt that nobody catches."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
        for _ in range(6000):
            time.sleep(0.01)
    except KeyboardInterrupt:
        # One traceback, wherever it came.
        raise KeyboardInterrupt from None


@part(ending=True, kinds=[[kind] for kind in ENDLESS] + [ENDLESS[:4], ENDLESS[4:]], weight=8)
def daemons_left(kinds):
    """Daemon threads go on while the interpreter ends."""
    for kind in kinds:
        threading.Thread(target=endless, args=(kind,), daemon=True).start()
    time.sleep(0.002)


@part(ending=True, threads=range(1, 6), daemons=range(3), weight=4)
def threads_outlive_main(threads, daemons):
    """The interpreter waits for threads that are no daemons; then come the exit functions.

    They start no threads, nor do exit functions: whether stock lets them depends on its release.
    """

    def work(i):
        time.sleep(0.001 * i)
        note("outlived", i)

    atexit.register(print_notes)
    for i in range(threads):
        threading.Thread(target=work, args=(i,)).start()
    for _ in range(daemons):
        threading.Thread(target=endless, args=("short",), daemon=True).start()


@part(ending=True, threads=range(1, 3))
def threads_raise(threads):
    """Exceptions that end threads are printed; they change no exit status."""

    def work():
        raise KeyError("in a thread")

    for i in range(threads):
        thread = threading.Thread(target=work, name=f"raising {i}")
        thread.start()
        thread.join()


@part(ending=True, waits=["lock", "sleep"], weight=3)
def exit_functions_wait(waits):
    """Exit functions that wait, while daemon threads run."""

    def at_exit():
        if waits == "sleep":
            time.sleep(0.002)
        else:
            gate.set()
            done.wait()
        note("exit functions", waits)
        print_notes()

    def work():
        gate.wait()
        done.set()

    gate, done = threading.Event(), threading.Event()
    atexit.register(at_exit)
    threading.Thread(target=work, daemon=True).start()
    threading.Thread(target=endless, args=("short",), daemon=True).start()
