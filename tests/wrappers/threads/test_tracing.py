"""Who traces a program sees the program's frames, as C code has none."""

from __future__ import annotations

import bdb
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import capriccio_patch


@pytest.fixture
def untraced() -> Iterator[None]:
    """What traced before (a coverage tool) goes on afterwards."""
    before = sys.gettrace()
    yield
    sys.settrace(before)


Event = tuple[str, str]


def recorder(events: list[Event]) -> Callable[..., Any]:
    """A trace function that notes functions, by module and name, and what happens in them."""

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        events.append((f"{frame.f_globals['__name__']}.{frame.f_code.co_name}", event))
        return trace

    return trace


def program() -> None:
    time.sleep(0)
    lock = threading.Lock()
    with lock:
        pass
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
    numbers.put(1)
    numbers.get()
    with open(os.devnull, "rb") as file:
        file.read()
    os.stat(Path(os.curdir))
    near, far = socket.socketpair()
    near.sendall(b"x")
    far.recv(1)
    near.close()
    far.close()


def traced(events: list[Event]) -> list[Event]:
    sys.settrace(recorder(events))
    program()
    sys.settrace(None)
    return events


def test_the_events_are_those_of_stock(untraced: None, request: pytest.FixtureRequest) -> None:
    expected = traced([])
    request.getfixturevalue("patched")
    assert traced([]) == expected


def test_the_events_in_threads_are_those_of_stock(
    untraced: None, request: pytest.FixtureRequest
) -> None:
    def run() -> list[Event]:
        events: list[Event] = []
        threading.settrace(recorder(events))
        thread = threading.Thread(target=program)
        thread.start()
        thread.join()
        threading.settrace(None)  # type: ignore[arg-type]  # as documented
        return [each for each in events if each[0] == f"{__name__}.program"]

    expected = run()
    request.getfixturevalue("patched")
    assert run() == expected


@pytest.mark.skipif(not hasattr(threading, "settrace_all_threads"), reason="CPython 3.12")
def test_a_function_set_for_all_threads_sees_the_program_only(
    untraced: None, patched: None
) -> None:
    events: list[Event] = []
    threading.settrace_all_threads(recorder(events))
    program()
    threading.settrace_all_threads(None)
    assert events
    assert not [name for name, _ in events if name.startswith("capriccio_patch.")]


def test_nobody_is_told_that_tracing_ends(untraced: None, patched: None) -> None:
    testcapi = pytest.importorskip("_testcapi")
    if not hasattr(testcapi, "settrace_to_record"):
        pytest.skip("CPython 3.11.4")
    events: list[Any] = []

    def nothing() -> None: ...

    testcapi.settrace_to_record(events)
    nothing()
    sys.settrace(None)
    there = nothing.__code__.co_firstlineno
    assert {line for _, line, _ in events} <= {there, there + 2, there + 3, there + 4}


def test_the_function_that_was_set_is_told(untraced: None, patched: None) -> None:
    trace = recorder([])
    sys.settrace(trace)
    found = sys.gettrace()
    sys.settrace(None)
    assert found is trace
    assert sys.gettrace() is None


def test_tracing_goes_on_after_the_undo(untraced: None) -> None:
    capriccio_patch.patch_all()
    events: list[Event] = []
    trace = recorder(events)
    sys.settrace(trace)
    capriccio_patch.unpatch_all()
    found = sys.gettrace()
    events.clear()
    program()
    sys.settrace(None)
    assert found is trace
    assert (f"{__name__}.program", "call") in events


class Stepper(bdb.Bdb):
    """A debugger that steps through everything."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def user_line(self, frame: FrameType) -> None:
        self.lines.append(frame.f_globals["__name__"])
        self.set_step()


def test_a_debugger_does_not_step_into_what_is_c_code_in_stock(
    untraced: None, patched: None
) -> None:
    stepper = Stepper()
    stepper.runcall(program)
    assert stepper.lines
    assert not [name for name in stepper.lines if name.startswith("capriccio_patch.")]
