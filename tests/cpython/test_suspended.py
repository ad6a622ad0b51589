"""What suspended greenlets refer to is no garbage, with the GIL and without it."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from capriccio_patch import cpython
from capriccio_patch.cpython import suspended
from tests.conftest import RunScript


def test_it_is_seen() -> None:
    assert suspended.show() is None


def test_who_does_not_see_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "capriccio_patch.cpython._suspended", None)
    monkeypatch.delattr(cpython, "_suspended", raising=False)
    monkeypatch.setattr(suspended, "_is_seen", lambda: False)
    reason = suspended.show()
    assert reason is not None
    assert "garbage" in reason
    assert "_suspended" in reason


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("where", ["local", "argument", "generator", "stack"])
def test_what_only_a_waiting_thread_has(run_script: RunScript, where: str, frozen: bool) -> None:
    uses: dict[str, Any] = {
        "local": "made = make(); wait(); use(made)",
        "argument": "(lambda made: (wait(), use(made)))(make())",
        "generator": "[*(use(made) for made in [make()] if wait() or True)]",
        "stack": "[make(), wait()][0]().told()",
    }
    script = f"""
    import gc, threading, time
    from types import ModuleType
    import capriccio_patch
    capriccio_patch.patch_all()
    if {frozen}:
        gc.freeze()

    def make():
        class Made:
            def told(self):
                seen.append(self)
        return Made

    def wait():
        go_on.wait(30)

    def use(made):
        made().told()

    def run():
        {uses[where]}

    go_on, seen = threading.Event(), []
    threads = [threading.Thread(target=run) for _ in range(20)]
    for each in threads:
        each.start()
    time.sleep(0.05)
    for _ in range(3):
        gc.collect()
        others = [type(f"Other{{number}}", (), {{}}) for number in range(1000)]
    go_on.set()
    for each in threads:
        each.join()
    print(len(seen), {{type(each).__name__ for each in seen}})
    """
    assert run_script(script).stdout == "20 {'Made'}\n"
