"""The program's wakeup descriptor gets each signal once, however often that is given back."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from tests.signals.conftest import USR1, Storm

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs POSIX signals"),
    pytest.mark.usefixtures("signal_dispositions"),
]


def test_the_wakeup_descriptor_gets_each_signal_once(patched: None) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    lock = threading.Lock()
    storm = Storm()

    def handler(signum: int, frame: Any) -> None:
        storm.handled += 1

    signal.signal(USR1, handler)
    assert signal.set_wakeup_fd(writer) == -1
    try:
        with storm:
            while storm.handled < 500:
                with lock:  # many a signal comes inside a wrapper, and is put off
                    pass
    finally:
        assert signal.set_wakeup_fd(-1) == writer
    os.close(writer)
    with open(reader, "rb") as file:
        got = file.read()
    assert got.count(USR1) == storm.sent == storm.handled


def test_signals_reach_a_main_thread_that_computes_beside_others(patched: None) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    storm = Storm()
    threads: set[str] = set()
    over = False

    def handler(signum: int, frame: Any) -> None:
        storm.handled += 1
        threads.add(threading.current_thread().name)

    def compute() -> None:
        while not over:
            pass

    signal.signal(USR1, handler)
    signal.set_wakeup_fd(writer)
    others = [threading.Thread(target=compute) for _ in range(2)]
    for thread in others:
        thread.start()
    try:
        with storm:
            while storm.handled < 50:
                pass
            over = True
    finally:
        over = True
        signal.set_wakeup_fd(-1)
        for thread in others:
            thread.join()
    os.close(writer)
    with open(reader, "rb") as file:
        assert file.read() == bytes([USR1]) * storm.sent
    assert storm.handled == storm.sent >= 50
    assert threads == {threading.main_thread().name}
