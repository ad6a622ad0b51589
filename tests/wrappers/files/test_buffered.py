# ruff: noqa: SIM115 - what is opened here is waited for, shared, and closed when that is done
"""Buffered objects of several threads."""

from __future__ import annotations

import io
import os
import select
import signal
import threading
import time
from functools import partial
from typing import Any

import pytest

import capriccio_patch
from tests.conftest import in_order, let_others_park
from tests.wrappers.files.ends import BIG, run_all


def test_threads_share_a_reader(ticker: Any, pipe_ends: tuple[int, int]) -> None:
    lines: list[bytes] = []
    with open(pipe_ends[0], "rb") as reader:

        def feed() -> None:
            for i in range(200):
                os.write(pipe_ends[1], b"%d\n" % i)
                if i % 20 == 0:
                    time.sleep(0)
            os.close(pipe_ends[1])

        with ticker().at(3, feed):
            run_all(*[lambda: lines.extend(reader)] * 10)
    assert sorted(map(int, lines)) == list(range(200))


def test_threads_share_a_writer(patched: None, pipe_ends: tuple[int, int]) -> None:
    writer = open(pipe_ends[1], "wb", buffering=100)
    lines = [b"%05d\n" % i for i in range(20_000)]

    def write(part: int) -> None:
        put = writer.write
        for line in lines[part::10]:
            put(line)

    def write_all() -> None:
        run_all(*(lambda part=part: write(part) for part in range(10)))
        writer.close()

    thread = threading.Thread(target=write_all)
    thread.start()
    with open(pipe_ends[0], "rb") as reader:
        assert sorted(reader) == lines
    thread.join()


def test_the_first_to_come_is_the_first_served(ticker: Any, pipe_ends: tuple[int, int]) -> None:
    order = []
    with open(pipe_ends[0], "rb") as reader:

        def read(number: int) -> None:
            reader.read(1)
            order.append(number)

        threads = [threading.Thread(target=read, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()

        def feed() -> None:
            for _ in threads:
                os.write(pipe_ends[1], b"x")
                time.sleep(0.001)

        with ticker().at(3, feed):
            for thread in threads:
                thread.join()
    assert in_order(order) == list(range(6))


def test_a_waiter_that_is_interrupted_leaves_the_queue(
    patched: None, pipe_ends: tuple[int, int]
) -> None:
    class Alarm(Exception):
        pass

    def ring(*_: Any) -> None:
        raise Alarm

    writer = open(pipe_ends[1], "wb", buffering=10)
    blocked = threading.Thread(target=lambda: writer.write(BIG))
    blocked.start()
    let_others_park()
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        with pytest.raises(Alarm):
            writer.flush()
    finally:
        signal.signal(signal.SIGALRM, before)
    size = 0
    while size < len(BIG):
        size += len(os.read(pipe_ends[0], 1 << 16))
    blocked.join()
    writer.close()


def test_a_handler_that_reenters_is_refused(patched: None, pipe_ends: tuple[int, int]) -> None:
    """As in stock: the interrupted thread would wait for itself."""
    writer = open(pipe_ends[1], "wb", buffering=10)

    def ring(*_: Any) -> None:
        writer.write(b"z" * 100)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        with pytest.raises(RuntimeError, match="reentrant call inside"):
            writer.write(BIG)
    finally:
        signal.signal(signal.SIGALRM, before)
    os.set_blocking(pipe_ends[1], False)
    while select.select([pipe_ends[0]], [], [], 0)[0]:
        os.read(pipe_ends[0], 1 << 16)
    writer.close()


def test_a_reentrant_raw_file_is_refused(patched: None) -> None:
    class Raw(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            return len(reader.read(1))

    reader = io.BufferedReader(Raw())
    with pytest.raises(RuntimeError, match="reentrant call inside"):
        reader.read(1)


def test_iteration_of_subclasses_uses_their_readline(patched: None) -> None:
    class Lines(io.BufferedReader):
        def readline(self, size: int = -1, /) -> bytes:
            return super().readline(size).upper()

    with Lines(io.FileIO(__file__)) as lines:
        assert all(line == line.upper() for line in lines)


@pytest.mark.parametrize("name", ["write", "readinto", "seek"])
def test_a_missing_argument_is_told_of_as_in_stock(patched: None, name: str) -> None:
    file = io.BufferedRandom(io.BytesIO())  # type: ignore[arg-type]
    texts = []
    for method in (
        getattr(file, name),
        partial(capriccio_patch.original(f"io.BufferedRandom.{name}"), file),
    ):
        with pytest.raises(TypeError) as refused:
            method()
        texts.append(str(refused.value))
    assert texts[0] == texts[1]
