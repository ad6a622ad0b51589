"""What the table names is there, in Python and in C."""

from __future__ import annotations

from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.core import table
from capriccio_patch.kernel.core import Kernel

_core: Any = pytest.importorskip("capriccio_patch.core._core")

NAMED = [*table.KERNEL, *table.METHODS.values(), *table.BUILTINS.values()]


def test_every_function_of_c_is_used() -> None:
    assert set(_core.STAND_INS) == set(NAMED)


@pytest.mark.parametrize("name", table.KERNEL)
def test_the_kernel_has_the_method(name: str) -> None:
    assert callable(vars(Kernel)[name])


@pytest.mark.parametrize("name", [*table.METHODS, *table.BUILTINS])
def test_the_row_is_applied(name: str) -> None:
    __import__(name.partition(".")[0])
    capriccio_patch.patch_all()
    try:
        assert capriccio_patch.status()["how"][name] == "in place"
    finally:
        capriccio_patch.unpatch_all()
