"""Two descriptors of one connection, of every kind that can be waited for."""

from __future__ import annotations

import os
import pty
import socket
import tempfile
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any

BIG = bytes(range(256)) * 4096  # 1 MiB: no pipe and no socket buffer holds it


class Ends:
    """Two connected descriptors, and what has to be closed."""

    def __init__(self, reader: int, writer: int) -> None:
        self.reader = reader
        self.writer = writer

    def close(self) -> None:
        for fd in {self.reader, self.writer}:
            try:
                os.close(fd)
            except OSError:
                pass


def make_pipe(_: Path) -> Ends:
    return Ends(*os.pipe())


def make_fifo(directory: Path) -> Ends:
    path = directory / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    os.set_blocking(reader, True)
    return Ends(reader, writer)


def make_unix(_: Path) -> Ends:
    one, other = socket.socketpair()
    return Ends(one.detach(), other.detach())


def make_tcp(_: Path) -> Ends:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _address = listener.accept()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    return Ends(one.detach(), other.detach())


def make_terminal(_: Path) -> Ends:
    master, terminal = pty.openpty()
    tty.setraw(terminal)
    return Ends(master, terminal)


def make_terminal_input(_: Path) -> Ends:
    master, terminal = pty.openpty()
    tty.setraw(terminal)
    return Ends(terminal, master)


def make_spliced_pipe(_: Path) -> Ends:
    """Linux does not let a pipe that was spliced to be tried without waiting."""
    ends = Ends(*os.pipe())
    if hasattr(os, "splice"):
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
            file.flush()
            os.splice(file.fileno(), ends.writer, 1, offset_src=0)
        os.read(ends.reader, 1)
    return ends


KINDS = [
    make_pipe,
    make_fifo,
    make_unix,
    make_tcp,
    make_terminal,
    make_terminal_input,
    make_spliced_pipe,
]


def read_exactly(fd: int, size: int, pause: bool = False) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(fd, min(size - len(data), 30_000))
        if pause:
            time.sleep(0)
    return data


def in_thread(call: Callable[[], Any]) -> Callable[[], Any]:
    """Start `call` on a thread; what this returns waits for the result, or raises the error."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()

    def result() -> Any:
        thread.join(20)
        assert outcome, "still waiting"
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    return result


def run_all(*functions: Callable[[], Any]) -> None:
    """Call each in a thread of its own, and wait for all."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
