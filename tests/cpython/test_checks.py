"""What this interpreter must be like, and that one which is not is left alone."""

from __future__ import annotations

import atexit
import gc
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.cpython import (
    checks,
    interpose,
    originals,
    standstill,
    suspended,
    thread_state,
)
from tests.conftest import RunScript


def _nothing(*args: Any) -> None:
    pass


def _not_found(*args: Any) -> Any:
    raise SystemError("a field was not found")


BROKEN: dict[str, tuple[tuple[Any, str, Any], ...]] = {
    "implementation": ((sys, "implementation", SimpleNamespace(name="other")),),
    "suspended frames": (
        (standstill, "IS_FREE_THREADED", True),
        (checks, "suspended", suspended),
        (suspended, "_is_seen", lambda: False),
    ),
    "standstill": (
        (standstill, "IS_FREE_THREADED", True),
        (standstill, "standstill", nullcontext()),
        (checks, "suspended", SimpleNamespace(show=_nothing)),
    ),
    "builtins": ((interpose, "clone", lambda builtin: builtin),),
    "methods": ((interpose, "MethodRedirect", lambda *args: SimpleNamespace(undo=_nothing)),),
    "types": ((interpose, "set_attribute", _nothing),),
    "references": ((interpose, "leak", _nothing),),
    "collector": ((originals, "RLockType", int),),
    "poll objects": ((interpose, "poll_registrations", lambda poll: {}),),
    "thread handles": ((interpose, "swap_thread_handles", _nothing),),
    "shared semaphores": ((interpose, "set_semlock_owner", _nothing),),
    "thread-local values": (
        (thread_state, "local_words", _nothing),
        (thread_state, "state_dict", dict),
    ),
    "lazy imports": ((thread_state, "lazy_imports", lambda: {1}),),
    "trace functions": ((thread_state, "trace_words", lambda: [1, 1, 1, 1]),),
    "depth of tracing": ((thread_state, "tracing_depth", _not_found),),
    "frames": ((thread_state, "frame_reader", lambda: _nothing),),
    "exit callbacks": ((atexit, "unregister", _nothing),),
}
"""By name of a check: what is put in the place of what it relies on."""


def test_this_interpreter_passes() -> None:
    checks._passed.clear()
    assert checks.refusal() is None
    assert checks._passed == set(checks.CHECKS)


def test_every_check_is_broken_below() -> None:
    assert list(BROKEN) == list(checks.CHECKS)


@pytest.mark.parametrize("name", BROKEN)
def test_one_that_fails_is_named_and_nothing_is_taken_over(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "thread handles" and not hasattr(originals, "ThreadHandleType"):
        pytest.skip("this Python has none")
    monkeypatch.setattr(checks, "_passed", set())
    before = repr(time.sleep)
    for owner, attribute, value in BROKEN[name]:
        monkeypatch.setattr(owner, attribute, value, raising=False)
    with pytest.raises(capriccio_patch.PatchError, match=f"can't be patched: {name}: ."):
        capriccio_patch.patch_all()
    assert repr(time.sleep) == before
    assert capriccio_patch.status() == {"patched": False}
    monkeypatch.undo()
    capriccio_patch.patch_all()
    capriccio_patch.unpatch_all()


@pytest.mark.parametrize("name", checks.CHECKS)
def test_nothing_is_left_of_a_check(name: str) -> None:
    check: Callable[[], str | None] = checks.CHECKS[name]
    check()
    gc.collect()
    allocated = sys.getallocatedblocks()
    for _ in range(100):
        check()
    gc.collect()
    # A build without the GIL keeps some of each class that ends.
    assert sys.getallocatedblocks() < allocated + (500 if standstill.IS_FREE_THREADED else 50)


def test_a_layout_that_turns_out_wrong_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capriccio_patch.api, "Watchdog", _not_found)
    with pytest.raises(capriccio_patch.PatchError, match="a field was not found") as caught:
        capriccio_patch.patch_all()
    assert isinstance(caught.value.__cause__, SystemError)


@pytest.mark.parametrize(
    ("absent", "named"),
    [
        ("import _thread; del _thread._count", "_count"),
        ("import _queue; del _queue.SimpleQueue", "SimpleQueue"),
        ("import sys; sys.modules['_queue'] = None", "_queue"),
        ("import posix; del posix.pread", "pread"),
    ],
)
def test_a_name_that_is_absent(run_script: RunScript, absent: str, named: str) -> None:
    done = run_script(f"{absent}\nimport capriccio_patch", status=1)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("capriccio_patch.errors.PatchError: this Python can't be patched: names")
    assert named in last
