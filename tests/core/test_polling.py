"""Polls in C: who waits for the GIL meanwhile."""

from __future__ import annotations

import socket
import threading

from capriccio_patch.cpython import originals
from capriccio_patch.io import os_threads

PAIRS = 10
TAKES = 200
MOST_BETWEEN = 500
"""Answers, of which a millisecond has some hundred; who is starved of the GIL waits for more."""


def test_an_os_thread_gets_the_gil_while_each_poll_finds_something(in_c: None) -> None:
    is_over = threading.Event()
    answers = 0

    def take_the_gil() -> None:
        for _ in range(TAKES):
            originals.sleep(1e-6)
        is_over.set()

    def answer(ours: socket.socket) -> None:
        with ours:
            while data := ours.recv(10):
                ours.sendall(data)

    def ask(ours: socket.socket) -> None:
        nonlocal answers
        with ours:
            while not is_over.is_set():
                ours.sendall(b"x")
                ours.recv(10)
                answers += 1

    threads = []
    for _ in range(PAIRS):
        left, right = socket.socketpair()
        threads += [threading.Thread(target=ask, args=(left,))]
        threads += [threading.Thread(target=answer, args=(right,))]
    for thread in threads:
        thread.start()
    os_threads.start(take_the_gil, ())
    for thread in threads:
        thread.join()
    assert answers < TAKES * MOST_BETWEEN
