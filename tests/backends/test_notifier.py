"""The pipe by which a poll is ended."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from capriccio_patch.backends.notifier import Notifier
from capriccio_patch.cpython import originals


class SlowWrite:
    """An OS thread that has been told the number and has not written there yet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, notifier: Notifier) -> None:
        self.is_about_to, self.goes_on = threading.Event(), threading.Event()
        self.errors: list[BaseException] = []
        self.written: list[int] = []
        self.inode = os.fstat(notifier.reader).st_ino
        self._write = originals.write
        monkeypatch.setattr(originals, "write", self.write)
        self._thread = threading.Thread(target=self.run, args=(notifier,))
        self._thread.start()
        assert self.is_about_to.wait(10)

    def write(self, fd: int, data: bytes) -> Any:
        self.is_about_to.set()
        assert self.goes_on.wait(10)
        self.written.append(os.fstat(fd).st_ino)
        return self._write(fd, data)

    def run(self, notifier: Notifier) -> None:
        try:
            notifier.notify()
        except BaseException as error:
            self.errors.append(error)

    def check(self) -> None:
        """It has written into the pipe, and nowhere else."""
        self._thread.join(10)
        assert self.written == [self.inode]
        assert not self.errors


def test_it_is_not_closed_while_somebody_is_about_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    notifier = Notifier()
    slow = SlowWrite(monkeypatch, notifier)
    threading.Timer(0.1, slow.goes_on.set).start()
    notifier.close()
    slow.check()


def test_its_number_is_not_given_up_before_that(monkeypatch: pytest.MonkeyPatch) -> None:
    notifier = Notifier()
    slow = SlowWrite(monkeypatch, notifier)
    old = notifier._own[1].fd
    threading.Timer(0.1, slow.goes_on.set).start()
    notifier._own[1].move()
    os.close(old)
    slow.check()
    assert os.read(notifier.reader, 9) == b"!"
    notifier.notify()
    assert os.read(notifier.reader, 9) == b"!"
    notifier.close()


def test_one_that_is_closed_is_not_written_to() -> None:
    notifier = Notifier()
    number = notifier._own[1].fd
    notifier.close()
    reader, writer = os.pipe()
    if writer != number:
        os.dup2(writer, number)
    notifier.notify()
    os.set_blocking(reader, False)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    for fd in {reader, writer, number}:
        os.close(fd)


def test_a_child_waits_a_while_for_who_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capriccio_patch.backends.notifier._PATIENCE", 0.01)
    notifier = Notifier()
    notifier._writing.append(None)
    notifier.close()
