"""Whether threads switch, told without the GIL."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from capriccio_patch.io import os_threads
from tests.inside import applied

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="for Linux")

FOR_EVER = 1e9


@pytest.fixture
def module(patched: None) -> Any:
    """The module of C, for the patch in force."""
    found = applied().core.pulse
    if found is None:
        pytest.skip("no compiled core")
    return found


@pytest.fixture
def schedstat() -> Iterator[int]:
    """The file that tells for how long this OS thread had no CPU."""
    fd = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
    yield fd
    os.close(fd)


def watched(module: Any, *args: Any) -> list[Any]:
    """What `watch` returns on an OS thread; empty until it does."""
    found: list[Any] = []
    os_threads.start(lambda: found.append(module.watch(*args)), ())
    return found


def compute_until(found: list[Any]) -> None:
    """Run without letting others."""
    end = time.monotonic() + 10
    while not found:
        assert time.monotonic() < end


def switch_until(found: list[Any]) -> None:
    """Let others run, over and over."""
    thread = threading.Thread(
        target=lambda: [time.sleep(0) for _ in iter(lambda: not found, False)]
    )
    thread.start()
    end = time.monotonic() + 10
    while not found:
        assert time.monotonic() < end
        time.sleep(0)
    thread.join()


def test_a_thread_that_computes_is_seen_after_one_pause(module: Any, schedstat: int) -> None:
    found = watched(module, bytearray(8), schedstat, 0.02, 0.02, 0.02, FOR_EVER)
    compute_until(found)
    looks, *_, pause, is_still = found[0]
    assert (looks, pause, is_still) == (0, 0.02, True)


def test_while_threads_switch_nobody_looks(module: Any, schedstat: int) -> None:
    until = time.monotonic() + 0.5
    found = watched(module, bytearray(8), schedstat, 0.1, 0.1, 0.1, until)
    switch_until(found)
    looks, when, delay, pause, _ = found[0]
    assert looks > 1
    assert until <= when <= time.monotonic()
    assert delay >= 0.0
    assert 0.0 < pause <= 0.1


def test_a_kernel_that_has_begun_to_wait_is_looked_at_a_few_times(
    module: Any, schedstat: int
) -> None:
    found = watched(module, bytearray(8), schedstat, 0.02, 0.02, 0.02, FOR_EVER)
    time.sleep(0.5)
    looks, when, _, pause, is_still = found[0]
    assert 5 <= looks <= 10  # the first may be from before
    assert (pause, is_still) == (0.02, True)
    assert when <= time.monotonic() - 0.1


def test_who_computes_after_a_wait_is_seen(module: Any, schedstat: int) -> None:
    found = watched(module, bytearray(8), schedstat, 0.05, 0.05, 0.05, FOR_EVER)
    time.sleep(0.12)
    begun = time.monotonic()
    compute_until(found)
    looks, when, *_, is_still = found[0]
    assert looks >= 2
    assert is_still
    assert when >= begun - 0.05


@pytest.mark.parametrize("is_early", [True, False])
def test_it_is_woken(module: Any, schedstat: int, is_early: bool) -> None:
    word = bytearray(8)
    if is_early:
        module.wake(word)
    found = watched(module, word, schedstat, 100.0, 100.0, 0.0, FOR_EVER)
    if not is_early:
        time.sleep(0.02)
        assert not found
        module.wake(word)
    switch_until(found)
    assert found[0][-1] is False
    assert word == bytes(8)  # nothing is left to end the next sleep


def test_a_file_that_can_not_be_read_is_left_to_python(module: Any) -> None:
    word = bytearray(8)
    found = watched(module, word, -1, 0.005, 0.005, 0.005, FOR_EVER)
    switch_until(found)
    assert found[0][0] == 0


def test_it_refuses_what_is_no_word(module: Any, schedstat: int) -> None:
    with pytest.raises(BufferError):
        module.wake(bytes(8))
    with pytest.raises(TypeError):
        module.wake(8)
    assert module.watch(bytearray(1), schedstat, 0.0, 0.0, 0.0, 0.0) is None
