"""What simple expressions in a frame stand for, and what its ``with`` blocks have entered."""

from __future__ import annotations

import sys
import threading
from typing import Any

from capriccio_patch.cpython.expressions import (
    UNKNOWN,
    Moment,
    acquired,
    attribute,
    called,
    entered,
    released,
)

LOCK = threading.Lock()


class Slotted:
    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Owner:
    def __init__(self) -> None:
        self.locks = [threading.Lock()]
        self.me = self

    @property
    def computed(self) -> Any:
        raise AssertionError("nothing is called")

    def what_is_called(self, *_: object) -> Any:
        return called(sys._getframe(1))


def inside() -> list[Any]:
    """What the caller's blocks have entered, the innermost first."""
    return [value for value, _ in entered(sys._getframe(1))]


def taken() -> list[Any]:
    return [value for value, _ in acquired(sys._getframe(1))]


def test_blocks_within_blocks() -> None:
    local, slotted = threading.Lock(), Slotted()
    with LOCK:
        with local, slotted.lock:
            for _ in range(1):
                try:
                    assert inside() == [slotted.lock, local, LOCK]
                finally:
                    assert inside() == [slotted.lock, local, LOCK]
        assert inside() == [LOCK]
    assert inside() == []


def test_in_a_handler_within_a_block() -> None:
    with LOCK:
        try:
            raise ValueError
        except ValueError as error:
            str(error)
            assert inside() == [LOCK]


def test_items_and_attributes_of_attributes() -> None:
    owner, number = Owner(), 0
    with owner.me.locks[number] as got:
        assert got
        assert inside() == owner.locks


def test_free_variables_and_what_is_renamed() -> None:
    lock = threading.Lock()

    def inner() -> list[Any]:
        with lock:
            return inside()

    assert inner() == [lock]


def test_what_must_be_called_is_not_known() -> None:
    locks = {"a": threading.Lock()}
    with locks.get("a") or LOCK:
        assert inside() == []


def test_the_line_is_that_of_the_block() -> None:
    with LOCK:
        line = sys._getframe().f_lineno - 1
        assert list(entered(sys._getframe())) == [(LOCK, line)]


def test_calls_of_acquire_and_release() -> None:
    first, second = threading.Lock(), threading.Lock()
    first.acquire()
    second.acquire(timeout=1)
    assert taken() == [first, second]
    first.release()
    assert taken() == [second]
    second.release()
    assert taken() == []


def test_passing_a_method_is_no_call_of_it() -> None:
    lock = threading.Lock()
    str(lock.acquire)
    assert taken() == []


def test_what_was_released() -> None:
    def so_far() -> list[Any]:
        return list(released(sys._getframe(1)))

    lock, other = threading.Lock(), threading.Lock()
    with lock, other:
        assert so_far() == []
        lock.release()
        assert so_far() == [lock]
        lock.acquire()


def test_what_is_called() -> None:
    owner = Owner()
    # Apart from the assertions: pytest rewrites those, and with them what they call.
    found = owner.me.what_is_called(1, len("a"))
    assert found is Owner.what_is_called
    found = (owner and owner.me).what_is_called()
    assert found is UNKNOWN


def test_what_was_called_at_a_moment() -> None:
    moments: list[Moment] = []

    def note(_: object) -> int:
        moments.append(Moment(sys._getframe(1)))
        return 0

    call: Any = sorted
    call([1], key=note)
    call = None
    assert called(moments[0]) is sorted
    sorted([1], key=note)
    assert called(moments[1]) is sorted


def test_attributes_are_read_and_not_computed() -> None:
    owner = Owner()
    assert attribute(owner, "me") is owner
    assert type(attribute(owner, "computed")) is property
    assert attribute(owner, "none") is UNKNOWN
    assert attribute(sys, "path") is sys.path
    slotted = Slotted()
    assert attribute(slotted, "lock") is slotted.lock
    del slotted.lock
    assert attribute(slotted, "lock") is UNKNOWN
    assert attribute(Owner, "computed") is Owner.__dict__["computed"]
