"""A greenlet belongs to one thread, and a thread's greenlet to no other thread."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import greenlet
import pytest

from tests import inside
from tests.conftest import green

pytestmark = pytest.mark.usefixtures("patched")


def in_turn(call: Callable[[int], Any], count: int = 4) -> list[Any]:
    """What a call returns in threads that come one after the other."""
    found: list[Any] = []
    for number in range(count):
        green(lambda number=number: found.append(call(number))).join()  # type: ignore[misc]
    return found


def test_what_is_kept_by_greenlet_is_each_threads_own() -> None:
    kept: dict[Any, int] = {}

    def visit(number: int) -> Any:
        mine = greenlet.getcurrent()
        before, kept[mine] = kept.get(mine), number
        return before

    assert in_turn(visit) == [None] * 4
    assert len(kept) == 4


def test_what_is_kept_weakly_by_greenlet_is_each_threads_own() -> None:
    kept: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def visit(number: int) -> Any:
        mine = greenlet.getcurrent()
        before, kept[mine] = kept.get(mine), number
        return before

    assert in_turn(visit) == [None] * 4


def test_attributes_of_a_greenlet_are_each_threads_own() -> None:
    def visit(number: int) -> Any:
        mine: Any = greenlet.getcurrent()
        before, mine.user = getattr(mine, "user", None), number
        return before

    assert in_turn(visit) == [None] * 4


def test_greenlets_that_nobody_knows_are_used_again() -> None:
    in_turn(lambda number: None, 10)
    assert 1 <= len(inside.applied().runtime.kernel.spare) <= 2


def suspended() -> Any:
    """A greenlet of the current thread, which has begun."""
    made = greenlet.greenlet(lambda: greenlet.getcurrent().parent.switch("first"))
    assert made.switch() == "first"
    return made


def test_a_greenlet_of_another_thread_is_not_switched_to() -> None:
    mine = suspended()
    not_begun = greenlet.greenlet(lambda: None)
    errors: list[str] = []

    def try_all() -> None:
        child = greenlet.greenlet(lambda: None, parent=mine)
        for change in (
            mine.switch,
            not_begun.switch,
            child.switch,
            threads_own.switch,
            lambda: mine.throw(ValueError),
        ):
            with pytest.raises(greenlet.error) as raised:
                change()
            errors.append(str(raised.value).partition("\n")[0])

    threads_own = greenlet.getcurrent()
    green(try_all).join()
    assert errors == ["Cannot switch to a different thread"] * 5
    assert mine.switch("second") == "second"
    assert mine.dead


def test_greenlets_of_one_thread_switch_as_ever() -> None:
    found: list[Any] = []

    def work() -> None:
        mine = suspended()
        threading.Event().wait(0.001)  # parks in between
        found.append(mine.switch(1, two=2))

        def waits() -> None:
            threading.Event().wait(0.001)  # parks in the greenlet
            greenlet.getcurrent().parent.switch("parked")

        found.append(greenlet.greenlet(waits).switch())
        failing = suspended()
        with pytest.raises(ValueError, match="thrown"):
            failing.throw(ValueError("thrown"))

    threads = [green(work) for _ in range(3)]
    for thread in threads:
        thread.join()
    assert found.count("parked") == 3
    assert found.count(((1,), {"two": 2})) == 3


def test_one_that_has_run_keeps_to_its_thread(patched: None) -> None:
    foreign: list[Any] = []
    made, over = threading.Event(), threading.Event()

    def other() -> None:
        foreign.append(greenlet.greenlet(lambda: None))
        foreign.append(greenlet.getcurrent())
        made.set()
        over.wait()

    thread = threading.Thread(target=other)
    thread.start()
    made.wait()
    mine = greenlet.getcurrent()
    begun = greenlet.greenlet(lambda: mine.switch("begun"))
    dead = greenlet.greenlet(lambda: None)
    new = greenlet.greenlet(lambda: "new")
    assert begun.switch() == "begun"
    dead.switch()
    for parent in foreign:
        for each in (begun, dead):
            with pytest.raises(ValueError, match="parent cannot be on a different thread"):
                each.parent = parent
            assert each.parent is mine
        new.parent = parent
        assert new.parent is parent
    new.parent = begun
    with pytest.raises(ValueError, match="cyclic parent chain"):
        begun.parent = new
    with pytest.raises(TypeError, match="Expected any type of greenlet"):
        begun.parent = None  # type: ignore[assignment]
    with pytest.raises(AttributeError, match="delete"):
        del begun.parent
    new.parent = mine
    assert new.switch() == "new"
    begun.switch()
    over.set()
    thread.join()
