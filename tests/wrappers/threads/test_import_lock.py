"""The import lock: green threads exclude each other, and OS threads too."""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import let_others_park

green = pytest.mark.usefixtures("patched")


def raises(call: Callable[[], Any]) -> bool:
    try:
        call()
    except RuntimeError:
        return True
    return False


def in_thread(call: Callable[[], Any]) -> Any:
    """What `call` returns in a thread of its own."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


@green
def test_imports_in_several_threads(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module whose import waits is seen whole, or not at all, by all other threads."""
    (tmp_path / "slow_module.py").write_text("import time\ntime.sleep(0.01)\nvalue = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    values: list[int] = []

    def load() -> None:
        import slow_module  # type: ignore[import-not-found]

        values.append(slow_module.value)

    threads = [threading.Thread(target=load) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    del sys.modules["slow_module"]
    assert values == [1] * 5


@green
def test_the_import_lock_is_each_threads_own() -> None:
    import _imp

    order: list[str] = []

    def other() -> None:
        _imp.acquire_lock()
        order.append("other")
        _imp.release_lock()

    _imp.acquire_lock()
    _imp.acquire_lock()
    thread = threading.Thread(target=other)
    thread.start()
    let_others_park()
    assert in_thread(functools.partial(raises, _imp.release_lock))
    _imp.release_lock()
    time.sleep(0)
    order.append("mine")
    assert _imp.lock_held()
    _imp.release_lock()
    thread.join()
    assert order == ["mine", "other"]
    assert not _imp.lock_held()
