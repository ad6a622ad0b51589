"""Which shared library a function of C comes from."""

from __future__ import annotations

import ctypes
import time
import zlib
from typing import Any

import greenlet
import pytest

from capriccio_patch.cpython.libraries import library_of


def test_an_extension_has_a_file() -> None:
    text = library_of(greenlet.getcurrent)
    assert text.startswith("greenlet._greenlet.getcurrent of ")
    assert text.endswith((".so", ".dylib"))


def test_what_is_built_in_has_a_name() -> None:
    assert library_of(time.sleep).startswith("time.sleep")
    assert "crc32" in library_of(zlib.crc32)
    assert "append" in library_of([].append)
    assert "append" in library_of(list.append)


def test_a_function_of_a_library_is_found_by_its_address() -> None:
    function = ctypes.CDLL(None).usleep
    assert library_of(function).startswith("usleep of ")


@pytest.mark.parametrize("function", [test_what_is_built_in_has_a_name, None, 3, object])
def test_anything_else_has_none(function: Any) -> None:
    assert library_of(function) == ""
