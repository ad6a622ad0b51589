"""What the tests of preemption share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.kernel.core import Kernel
from capriccio_patch.schedulers.random import RandomScheduler
from tests.inside import applied

SCHEDULERS = capriccio_patch.known_schedulers()


@pytest.fixture
def kernel(patched: None) -> Kernel:
    """The kernel of this process, with the patch in force."""
    return applied().runtime.kernel


@pytest.fixture(params=SCHEDULERS)
def each_scheduler(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The patch in force with each of the schedulers; the seeded one is no more patient here."""
    monkeypatch.setattr(RandomScheduler, "least_slice", 0.0)
    capriccio_patch.patch_all(scheduler=request.param)
    try:
        yield request.param
    finally:
        capriccio_patch.unpatch_all()


def started(*functions: Callable[[], Any]) -> list[threading.Thread]:
    """A running thread for each function."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    return threads
