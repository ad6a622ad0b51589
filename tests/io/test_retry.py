"""Try, wait, retry: turns, deadlines, and what a failure leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from capriccio_patch.contracts.descriptor import Descriptor
from capriccio_patch.io import retry
from capriccio_patch.io.retry import EXPIRED


class Waits:
    """Turns that come at once, or never."""

    def __init__(self, in_time: bool = True) -> None:
        self.in_time = in_time
        self.waits: list[bool] = []
        self.passed_on = 0

    def wait_read(self, d: Descriptor, deadline: float | None, again: bool) -> bool:
        self.waits.append(again)
        d.can_read = True
        return self.in_time

    wait_write = wait_read

    def pass_on(self, d: Descriptor) -> None:
        self.passed_on += 1

    pass_on_write = pass_on


def attempts(*ends: Any) -> Callable[[], Any]:
    """Ends one after the other: errors are raised."""
    left = list(ends)

    def attempt() -> Any:
        end = left.pop(0)
        if isinstance(end, BaseException):
            raise end
        return end

    return attempt


BOTH = pytest.mark.parametrize("call", [retry.read, retry.write])


@BOTH
def test_what_fails_for_want_of_something_goes_back_to_the_head(call: Any) -> None:
    waits, d = Waits(), Descriptor(0)
    attempt = attempts(BlockingIOError(), BlockingIOError(), 7)
    assert call(waits, d, None, attempt) == 7
    assert waits.waits == [False, True, True]
    assert waits.passed_on == 0  # the caller does


@BOTH
def test_what_fails_for_good_passes_the_turn_on(call: Any) -> None:
    waits = Waits()
    with pytest.raises(ConnectionResetError) as raised:
        call(waits, Descriptor(0), None, attempts(BlockingIOError(), ConnectionResetError()))
    assert waits.passed_on == 1
    assert raised.value.__context__ is None


@BOTH
def test_a_deadline_that_passes_leaves_the_turn_to_others(call: Any) -> None:
    waits = Waits(in_time=False)
    assert call(waits, Descriptor(0), 1.0, attempts()) is EXPIRED
    assert waits.passed_on == 0


@BOTH
def test_a_number_that_was_closed_is_not_tried(call: Any) -> None:
    d = Descriptor(0)
    d.closed = True
    with pytest.raises(OSError, match="Bad file descriptor"):
        call(Waits(), d, None, attempts())


def test_who_reads_says_first_that_nothing_may_be_left() -> None:
    d = Descriptor(0)
    seen: list[bool] = []
    retry.read(Waits(), d, None, lambda: seen.append(d.can_read))  # type: ignore[arg-type]
    assert seen == [False]


def test_whose_turn_it_is_already_does_not_wait_for_it() -> None:
    waits: Any = Waits()
    assert retry.read(waits, Descriptor(0), None, attempts(1), woken=True) == 1
    assert waits.waits == []


def test_who_goes_on_writing_is_first() -> None:
    waits: Any = Waits()
    assert retry.write(waits, Descriptor(0), None, attempts(1), again=True) == 1
    assert waits.waits == [True]
