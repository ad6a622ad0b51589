"""Signals: handlers that do things, timers, signals sent by threads.  Main thread only."""

from __future__ import annotations

import _thread
import os
import queue
import signal
import socket
import threading
import time

from .prelude import RESEND, breathe, busy, described
from .registry import part


class Alarm(Exception):
    """Raised by a handler."""


def wait_forever(where):
    """A wait that only an exception ends; a join is none: 3.13.0 handles no signals in it."""
    lock = threading.Lock()
    lock.acquire()
    a, b = socket.socketpair()
    reader, writer = os.pipe()
    try:
        if where == "lock":
            lock.acquire()
        elif where == "timed lock":
            lock.acquire(timeout=100)
        elif where == "sleep":
            time.sleep(100)
        elif where == "queue":
            queue.Queue().get()
        elif where == "simple queue":
            queue.SimpleQueue().get(timeout=100)
        elif where == "recv":
            a.recv(1)
        elif where == "recv with timeout":
            a.settimeout(100)
            a.recv(1)
        elif where == "pipe":
            os.read(reader, 1)
        elif where == "event":
            threading.Event().wait()
        elif where == "semaphore":
            threading.Semaphore(0).acquire()
        elif where == "barrier":
            threading.Barrier(2).wait()
        elif where == "pause":
            signal.pause()
        else:
            while True:
                busy(100)
    finally:
        lock.release()
        a.close()
        b.close()
        os.close(reader)
        os.close(writer)


WAITS = [
    *("lock", "timed lock", "sleep", "queue", "simple queue", "recv", "recv with timeout", "pipe"),
    *("event", "semaphore", "barrier", "pause", "compute"),
]


@part(where=WAITS, after=[0.0005, 0.003], main=True, alarms=True, weight=6)
def alarm_raises(where, after):
    """A handler's exception ends any wait of the main thread."""

    def handler(*_):
        raise Alarm(where)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, after, RESEND)
        wait_forever(where)
    except Alarm as error:
        return described(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@part(ticks=range(1, 12), what=["nothing", "sleep", "lock", "queue", "thread"], main=True, weight=4)
def ticking(ticks, what):
    """A handler that does things while the main thread does others."""
    count = queue.SimpleQueue()
    lock = threading.RLock()
    names = []

    def handler(number, frame):
        if what == "sleep":
            time.sleep(0.0005)
        elif what == "lock":
            with lock:
                busy(100)
        elif what == "thread":
            done = _thread.allocate_lock()
            done.acquire()
            _thread.start_new_thread(done.release, ())
            done.acquire()
        names.append(threading.current_thread() is threading.main_thread())
        count.put(number)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.002)
    for n in range(ticks):
        with lock:
            breathe(n)
        count.get()
    signal.setitimer(signal.ITIMER_REAL, 0)
    # The one that may be on its way.
    time.sleep(0)
    signal.signal(signal.SIGALRM, before)
    return all(names)


@part(signals=range(1, 15), how=["kill", "pthread_kill", "raise_signal", "itself"], main=True)
def sent_by_thread(signals, how):
    """A thread, or the main one, sends signals one by one; the main thread handles them."""
    handled = queue.SimpleQueue()
    seen = []
    main = threading.get_ident()

    def handler(number, frame):
        seen.append(threading.get_ident() == main)
        handled.put(number)

    def send():
        if how == "pthread_kill":
            signal.pthread_kill(main, signal.SIGUSR1)
        elif how == "kill":
            os.kill(os.getpid(), signal.SIGUSR1)
        else:
            signal.raise_signal(signal.SIGUSR1)

    def work():
        for n in range(signals):
            send()
            handled.get()
            breathe(n)
        over.set()

    over = threading.Event()
    before = signal.signal(signal.SIGUSR1, handler)
    if how == "itself":
        work()
    else:
        threading.Thread(target=work).start()
        while not over.wait(RESEND):
            pass
    signal.signal(signal.SIGUSR1, before)
    return len(seen), all(seen)


@part(signals=range(1, 8), main=True)
def wakeup_fd(signals):
    """The number of each signal is written to a socket."""
    a, b = socket.socketpair()
    b.setblocking(False)
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    old = signal.set_wakeup_fd(b.fileno())
    got = []

    def read():
        for _ in range(signals):
            got.append(a.recv(1)[0])
            turn.release()
        over.set()

    over = threading.Event()
    turn = threading.Semaphore(1)
    threading.Thread(target=read).start()
    for _ in range(signals):
        turn.acquire()
        signal.raise_signal(signal.SIGUSR2)
    over.wait()
    signal.set_wakeup_fd(old)
    signal.signal(signal.SIGUSR2, before)
    a.close()
    b.close()
    return got == [signal.SIGUSR2] * signals, old
