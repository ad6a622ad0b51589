"""What the tests of signals share."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, Self

import capriccio_patch

USR1 = getattr(signal, "SIGUSR1", 0)
USR2 = getattr(signal, "SIGUSR2", 0)


class Stop(Exception):
    """What a handler raises."""


def send(signum: int = USR1) -> None:
    os.kill(os.getpid(), signum)


def stop(signum: int, frame: Any) -> None:
    raise Stop


def os_thread(function: Callable[[], None]) -> None:
    """Start a thread that is not green."""
    capriccio_patch.original("_thread.start_new_thread")(function, ())


class Storm:
    """An OS thread that sends a signal as soon as the last one was handled; within ``with``."""

    def __init__(self, signum: int = USR1) -> None:
        self.sent = self.handled = 0
        self._signum = signum
        self._end = False
        self._ended = False

    def _run(self) -> None:
        sleep = capriccio_patch.original("time.sleep")
        while not self._end:
            if self.handled == self.sent:
                self.sent += 1
                send(self._signum)
            sleep(0.0001)
        self._ended = True

    def __enter__(self) -> Self:
        os_thread(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._end = True
        while not self._ended or self.handled < self.sent:
            try:
                time.sleep(0.001)
            except Stop:
                pass
