"""What C code keeps by OS thread, exchanged in C."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.cpython import thread_state
from capriccio_patch.kernel.core import Kernel

pytest.importorskip("capriccio_patch.core._core")


@pytest.fixture
def exchanged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads to which Python has switched; the patch is in force, with C."""
    names: list[str] = []
    original = Kernel._exchange

    def exchange(self: Kernel, me: Any, new: Any) -> Any:
        names.append(threading.current_thread().name)
        return original(self, me, new)

    monkeypatch.setenv("CAPRICCIO_CORE", "compiled")
    monkeypatch.setattr(Kernel, "_exchange", exchange)
    return names


@pytest.mark.skipif(thread_state.local_words() is None, reason="locals are in the dictionary")
def test_threads_that_have_locals_alone(exchanged: list[str]) -> None:
    local = threading.local()
    seen = []

    def use(name: str) -> None:
        assert not hasattr(local, "name")
        local.name = name
        for _ in range(3):
            time.sleep(0)
            seen.append(local.name == name)

    local.name = "main"
    capriccio_patch.patch_all()
    try:
        threads = [threading.Thread(target=use, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        time.sleep(0)
        seen.append(local.name == "main")
        switched = len(exchanged)
    finally:
        for thread in threads:
            thread.join()
        capriccio_patch.unpatch_all()
    assert local.name == "main"
    assert seen == [True] * 10
    assert switched <= 1  # what was left behind before
