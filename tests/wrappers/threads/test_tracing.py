"""Who traces a program sees the program's frames, as C code has none."""

from __future__ import annotations

import bdb
import ctypes
import os
import queue
import signal
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
from capriccio_patch.cpython import originals


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


Setter = Callable[[list[FrameType] | None], None]
_append = ctypes.cast(ctypes.pythonapi.PyList_Append, ctypes.c_void_p)


def setter_of_c(kind: str) -> Setter:
    """What sets a function of C that appends each frame it is told of to a list.

    Told of one without the list it raises SystemError.
    """
    prototype = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.py_object)
    plain = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
    put = prototype((f"PyEval_Set{kind}", ctypes.pythonapi))
    remove = plain((f"PyEval_Set{kind}", ctypes.pythonapi))

    def set_function(frames: list[FrameType] | None) -> None:
        if frames is None:
            remove(None, None)
        else:
            put(_append, frames)

    return set_function


def functions(frames: list[FrameType]) -> set[str]:
    """The names of this module's functions among them."""
    return {each.f_code.co_name for each in frames if each.f_globals is globals()}


@pytest.mark.parametrize("kind", ["Trace", "Profile"])
def test_functions_of_c_see_their_own_thread_only(untraced: None, patched: None, kind: str) -> None:
    set_function = setter_of_c(kind)

    def in_one() -> None:
        time.sleep(0)
        set_function(frames_of["one"])
        for _ in range(5):
            mine_in_one()
        set_function(None)

    def in_other() -> None:
        set_function(frames_of["other"])
        for _ in range(5):
            mine_in_other()
        # Its thread ends with the function set.

    def mine_in_one() -> None:
        time.sleep(0.001)

    def mine_in_other() -> None:
        time.sleep(0.001)

    frames_of: dict[str, list[FrameType]] = {"one": [], "other": []}
    threads = [threading.Thread(target=each) for each in (in_one, in_other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "mine_in_one" in functions(frames_of["one"])
    assert "mine_in_other" in functions(frames_of["other"])
    assert "mine_in_other" not in functions(frames_of["one"])
    assert "mine_in_one" not in functions(frames_of["other"])


@pytest.mark.parametrize("kind", ["Trace", "Profile"])
def test_a_function_of_c_sees_the_handler_of_a_signal_in_a_wait(
    untraced: None, patched: None, kind: str
) -> None:
    set_function = setter_of_c(kind)

    def handler(signum: int, frame: FrameType | None) -> None:
        in_handler()

    def in_handler() -> None: ...

    def send() -> None:
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.01)

    before = signal.signal(signal.SIGUSR1, handler)
    frames: list[FrameType] = []
    thread = threading.Thread(target=send)
    try:
        set_function(frames)
        thread.start()
        thread.join()
        set_function(None)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "in_handler" in functions(frames)
    assert "send" not in functions(frames)


@pytest.mark.parametrize("kind", ["trace", "profile"])
def test_a_function_that_a_handler_sets_in_a_wait_is_its_thread_s(
    untraced: None, patched: None, kind: str
) -> None:
    events: list[Event] = []
    put = getattr(sys, f"set{kind}")

    def handler(signum: int, frame: FrameType | None) -> None:
        put(recorder(events))

    def send() -> None:
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.01)
        in_other()

    def in_other() -> None: ...

    def in_main() -> None: ...

    before = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=send)
    try:
        thread.start()
        thread.join()
        in_main()
    finally:
        put(None)
        signal.signal(signal.SIGUSR1, before)
    names = {name for name, _ in events}
    assert f"{__name__}.in_main" in names
    assert f"{__name__}.in_other" not in names


@pytest.mark.skipif(not hasattr(threading, "settrace_all_threads"), reason="CPython 3.12")
@pytest.mark.parametrize("kind", ["trace", "profile"])
@pytest.mark.parametrize("where", ["green", "os"])
def test_a_function_set_for_all_threads_is_set_for_those_that_wait(
    untraced: None, patched: None, kind: str, where: str
) -> None:
    events: list[Event] = []
    go_on = threading.Event()

    def run() -> None:
        go_on.wait()
        in_thread()

    def in_thread() -> None: ...

    put_all = getattr(sys, f"_set{kind}allthreads")
    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.001)
    if where == "green":
        put_all(recorder(events))
    else:
        call_on_os_thread(put_all, recorder(events))
    time.sleep(0.001)
    go_on.set()
    thread.join()
    put_all(None)
    assert (f"{__name__}.in_thread", "call") in events


def call_on_os_thread(function: Callable[..., Any], *args: Any) -> None:
    done = originals.allocate_lock()
    originals.lock_acquire(done)

    def run() -> None:
        try:
            function(*args)
        finally:
            originals.lock_release(done)

    originals.start_new_thread(run, ())
    originals.lock_acquire(done)


def test_an_exception_that_leaves_a_wrapper_is_traced(run_script: Any) -> None:
    """Its frames that nobody sees are asked for their events, too."""
    run_script(
        """
import os, sys, capriccio_patch
capriccio_patch.patch_all()
events = []
def trace(frame, event, argument):
    events.append(event)
    return trace
def program():
    try:
        os.stat("/does/not/exist")
    except FileNotFoundError:
        pass
for _ in range(3):
    sys.settrace(trace)
    program()
    sys.settrace(None)
assert events.count("exception") >= 3, events
if sys.version_info[:2] != (3, 12):  # that tells of the leaving of such a frame
    assert events.count("exception") == events.count("return") == 3, events
"""
    )


@pytest.mark.skipif(hasattr(sys, "monitoring"), reason="profilers go by another mechanism")
def test_a_profiler_counts_a_wait_once(untraced: None, patched: None) -> None:
    import cProfile
    import pstats

    profile = cProfile.Profile()
    profile.enable()
    for _ in range(3):
        time.sleep(0.05)
    profile.disable()
    total = pstats.Stats(profile).total_tt  # type: ignore[attr-defined]
    assert 0.14 < total < 0.29
