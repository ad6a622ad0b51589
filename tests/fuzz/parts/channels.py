"""Channels from one actor to another, made of all that one thread can wait for.

Each has ``send(n)``, ``receive()`` and one sender and one receiver, so a network of them gives the
same results whatever the interleaving (Kahn, "The semantics of a simple language for parallel
programming", 1974).  `way` chooses among the ways to wait.
"""

from __future__ import annotations

import collections
import concurrent.futures
import concurrent.futures.thread
import multiprocessing
import os
import queue
import signal
import socket
import threading
import time

from .pipes import read_all, wait_readable
from .prelude import RESEND
from .queues import make_queue, take_item
from .sockets import connected, listener, receive

KINDS = {
    "QueueChannel": ["Queue", "PriorityQueue", "SimpleQueue", "Queue(1)", "Queue(2)"],
    "ConditionChannel": ["RLock", "Lock"],
    "EventChannel": [""],
    "FutureChannel": [""],
    "LockChannel": ["Lock", "Semaphore"],
    "BarrierChannel": [""],
}
OS_KINDS = {
    "PipeChannel": ["pipe", "text", "eventfd"],
    "SocketChannel": ["pair", "tcp", "unix", "timeout", "file", "datagram"],
    "ConnectionChannel": [""],
    "FileChannel": [""],
}
ROOM = 64
"""No channel is sent more."""


class QueueChannel:
    """A queue."""

    def __init__(self, kind, way):
        name, _, size = kind.partition("(")
        self.items = make_queue(name, int(size[:-1] or 0) if size else 0)
        self.way = way

    def send(self, n):
        self.items.put(n)

    def receive(self):
        self.way += 1
        return take_item(self.items, self.way)


class ConditionChannel:
    """A deque and a condition."""

    def __init__(self, kind, way):
        self.items = collections.deque()
        self.condition = threading.Condition(getattr(threading, kind)())
        self.way = way

    def send(self, n):
        with self.condition:
            self.items.append(n)
            if self.way % 2:
                self.condition.notify()
            else:
                self.condition.notify_all()

    def receive(self):
        with self.condition:
            if self.way % 3 == 0:
                self.condition.wait_for(lambda: self.items)
            while not self.items:
                self.condition.wait((None, 60, 0.0005)[self.way % 3])
            return self.items.popleft()


class EventChannel:
    """An event for each message."""

    def __init__(self, kind, way):
        self.events = [threading.Event() for _ in range(ROOM)]
        self.values = []
        self.received = 0
        self.way = way

    def send(self, n):
        self.values.append(n)
        self.events[len(self.values) - 1].set()

    def receive(self):
        while not self.events[self.received].wait((None, 60, 0.0005)[self.way % 3]):
            pass
        self.received += 1
        return self.values[self.received - 1]


class FutureChannel:
    """A future for each message."""

    def __init__(self, kind, way):
        self.futures = [concurrent.futures.Future() for _ in range(ROOM)]
        self.sent = self.received = 0
        self.way = way

    def send(self, n):
        self.sent += 1
        self.futures[self.sent - 1].set_result(n)

    def receive(self):
        self.received += 1
        return self.futures[self.received - 1].result((None, 60)[self.way % 2])


class LockChannel:
    """One lock says that there is room, another that there is a message."""

    def __init__(self, kind, way):
        self.room, self.full = (
            threading.Lock() if kind == "Lock" else threading.Semaphore() for _ in range(2)
        )
        self.full.acquire()
        self.value = None
        self.way = way

    def send(self, n):
        self.room.acquire()
        self.value = n
        self.full.release()

    def receive(self):
        while not self.full.acquire(timeout=(-1, 60, 0.0005)[self.way % 3] if self.way else 60):
            pass
        value = self.value
        self.room.release()
        return value


class BarrierChannel:
    """Sender and receiver wait for one another."""

    def __init__(self, kind, way):
        self.barrier = threading.Barrier(2)
        self.value = None

    def send(self, n):
        self.value = n
        self.barrier.wait()
        self.barrier.wait()

    def receive(self):
        self.barrier.wait()
        value = self.value
        self.barrier.wait()
        return value


