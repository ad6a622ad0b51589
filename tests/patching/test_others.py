"""A process that gevent or eventlet patches too is warned of."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch import CapriccioWarning
from tests.conftest import RunScript


@pytest.mark.parametrize(
    ("module", "patched", "call"),
    [
        ("gevent.monkey", {"saved": {"time": {}}}, r"gevent\.monkey\.patch_all\(\)"),
        ("eventlet.patcher", {"already_patched": {"time": True}}, r"eventlet\.monkey_patch\(\)"),
    ],
)
def test_one_that_is_in_force_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, module: str, patched: dict[str, Any], call: str
) -> None:
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**patched))  # type: ignore[arg-type]
    try:
        with pytest.warns(CapriccioWarning, match=f"{call} has patched") as caught:
            capriccio_patch.patch_all()
    finally:
        capriccio_patch.unpatch_all()
    assert caught[0].filename == __file__


def test_one_that_is_only_imported_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gevent.monkey", SimpleNamespace(saved={}))  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        capriccio_patch.patch_all()
    capriccio_patch.unpatch_all()


def test_one_that_has_replaced_what_is_needed_is_told_of(run_script: RunScript) -> None:
    run_script("""
        import sys, threading
        from types import SimpleNamespace
        sys.modules["gevent.monkey"] = SimpleNamespace(saved={"_thread": {}})
        active = threading.__dict__.pop("_active")
        try:
            import capriccio_patch
        except Exception as error:
            told = str(error)
        threading._active = active
        call = "gevent.monkey.patch_all()"
        assert told == f"{call} has patched this process: take that call out", told
    """)


LATER = """
import warnings
import capriccio_patch
warnings.simplefilter("always")
def patch():
    with warnings.catch_warnings(record=True) as caught:
        assert {call}("all", now=True) == (("all",), {{"now": True}})
    return [str(each.message) for each in caught if each.filename == __file__]
{first}
import {module}
capriccio_patch.patch_all()
told = "{call}() in a process that capriccio_patch has patched: "
assert [each.startswith(told) for each in patch()] == [True]
capriccio_patch.unpatch_all()
assert patch() == []
capriccio_patch.patch_all()
assert len(patch()) == 1
"""


FAKES = {
    "gevent/__init__.py": "",
    "gevent/monkey.py": "def patch_all(*args, **kwargs): return args, kwargs",
    "eventlet/__init__.py": "from eventlet.patcher import monkey_patch",
    "eventlet/patcher.py": "def monkey_patch(*args, **kwargs): return args, kwargs",
}


@pytest.mark.parametrize("first", ["", "capriccio_patch.patch_all()"])
@pytest.mark.parametrize("call", ["gevent.monkey.patch_all", "eventlet.monkey_patch"])
def test_one_that_comes_later_is_warned_of_as_well(
    run_script: RunScript, tmp_path: Path, environ: dict[str, str], call: str, first: str
) -> None:
    module = call.rpartition(".")[0]
    for path, text in FAKES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    program = LATER.format(call=call, module=module, first=first)
    run_script(program, env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{environ['PYTHONPATH']}"})
