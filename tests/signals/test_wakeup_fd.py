"""The program's wakeup descriptor gets each signal once, however often that is given back."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.cpython import originals
from tests.signals.conftest import USR1, Storm, os_thread

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


SCHEMES = [n for n, reason in capriccio_patch.available_backends().items() if reason is None]


@pytest.mark.parametrize("name", SCHEMES)
def test_a_signal_that_does_not_interrupt_the_poll_ends_it(name: str) -> None:
    """It is delivered on another OS thread, so the one that polls gets no EINTR."""
    capriccio_patch.patch_all(sockio=name)
    come = threading.Event()

    def send() -> None:
        originals.sleep(0.02)  # the main thread waits, or is just about to
        originals.pthread_kill(originals.get_ident(), USR1)

    signal.signal(USR1, lambda *_: come.set())
    try:
        for _ in range(5):
            come.clear()
            os_thread(send)
            assert come.wait(60)
    finally:
        signal.signal(USR1, signal.SIG_DFL)
        capriccio_patch.unpatch_all()


def in_force() -> int:
    """The wakeup descriptor that CPython has."""
    fd: int = originals.set_wakeup_fd(-1)
    originals.set_wakeup_fd(fd, warn_on_full_buffer=False)
    return fd


def test_the_program_is_told_of_its_own_descriptor_only() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    assert signal.set_wakeup_fd(writer) == -1
    try:
        capriccio_patch.patch_all()
        assert in_force() == writer
        assert signal.set_wakeup_fd(-1) == writer
        ours = in_force()
        assert ours not in (-1, writer)
        assert signal.set_wakeup_fd(-1) == -1
        assert in_force() == ours
        assert signal.set_wakeup_fd(writer, warn_on_full_buffer=False) == -1
        with pytest.raises(OSError, match="Bad file"):
            signal.set_wakeup_fd(999)
        with pytest.raises(TypeError):
            signal.set_wakeup_fd("1")  # type: ignore[arg-type]
        assert in_force() == writer
        assert signal.set_wakeup_fd(-1) == writer
    finally:
        capriccio_patch.unpatch_all()
        left = signal.set_wakeup_fd(-1)
    assert left == -1
    os.close(reader)
    os.close(writer)


def test_a_number_that_the_program_wants(patched: None) -> None:
    reader, writer = os.pipe()
    ours = in_force()
    os.dup2(writer, ours)
    come = threading.Event()
    signal.signal(USR1, lambda *_: come.set())
    os_thread(lambda: originals.pthread_kill(originals.get_ident(), USR1))
    assert come.wait(60)
    for fd in (ours, writer):
        os.close(fd)
    assert os.read(reader, 9) == b""
    os.close(reader)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_its_own(run_script: Any) -> None:
    done = run_script(
        """
        import os, signal, threading
        import capriccio_patch
        capriccio_patch.patch_all()
        from capriccio_patch.cpython import originals
        come = threading.Event()
        signal.signal(signal.SIGUSR1, lambda *_: come.set())

        def send():
            originals.sleep(0.02)
            originals.pthread_kill(originals.get_ident(), signal.SIGUSR1)

        def file():
            fd = originals.set_wakeup_fd(-1)
            originals.set_wakeup_fd(fd, warn_on_full_buffer=False)
            status = os.fstat(fd)
            return status.st_dev, status.st_ino

        parents = file()
        pid = os.fork()
        if not pid:
            originals.start_new_thread(send, ())
            os._exit(file() == parents or not come.wait(60))
        assert os.waitpid(pid, 0) == (pid, 0)
        capriccio_patch.unpatch_all()
        print(signal.set_wakeup_fd(-1))
        """
    )
    assert done.stdout == "-1\n", done.stderr
