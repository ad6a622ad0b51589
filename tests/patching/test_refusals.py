"""Calls that C refuses are refused in C's words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.patching import refusals
from capriccio_patch.patching.refusals import with_refusals
from capriccio_patch.wrappers.base import Patch

SCRIPT = Path(__file__).parents[1] / "isolated" / "odd_calls.py"

# They say things of their own, or are none of C's functions.
APART = {
    *("_socket.socket.timeout", "sys.settrace", "sys.setprofile"),
    *("sys._settraceallthreads", "sys._setprofileallthreads"),
    *("sys.__excepthook__", "sys.__unraisablehook__", "_thread._excepthook"),
    "_posixsubprocess.fork_exec",  # the number of its arguments is counted after they are read
    *("posix.posix_spawn", "posix.posix_spawnp", "posix.splice"),
}
NOT_IN_C = (
    "threading.",
    "queue.",
    "socket.",
    "traceback.",
    "asyncio.",
    "greenlet.",
    "_sqlite3.",
    "_ssl.",
)
LIST = """
import asyncio, fcntl, multiprocessing.synchronize, select, socket, sqlite3, ssl
import capriccio_patch
capriccio_patch.patch_all()
print(*capriccio_patch.status()["how"], sep="\\n")
"""


def calls(*args: str) -> Any:
    """What the script prints."""
    done = subprocess.run(
        [sys.executable, SCRIPT, *args],
        env={**os.environ, "PYTHONPATH": os.fspath(SCRIPT.parents[2])},
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_odd_calls_say_what_they_say_in_stock(tmp_path: Path) -> None:
    """Of all rows but those that are too fast to have anything before them."""
    listed = subprocess.run(
        [
            sys.executable,
            "-c",
            LIST,
        ],
        cwd=SCRIPT.parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    names = [
        name
        for name in listed.stdout.split()
        if not name.startswith((*refusals._TOO_FAST, *NOT_IN_C)) and name not in APART
    ]
    assert len(names) > 100
    (tmp_path / "names").write_text("\n".join(names))
    stock = calls(os.fspath(tmp_path / "names"))
    patched = calls(os.fspath(tmp_path / "names"), "patched")
    assert sum(map(len, stock.values())) > 1000
    differ = [
        (name, call, said, patched[name].get(call))
        for name, answers in stock.items()
        for call, said in answers.items()
        if said.partition(": ")[0] != "a" and patched[name].get(call) != said
    ]
    assert not differ, "\n".join(map(str, differ))


def made(replacement: Any, stock: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """`replacement`, which stands for the builtin or method `stock`, as the row has it then."""
    module = sys.modules["json"]
    path = "function"
    if isinstance(stock, type):
        monkeypatch.setattr(module, "Class", stock, raising=False)
        path = f"Class.{name}"
    else:
        monkeypatch.setattr(module, "function", stock, raising=False)
    (row,) = with_refusals([Patch("json", "json", path, replacement)], ())
    return row.replacement


def test_what_is_refused_before_a_line_has_run_is_asked_of_the_original(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[Any] = []

    def replacement(one: Any, /) -> Any:
        ran.append(one)
        if one is None:
            return len(one)
        raise TypeError("of the replacement's own")

    call = made(replacement, len, monkeypatch, "")
    with pytest.raises(
        TypeError, match=r"^len\(\) takes exactly one argument \(2 given\)$"
    ) as info:
        call(1, 2)
    assert info.value.__context__ is None
    assert ran == []
    with pytest.raises(TypeError, match="of the replacement's own"):
        call("x")
    with pytest.raises(TypeError, match="NoneType"):
        call(None)
    assert ran == ["x", None]


def test_an_object_of_another_class_is_asked_of_the_method(monkeypatch: pytest.MonkeyPatch) -> None:
    def replacement(self: Any) -> Any:
        return self.nothing

    call = made(replacement, list, monkeypatch, "clear")
    with pytest.raises(TypeError, match="doesn't apply to a 'dict' object"):
        call({})
    with pytest.raises(TypeError, match="needs an argument"):
        call()
    with pytest.raises(AttributeError, match="nothing"):
        call([])


def test_what_is_not_in_c_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def replacement() -> None:
        pass

    assert made(replacement, lambda: None, monkeypatch, "") is replacement
    assert made(SimpleNamespace, len, monkeypatch, "") is SimpleNamespace
    row = Patch("time", "time", "sleep", replacement)
    assert with_refusals([row], ())[0].replacement is replacement
    assert with_refusals([row], {"time.sleep"})[0].replacement is not replacement


def test_the_originals_are_found_behind_it(patched: None) -> None:
    assert capriccio_patch.original("os.fstat") is not os.fstat
    assert capriccio_patch.original("os.fstat")(0) == os.fstat(0)
