"""Threads are named as threading does."""

from __future__ import annotations

import sys
import threading

import pytest

from capriccio_patch.cpython.thread_names import thread_name


def test_a_thread_of_threading() -> None:
    assert thread_name(threading.get_ident()) == repr(threading.current_thread())


def test_a_raw_thread() -> None:
    assert thread_name(0x123) == "<thread 0x123>"


def test_threading_is_not_imported_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "threading")
    assert thread_name(0x123) == "<thread 0x123>"
    assert "threading" not in sys.modules
