"""Whose references are not counted without the GIL."""

from __future__ import annotations

import ctypes
from types import FunctionType
from typing import Any

import pytest

from capriccio_patch.cpython import originals, shared_counts
from capriccio_patch.cpython.standstill import has_gil
from capriccio_patch.wrappers.threads.locks import leaver

NAME = "PyUnstable_Object_EnableDeferredRefcount"


class Enable:
    """Notes what it is called with, as the function of C would be."""

    argtypes: list[Any]

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, each: Any) -> int:
        self.seen.append(each)
        return 1

    def has(self, found: object) -> bool:
        return any(each is found for each in self.seen)


@pytest.fixture
def enable(monkeypatch: pytest.MonkeyPatch) -> Enable:
    made = Enable()
    monkeypatch.setattr(ctypes.pythonapi, NAME, made, raising=False)
    return made


def test_nothing_with_the_gil(enable: Enable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_counts, "has_gil", lambda: True)
    shared_counts.defer()
    assert not enable.seen


def test_functions_of_the_package(enable: Enable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_counts, "has_gil", lambda: False)
    inner = leaver(print)
    assert isinstance(inner, FunctionType)
    shared_counts.defer()
    assert enable.has(inner)
    assert inner.__closure__ is not None
    assert enable.has(inner.__closure__[0])
    assert enable.has(print)  # what it has there is called as well
    assert enable.has(originals.get_ident)


def test_what_is_the_programs_is_left_alone(
    enable: Enable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_counts, "has_gil", lambda: False)
    shared_counts.defer()
    assert not enable.has(test_nothing_with_the_gil)


@pytest.mark.skipif(has_gil(), reason="needs a build without the GIL")
def test_it_is_done() -> None:
    inner = leaver(print)
    shared_counts.defer()
    enable = getattr(ctypes.pythonapi, NAME)
    assert not enable(ctypes.py_object(inner))  # it was already
