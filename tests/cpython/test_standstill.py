"""A build without the GIL: what must not run beside it stands still.

Where this interpreter has a GIL, only what is the same for both is tested.
"""

from __future__ import annotations

import _thread
import gc
import socket
import sys
import time
from typing import Any, Self

import pytest

import capriccio_patch
from capriccio_patch.cpython import checks, originals, standstill, thread_state
from capriccio_patch.io import os_threads
from tests.conftest import RunScript

free_threaded = pytest.mark.skipif(
    standstill.has_gil(), reason="this interpreter has a GIL: see PYTHONS in the Makefile"
)


class Counting:
    """An OS thread that counts, with some frames above it, until it is left."""

    def __enter__(self) -> Self:
        self.turns = 0
        self.over = False
        self.state = originals.allocate_lock()
        self.state.acquire()
        self.read: Any = None
        originals.start_new_thread(self._run, ())
        while self.turns < 100:
            time.sleep(0.001)
        return self

    def __exit__(self, *_: object) -> None:
        self.over = True
        assert self.state.acquire(timeout=10)

    def _run(self) -> None:
        self.read = thread_state.frame_reader()
        while not self.over:
            self._count(5)
        self.state.release()

    def _count(self, depth: int) -> None:
        if depth:
            self._count(depth - 1)
        self.turns += 1


@free_threaded
def test_others_stand_still() -> None:
    with Counting() as other:
        for _ in range(50):
            with standstill.standstill:
                turns = other.turns
                for _ in range(1000):
                    assert other.turns == turns
                assert not gc.isenabled()
            assert gc.isenabled()
        while other.turns == turns:
            pass


@free_threaded
def test_what_was_due_before_does_not_come_within(run_script: RunScript) -> None:
    """An OS thread that was asked to stand still, and did so in a wait, is yet to be told."""
    run_script("""
import gc
from capriccio_patch.cpython import standstill
stop, stops = standstill.standstill._stop, 0
def stop_late(interpreter):
    global stops
    stop(interpreter)
    stops += 1
    if stops == 1:
        word[0] |= standstill._STOP
    elif stops == 2:
        word[0] |= standstill._COLLECTION
word = standstill._word()
standstill.standstill._stop = stop_late
with standstill.standstill:
    assert stops == 3
assert gc.isenabled()
""")


@free_threaded
def test_no_tool_is_told_of_what_is_done_within(run_script: RunScript) -> None:
    """One that wants to hear no more of a place has the others stop."""
    run_script("""
import sys
from capriccio_patch.cpython import standstill
monitoring = sys.monitoring
monitoring.use_tool_id(2, "all")
events = monitoring.events
wanted = (events.LINE, events.CALL, events.JUMP, events.BRANCH_LEFT, events.BRANCH_RIGHT)
for event in wanted:
    monitoring.register_callback(2, event, lambda *_: monitoring.DISABLE)
monitoring.set_events(2, sum(wanted))
for _ in range(3):
    with standstill.standstill:
        [len(each) for each in ("", "a")]
monitoring.set_events(2, 0)
""")


def names_of(frame: Any) -> list[str]:
    names = []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


def test_the_frames_of_a_thread_that_runs_are_read() -> None:
    with Counting() as other:
        while other.read is None:
            pass
        found: set[int] = set()
        turns = 0
        while not (found >= {1, 6} and turns > (100 if standstill.has_gil() else 2000)):
            names = other.read(names_of) or ["_run"]
            assert names[-1] == "_run"
            found.add(names.count("_count"))
            turns += 1
            time.sleep(0.0001)  # the GIL is given away nowhere else


@free_threaded
def test_what_audit_hooks_are_told_of_is_not_done(run_script: RunScript) -> None:
    """A hook may wait for an OS thread that stands still."""
    run_script("""
import sys
from capriccio_patch.cpython import originals, thread_state
read = thread_state.frame_reader()
found = []
def look():
    found.append(read(lambda frame: True))
def in_os_thread():
    before = len(found)
    originals.start_new_thread(look, ())
    while len(found) == before:
        pass
in_os_thread()
sys.addaudithook(lambda *_: None)
in_os_thread()
assert found == [True, None] and read(lambda frame: True), found
""")


def test_other_os_threads_are_in_the_way_without_the_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standstill, "has_gil", lambda: False)
    with Counting():
        with pytest.raises(capriccio_patch.PatchError, match="while other OS threads run: 1 do"):
            capriccio_patch.patch_all()
        assert capriccio_patch.status() == {"patched": False}
        monkeypatch.undo()
        assert standstill.has_gil() == (checks.unsafe_now(()) is None)
    while _thread._count():
        pass
    capriccio_patch.patch_all()
    capriccio_patch.unpatch_all()


def test_full_collections_are_counted() -> None:
    before = standstill.full_collections()
    gc.collect()
    counted = standstill.full_collections() - before
    gc.collect(0)
    young = standstill.full_collections() - before - counted
    assert (counted, young) == ((1, 1) if standstill.IS_FREE_THREADED else (1, 0))


def test_status_tells_of_the_gil(patched: None) -> None:
    enabled: Any = getattr(sys, "_is_gil_enabled", lambda: True)
    assert capriccio_patch.status()["gil"] is enabled()


@free_threaded
def test_threads_of_a_patched_program(run_script: RunScript) -> None:
    done = run_script("""
import capriccio_patch, queue, sys, threading, time
capriccio_patch.patch_all()
assert not sys._is_gil_enabled() and capriccio_patch.status()["failed"] == {}
lock, counted, found = threading.Lock(), 0, queue.Queue()
def work(number):
    global counted
    for _ in range(20):
        with lock:
            now = counted
            time.sleep(0)
            counted = now + 1
    found.put(number)
threads = [threading.Thread(target=work, args=(n,)) for n in range(200)]
for each in threads: each.start()
for each in threads: each.join()
assert counted == 4000 and sorted(found.get() for _ in threads) == list(range(200))
print("over", sys._is_gil_enabled())
""")
    assert done.stdout == "over False\n"


def test_idle_workers_are_not_in_the_way_without_the_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standstill, "has_gil", lambda: False)
    for _ in range(3):
        capriccio_patch.patch_all()
        socket.getaddrinfo("localhost", 80)
        capriccio_patch.unpatch_all()
        assert _thread._count() >= 1
    while _thread._count() > len(os_threads.resting):
        pass


@free_threaded
@pytest.mark.parametrize("gil", ["0", "1"])
def test_beside_imports_of_modules_in_c(run_script: RunScript, gil: str) -> None:
    """The interpreter has the GIL while it makes one: who has it must not be stopped."""
    script = """
    import threading, time
    from importlib.machinery import BuiltinImporter
    from importlib.util import module_from_spec
    from capriccio_patch.cpython.standstill import standstill

    def imports():
        while not over:
            module_from_spec(BuiltinImporter.find_spec("errno"))
            made.append(1)

    over, made, count = False, [], 0
    threads = [threading.Thread(target=imports) for _ in range(3)]
    for each in threads:
        each.start()
    end = time.monotonic() + 1
    while time.monotonic() < end:
        with standstill:
            [number for number in range(500)]
        count += 1
    over = True
    for each in threads:
        each.join()
    print(count > 10, len(made) > 10)
    """
    assert run_script(script, env={"PYTHON_GIL": gil}).stdout == "True True\n"
