"""Pipes, text files over pipes, files, and waiting for several descriptors at once."""

from __future__ import annotations

import os
import select
import selectors
import socket
import threading
import time

from .prelude import breathe, in_threads
from .registry import part


def read_all(fd, size):
    """Exactly `size` bytes."""
    data = b""
    while len(data) < size:
        data += os.read(fd, size - len(data))
    return data


def wait_readable(fd, how):
    """Return once there is something to read."""
    if how == "select":
        while not select.select([fd], [], [], 60)[0]:
            pass
    elif how == "poll":
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while not poll.poll(60_000):
            pass
    elif how == "epoll" and hasattr(select, "epoll"):
        with select.epoll() as epoll:
            epoll.register(fd, select.EPOLLIN)
            while not epoll.poll(60):
                pass
    elif how == "selectors":
        with selectors.DefaultSelector() as selector:
            selector.register(fd, selectors.EVENT_READ)
            while not selector.select(60):
                pass
    elif how == "spin":
        while not select.select([fd], [], [], 0)[0]:
            time.sleep(0.0002)


WAYS = ["read", "select", "poll", "epoll", "selectors", "spin"]


@part(how=WAYS, messages=range(1, 25), size=[1, 100, 4000], weight=3)
def pipe(how, messages, size):
    """A pipe between two threads."""
    reader, writer = os.pipe()

    def write(_):
        for n in range(messages):
            os.write(writer, bytes([n]) * size)
            breathe(n)

    def read(_):
        got = []
        for _ in range(messages):
            wait_readable(reader, how)
            got.append(read_all(reader, size))
        return got == [bytes([n]) * size for n in range(messages)]

    results = in_threads(2, lambda i: (write, read)[i](i))
    os.close(reader)
    os.close(writer)
    return results


@part(size=[100_000, 700_000], eof=True, chunk=[1000, 70_000])
def pipe_bulk(size, chunk):
    """More than a pipe holds, to its end."""
    reader, writer = os.pipe()
    data = os.urandom(1000) * (size // 1000)

    def write(_):
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(writer, rest[:chunk]) :]
        os.close(writer)

    def read(_):
        got = b""
        while more := os.read(reader, chunk):
            got += more
        os.close(reader)
        return got == data

    return in_threads(2, lambda i: (write, read)[i](i))


@part(lines=range(1, 60), writers=range(1, 4), eof=True, buffering=[1, -1])
def text_pipe(lines, writers, buffering):
    """Several threads print into a text file over a pipe; each line arrives whole."""
    reader, writer = os.pipe()
    lock = threading.Lock()
    out = os.fdopen(writer, "w", buffering)

    def write(i):
        for n in range(lines):
            with lock:
                print(i, n, file=out, flush=n % 2 == 0)
            breathe(n + i)

    def read(_):
        with os.fdopen(reader) as file:
            return sorted(tuple(map(int, line.split())) for line in file)

    def both(i):
        if i:
            return read(i)
        in_threads(writers, write)
        out.close()
        return None

    got = in_threads(2, both)[1]
    return got == [(i, n) for i in range(writers) for n in range(lines)]


@part(sources=range(2, 8), messages=range(1, 12), how=["select", "poll", "epoll", "selectors"])
def gathered(sources, messages, how):
    """One thread waits for many descriptors, pipes and sockets in turn."""
    ends = [os.pipe() if i % 2 else socket_ends() for i in range(sources)]
    readers = [reader for reader, _ in ends]

    def write(i):
        for n in range(messages):
            os.write(ends[i][1], bytes([n]))
            breathe(n + i)

    def ready(poll):
        if how == "select":
            return select.select(readers, [], [], 60)[0]
        if how == "selectors":
            return [key.fd for key, _ in poll.select(60)]
        return [fd for fd, _ in poll.poll(60_000 if how == "poll" else 60)]

    def gather(_):
        poll = None
        if how == "poll" or (how == "epoll" and not hasattr(select, "epoll")):
            poll = select.poll()
        elif how != "select":
            poll = select.epoll() if how == "epoll" else selectors.DefaultSelector()
        if poll:
            for fd in readers:
                poll.register(fd, 1)
        got = dict.fromkeys(readers, b"")
        while sum(map(len, got.values())) < sources * messages:
            for fd in ready(poll):
                got[fd] += os.read(fd, 5)
        if hasattr(poll, "close"):
            poll.close()
        return all(data == bytes(range(messages)) for data in got.values())

    results = in_threads(sources + 1, lambda i: gather(i) if i == sources else write(i))
    for end in {fd for pair in ends for fd in pair}:
        os.close(end)
    return results


def socket_ends():
    """The descriptors of a pair of sockets."""
    a, b = socket.socketpair()
    return a.detach(), b.detach()


@part(how=["select", "poll", "epoll", "selectors"], timeout=[0, 0.001, 0.004])
def nothing_ready(how, timeout):
    """Waiting for what does not come, then for what is there."""
    reader, writer = os.pipe()
    results = []
    for _ in range(2):
        if how == "select":
            results.append(len(select.select([reader], [], [], timeout)[0]))
        elif how == "selectors":
            with selectors.DefaultSelector() as selector:
                selector.register(reader, selectors.EVENT_READ)
                results.append(len(selector.select(timeout)))
        else:
            poll = select.epoll() if how == "epoll" and hasattr(select, "epoll") else select.poll()
            poll.register(reader, 1)
            results.append(len(poll.poll(timeout)))
        os.write(writer, b"x")
    os.close(reader)
    os.close(writer)
    return results


@part(threads=range(1, 6), rounds=range(1, 10), size=[10, 5000, 200_000])
def files(threads, rounds, size):
    """Files of their own, written and read back by threads; one shared, appended to."""
    name = f"f{threading.get_ident()}_{time.monotonic_ns()}"

    def work(i):
        right = 0
        for n in range(rounds):
            data = bytes([i + n]) * size
            with open(f"{name}_{i}", "wb") as file:
                file.write(data)
            with open(f"{name}_{i}", "rb") as file:
                right += file.read() == data
            with open(name, "a") as file:
                file.write(f"{i} {n}\n")
            os.stat(name)
        os.unlink(f"{name}_{i}")
        return right

    results = in_threads(threads, work)
    with open(name) as file:
        lines = sorted(file)
    return results, lines == sorted(f"{i} {n}\n" for i in range(threads) for n in range(rounds))


@part(tokens=range(1, 20), threads=range(1, 4))
def eventfds(tokens, threads):
    """An eventfd as a semaphore, where there is one."""
    if not hasattr(os, "eventfd"):
        return [tokens] * threads, "empty"
    fd = os.eventfd(0, os.EFD_SEMAPHORE)

    def work(i):
        if i == threads:
            for n in range(tokens):
                os.eventfd_write(fd, threads)
                breathe(n)
            return None
        return sum(os.eventfd_read(fd) for _ in range(tokens))

    results = in_threads(threads + 1, work)[:-1]
    os.set_blocking(fd, False)
    try:
        os.eventfd_read(fd)
    except BlockingIOError:
        results = results, "empty"
    os.close(fd)
    return results