class PipeChannel:
    """A pipe, read as bytes or as text, or a counter with the kernel."""

    def __init__(self, kind, way):
        self.kind = kind
        self.how = ["read", "select", "poll", "epoll", "selectors", "spin"][way % 6]
        if kind == "eventfd" and hasattr(os, "eventfd"):
            self.reader = self.writer = os.eventfd(0, os.EFD_SEMAPHORE)
            self.received = 0
            return
        self.reader, self.writer = os.pipe()
        if kind == "text":
            self.file = open(self.reader, closefd=False)  # noqa: SIM115

    def send(self, n):
        if self.reader == self.writer:
            os.eventfd_write(self.writer, 1)
        else:
            os.write(self.writer, b"%7d\n" % n)

    def receive(self):
        if self.reader == self.writer:
            wait_readable(self.reader, self.how)
            os.eventfd_read(self.reader)
            self.received += 1
            return self.received - 1
        if self.kind == "text":
            return int(self.file.readline())
        wait_readable(self.reader, self.how)
        return int(read_all(self.reader, 8))


class SocketChannel:
    """Sockets that are connected."""

    def __init__(self, kind, way):
        self.way = way
        if kind == "datagram":
            self.a, self.b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        elif kind in ("tcp", "unix"):
            server, address = listener(kind)
            self.a = connected(kind, address)
            self.b, _ = server.accept()
            server.close()
        else:
            self.a, self.b = socket.socketpair()
        if kind == "timeout":
            self.a.settimeout(60)
            self.b.settimeout(60)
        self.file = self.b.makefile("rb") if kind == "file" else None

    def send(self, n):
        self.a.sendall(b"%7d\n" % n)

    def receive(self):
        self.way += 1
        if self.file:
            return int(self.file.readline())
        return int(receive(self.b, 8, self.way))


class ConnectionChannel:
    """multiprocessing's pipe."""

    def __init__(self, kind, way):
        self.reader, self.writer = multiprocessing.Pipe(way % 2 == 0)
        self.way = way

    def send(self, n):
        self.writer.send(n)

    def receive(self):
        while self.way % 3 and not self.reader.poll(60 if self.way % 3 == 1 else 0.0005):
            pass
        return self.reader.recv()


class FileChannel:
    """A file that grows; the receiver looks at it now and then."""

    def __init__(self, kind, way):
        self.name = f"channel_{id(self)}_{way}"
        with open(self.name, "w"):
            pass
        self.received = 0

    def send(self, n):
        with open(self.name, "a") as file:
            file.write(f"{n}\n")

    def receive(self):
        while True:
            with open(self.name) as file:
                lines = file.read().split("\n")[:-1]
            if len(lines) > self.received:
                self.received += 1
                return int(lines[self.received - 1])
            time.sleep(0.001)


class SignalChannel:
    """A signal whose handler puts the message; one at a time; `RESEND` says why again."""

    def __init__(self, kind, way):
        self.number = signal.SIGRTMIN + way
        self.kind = kind
        self.room, self.sent = threading.Semaphore(), queue.SimpleQueue()
        self.values = []
        self.got = queue.SimpleQueue()
        self.main = threading.main_thread().ident
        signal.signal(self.number, self.handle)

    def handle(self, number, frame):
        try:
            value = self.values.pop()
        except IndexError:  # sent again, though the first was handled
            return
        self.got.put(value)
        self.sent.put(1)

    def send(self, n):
        self.room.acquire()
        self.values.append(n)
        while True:
            if self.kind == "kill":
                os.kill(os.getpid(), self.number)
            else:
                signal.pthread_kill(self.main, self.number)
            try:
                self.sent.get(timeout=RESEND)
                break
            except queue.Empty:
                pass

    def receive(self):
        value = self.got.get()
        self.room.release()
        return value
