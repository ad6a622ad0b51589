"""Signal masks of green threads."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import capriccio_patch
from tests.conftest import forks


def in_thread(call: Callable[[], Any]) -> Any:
    """What `call` returns, or the exception that it raises, in another thread."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(call())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcome[0]


def masked() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


@pytest.fixture
def mask(patched: None) -> Iterator[None]:
    """The process's mask is put back."""
    old = masked()
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, old)


def test_what_a_thread_blocks_is_blocked_for_itself_alone(mask: None) -> None:
    def block() -> list[set[int]]:
        seen = [masked()]
        seen.append(set(signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})))
        seen.append(set(signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})))
        seen.append(set(signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})))
        seen.append(set(signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGALRM})))
        seen.append(masked())
        return seen

    one, two = signal.SIGUSR1, signal.SIGUSR2
    assert in_thread(block) == [set(), set(), {one}, {one, two}, {two}, {signal.SIGALRM}]
    assert masked() == set()
    assert in_thread(masked) == set()


@forks
def test_a_child_has_the_mask_of_the_main_thread_whoever_starts_it(mask: None) -> None:
    def start() -> list[int]:
        pid = os.fork()
        if not pid:
            signal.sigwait({signal.SIGUSR1})
        os.kill(pid, signal.SIGTERM)
        with subprocess.Popen(["sleep", "60"]) as process:
            process.terminate()
        return [os.waitpid(pid, 0)[1], -process.returncode]

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    assert [in_thread(start) for _ in range(4)] == [[signal.SIGTERM] * 2] * 4


@forks
def test_signals_still_come_and_children_can_be_ended(mask: None) -> None:
    came: list[int] = []
    old = signal.signal(signal.SIGUSR1, lambda signum, _: came.append(signum))
    blocked, over = threading.Event(), threading.Event()

    def block_all() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        blocked.set()
        over.wait()

    thread = threading.Thread(target=block_all)
    thread.start()
    blocked.wait()
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert came == [signal.SIGUSR1]
        pid = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "60")
        os.kill(pid, signal.SIGTERM)
        assert os.waitpid(pid, 0) == (pid, signal.SIGTERM)
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGUSR1, old)


def test_what_a_thread_unblocks_comes(mask: None) -> None:
    came: list[int] = []
    old = signal.signal(signal.SIGUSR1, lambda signum, _: came.append(signum))
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        os.kill(os.getpid(), signal.SIGUSR1)
        assert came == []
        in_thread(lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1}))
        assert came == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, old)


@pytest.mark.parametrize("args", [(99, ()), (signal.SIG_BLOCK, {1 << 20}), (signal.SIG_BLOCK, 3)])
def test_bad_arguments_fail_as_in_stock(mask: None, args: tuple[Any, Any]) -> None:
    with pytest.raises((OSError, ValueError, TypeError)) as stock:
        capriccio_patch.original("_signal.pthread_sigmask")(*args)
    error = in_thread(lambda: signal.pthread_sigmask(*args))
    assert (type(error), str(error)) == (stock.type, str(stock.value))
