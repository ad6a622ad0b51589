"""A tool of the package's own, and what a callback lets run as if there were none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from capriccio_patch.cpython import thread_state
from capriccio_patch.cpython.monitoring import Callbacks, ToolId, event

monitoring: Any = getattr(sys, "monitoring", None)
pytestmark = pytest.mark.skipif(monitoring is None, reason="there are no events")


@pytest.fixture
def given_back() -> Iterator[list[ToolId]]:
    tools: list[ToolId] = []
    yield tools
    for tool in tools:
        tool.give_back()
    assert [monitoring.get_tool(number) for number in range(6)] == [None] * 6


def loop() -> None:
    for _ in range(3):
        pass


@pytest.mark.parametrize("name", ["JUMP", "PY_START", "INSTRUCTION"])
def test_what_a_callback_lets_run_is_in_none(given_back: list[ToolId], name: str) -> None:
    which = event(name)
    number = which.bit_length() - 1
    callbacks = Callbacks()
    seen: list[tuple[int, int]] = []

    def note() -> None:
        seen.append((callbacks._depth.value, callbacks._event.value))

    def came(*_: Any) -> None:
        note()
        callbacks.outside(number, note)
        note()

    tool = ToolId("of a test", {which: came})
    given_back.append(tool)
    assert tool.take()
    assert tool.set_events(loop.__code__, which)
    note()
    loop()
    note()
    assert tool.set_events(loop.__code__, 0)
    within = [(1, number), (0, -1), (1, number)]
    assert len(seen) > 3
    assert seen == [(0, -1), *within * ((len(seen) - 2) // 3), (0, -1)]


def test_it_is_traced_and_may_raise(given_back: list[ToolId]) -> None:
    callbacks = Callbacks()
    jump, number = event("JUMP"), event("JUMP").bit_length() - 1
    traced: list[str] = []

    def fails() -> None:
        raise KeyError

    def came(*_: Any) -> None:
        callbacks.outside(number, fails)

    def trace(frame: Any, *_: Any) -> None:
        traced.append(frame.f_code.co_name)

    tool = ToolId("of a test", {jump: came})
    given_back.append(tool)
    assert tool.take()
    assert tool.set_events(loop.__code__, jump)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(KeyError):
            loop()
    finally:
        sys.settrace(before)
        tool.set_events(loop.__code__, 0)
    assert "fails" in traced
    assert "came" not in traced
    assert thread_state.tracing_depth().value == 0


def test_a_field_that_holds_something_else_is_left_alone() -> None:
    callbacks = Callbacks()
    seen: list[int] = []
    callbacks._depth.value += 1
    callbacks.outside(3, lambda: seen.append(callbacks._event.value))
    callbacks._depth.value -= 1
    assert seen == [-1]
    assert callbacks._event.value == -1


def test_ids_of_known_tools_are_taken_last(given_back: list[ToolId]) -> None:
    numbers = []
    for _ in range(6):
        tool = ToolId("of a test", {})
        given_back.append(tool)
        assert tool.take()
        numbers.append(tool._number)
    assert numbers == [3, 4, 5, 2, 1, 0]
    assert not ToolId("of a test", {}).take()


def test_an_id_that_the_program_takes_away(given_back: list[ToolId]) -> None:
    tool = ToolId("of a test", {})
    given_back.append(tool)
    assert tool.take()
    monitoring.free_tool_id(3)
    assert not tool.set_events(loop.__code__, event("JUMP"))
    monitoring.use_tool_id(3, "another")
    assert not tool.take()  # its events are gone
    assert tool.take()
    assert tool._number == 4
    monitoring.free_tool_id(3)


def test_what_another_has_is_not_given_back(given_back: list[ToolId]) -> None:
    tool = ToolId("of a test", {})
    assert tool.take()
    monitoring.free_tool_id(3)
    monitoring.use_tool_id(3, "another")
    tool.give_back()
    assert monitoring.get_tool(3) == "another"
    monitoring.free_tool_id(3)
