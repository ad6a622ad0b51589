"""What the tests of the compiled core share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import capriccio_patch


@pytest.fixture
def in_c(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The patch in force, with C; skipped where there is none."""
    pytest.importorskip("capriccio_patch.core._core")
    monkeypatch.setenv("CAPRICCIO_CORE", "compiled")
    capriccio_patch.patch_all()
    yield
    capriccio_patch.unpatch_all()
