"""What tests of schemes share."""

from __future__ import annotations

import select

import pytest

from capriccio_patch.cpython import originals
from tests.fakes import kqueue


@pytest.fixture
def fake_kqueue(monkeypatch: pytest.MonkeyPatch) -> type[kqueue.kqueue]:
    """``select`` has a kqueue, if it has none of its own."""
    if not hasattr(select, "kqueue"):
        for name, value in kqueue.CONSTANTS.items():
            monkeypatch.setattr(select, name, value, raising=False)
        monkeypatch.setattr(select, "kqueue", kqueue.kqueue, raising=False)
        monkeypatch.setattr(select, "kevent", kqueue.kevent, raising=False)
        monkeypatch.setattr(originals, "kqueue_control", kqueue.kqueue.control, raising=False)
        monkeypatch.setattr(originals, "kqueue_close", kqueue.kqueue.close, raising=False)
    return kqueue.kqueue
