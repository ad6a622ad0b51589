"""A process that gevent or eventlet has patched is warned of."""

from __future__ import annotations

import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch import CapriccioWarning


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
