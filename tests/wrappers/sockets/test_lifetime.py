"""What those who wait for a socket learn of its end; numbers that are used again."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from typing import Any

import pytest

from tests.conftest import let_others_park
from tests.wrappers.sockets.running import run_all


@pytest.mark.parametrize("how", ["close", "shutdown", "os.close"])
def test_whoever_waits_learns_of_the_end(scheme: str, pair: Any, how: str) -> None:
    left, right = pair
    outcome: list[Any] = []

    def wait() -> None:
        try:
            outcome.append(left.recv(1))
        except OSError as error:
            outcome.append(error.errno)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.01)
    if how == "close":
        left.close()
    elif how == "shutdown":
        left.shutdown(socket.SHUT_RDWR)
    else:
        os.close(left.detach())
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert outcome == ([b""] * 3 if how == "shutdown" else [errno.EBADF] * 3)
    del right


def test_a_reused_number_starts_afresh(scheme: str) -> None:
    reused = 0
    while reused < 300:
        left, right = socket.socketpair()
        number = right.fileno()
        reader = threading.Thread(target=lambda sock=right: sock.recv(1))  # type: ignore[misc]
        reader.start()
        let_others_park()
        left.send(b"x")
        reader.join(10)
        assert not reader.is_alive()
        left.close()
        right.close()
        other_left, other_right = socket.socketpair()
        if number not in (other_left.fileno(), other_right.fileno()):
            other_left.close()
            other_right.close()
            continue  # the watchdog had a lower one for a moment
        reused += 1
        got, _ = run_all(
            lambda sock=other_right: sock.recv(1), lambda sock=other_left: sock.send(b"y")
        )  # type: ignore[misc]
        assert got == b"y"
        other_left.close()
        other_right.close()
