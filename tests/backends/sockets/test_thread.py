"""The scheme with an OS thread of its own: what that sees, and what nobody is to see of it."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from capriccio_patch.backends.sockets import (
    available_backends,
    create_backend,
    recreate_backend,
)
from capriccio_patch.backends.sockets.thread import ThreadBackend
from capriccio_patch.contracts.descriptor import READ, Descriptor
from capriccio_patch.io import os_threads
from tests.conftest import forks

pytestmark = pytest.mark.skipif(
    available_backends()["thread"] is not None, reason="neither epoll nor kqueue"
)


def test_readiness_is_seen_while_python_computes() -> None:
    backend = create_backend("thread")
    assert isinstance(backend, ThreadBackend)
    reader, writer = os.pipe()
    try:
        backend.add_request(Descriptor(reader), READ)
        os.write(writer, b"x")
        deadline = time.monotonic() + 20
        while not backend._found:  # no system call is made here
            assert time.monotonic() < deadline
        assert backend.poll(0) == [(reader, READ)]
    finally:
        backend.close()
        os.close(reader)
        os.close(writer)


def test_closing_ends_the_os_thread() -> None:
    before = os_threads.count()
    backend = create_backend("thread")
    deadline = time.monotonic() + 20
    while os_threads.count() == before:
        assert time.monotonic() < deadline
    backend.close()
    while os_threads.count() > before:
        assert time.monotonic() < deadline


@forks
def test_a_forked_child_does_not_wait_for_the_os_thread_of_its_parent() -> None:
    backend = create_backend("thread")
    pid = os.fork()
    if not pid:
        status = 1
        try:
            start = time.monotonic()
            own = recreate_backend(backend)
            reader, writer = os.pipe()
            own.add_request(Descriptor(reader), READ)
            os.write(writer, b"x")
            found = own.poll(20)
            own.close()
            if found == [(reader, READ)] and time.monotonic() - start < 4:
                status = 0
        finally:
            os._exit(status)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        backend.notify()
        backend.poll(None)
    finally:
        backend.close()


def test_a_signal_that_the_program_blocks_is_left_to_it(run_script: Any) -> None:
    """An OS thread that was there before would die of it in the program's stead."""
    done = run_script(
        """
        import os, signal, time
        import capriccio_patch
        capriccio_patch.patch_all(sockio="thread")
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        os.kill(os.getpid(), signal.SIGUSR1)
        print(signal.sigwait({signal.SIGUSR1}) is signal.SIGUSR1)
        """
    )
    assert done.stdout == "True\n"
