"""Names of what a thread waits for, as the code that waits has them."""

from __future__ import annotations

import sys
import threading
from types import FrameType
from typing import Any

import pytest

from capriccio_patch.diagnosis.naming import variable_of

of_the_module = threading.Lock()
by_key = {"a": threading.Lock(), 2: threading.Lock()}


class Account:
    """Has a lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.frame: FrameType | None = None

    def look(self) -> FrameType:
        return sys._getframe()

    @property
    def secret(self) -> Any:
        raise AssertionError("nothing of the program is called")


def here() -> FrameType:
    here = threading.Lock()
    return sys._getframe() if here else None  # type: ignore[return-value]


account = Account()
frame = here()


@pytest.mark.parametrize(
    ("where", "thing", "name"),
    [
        (frame, frame.f_locals["here"], "here"),
        (frame, of_the_module, "of_the_module"),
        (frame, by_key["a"], "by_key['a']"),
        (frame, by_key[2], "by_key[2]"),
        (frame, account.lock, "account.lock"),
        (account.look(), account.lock, "self.lock"),
        (frame, object(), ""),
        (frame, None, ""),
        (None, of_the_module, ""),
    ],
)
def test_a_name(where: FrameType | None, thing: Any, name: str) -> None:
    assert variable_of(where, thing) == name
