"""Where a running thread may be switched away from."""

from __future__ import annotations

import dis
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.preemption.safe_point import Point, follows_call, is_await, point
from tests.preemption.conftest import started

TORTURE = Path(__file__).resolve().parent.parent / "isolated" / "torture.py"
SCHEDULERS = capriccio_patch.known_schedulers()
pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGRTMAX") and not hasattr(signal, "SIGEMT"),
    reason="no signal number to spare",
)


def test_own_code_and_importlib_put_the_tick_off() -> None:
    def here() -> FrameType:
        return sys._getframe()

    frame = here()
    assert point(frame) is Point.SOON  # at a call
    assert point(None) is Point.SOON

    modules = "program", "capriccio_patch.wrappers.threads.locks", "importlib._bootstrap"
    where: dict[str, Point] = {}

    def tick(signum: int, frame: FrameType | None) -> None:
        assert frame is not None
        where[frame.f_globals["__name__"]] = point(frame)

    def made_in(module: str) -> Any:
        spec = getattr(sys.modules.get(module), "__spec__", None)
        names: dict[str, Any] = {"__name__": module, "__spec__": spec, "where": where}
        exec("def spin():\n    while __name__ not in where: pass\n", names)
        return names["spin"]

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for module in modules:
            made_in(module)()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    # A tick that was late has found others.
    assert [where[module] for module in modules] == [Point.SAFE, Point.SOON, Point.SOON]


def ticked(function: Callable[[Callable[[], bool]], None]) -> Point:
    """What `point` says of code that asks again and again whether it is to stop."""
    found: list[Point] = []
    asked = False

    def stop() -> bool:
        nonlocal asked
        asked = True
        return bool(found)

    def tick(signum: int, frame: FrameType | None) -> None:
        where = point(frame)
        if asked and where is not Point.SOON:
            found.append(where)

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        function(stop)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return found[0]


def test_a_finalizer_in_the_middle_of_a_wrapper_is_not_switched_away_from() -> None:
    names: dict[str, Any] = {"__name__": "capriccio_patch.wrappers.threads.simple_queue"}
    exec("def wrapper(call):\n    call()\n", names)

    def program(stop: Callable[[], bool]) -> None:
        while not stop():
            pass

    assert ticked(program) is Point.SAFE
    assert ticked(lambda stop: names["wrapper"](lambda: program(stop))) is Point.NOT_NOW


def test_a_thread_near_the_limit_of_recursion_is_not_switched_away_from() -> None:
    def deep(stop: Callable[[], bool], calls: int) -> None:
        if calls:
            deep(stop, calls - 1)
        while not calls and not stop():
            pass

    def room() -> int:
        try:
            return 1 + room()
        except RecursionError:
            return 0

    spare = 20  # for the handler; less than a switch may need
    assert ticked(lambda stop: deep(stop, room() - spare)) is Point.NOT_NOW


def test_a_trace_function_is_not_switched_away_from(patched: None) -> None:
    """The others would not be traced."""
    stopped = False
    turns = interrupted = 0

    def other() -> None:
        nonlocal turns
        while not stopped:
            turns += 1

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal interrupted
        before = turns
        for _ in range(50):
            pass
        interrupted += turns != before
        return trace

    def compute() -> None:
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            pass

    sys.setswitchinterval(0.0005)
    threads = started(other)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        compute()
    finally:
        sys.settrace(before)
        stopped = True
        threads[0].join()
        sys.setswitchinterval(0.005)
    assert turns
    assert not interrupted


def test_modules_are_seen_whole(run_script: Any, tmp_path: Path) -> None:
    (tmp_path / "slow_module.py").write_text(
        "total = 0\nfor i in range(300_000):\n    total += i\nclass Done: value = total\n"
    )
    run_script(
        """
        import sys, threading, time
        import capriccio_patch
        capriccio_patch.patch_all(slice=0.001)
        sys.path.insert(0, sys.argv[1])
        seen = []
        def load():
            import slow_module
            seen.append(slow_module.Done.value)
        threads = [threading.Thread(target=load) for _ in range(5)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert seen == [sum(range(300_000))] * 5, seen
        """,
        str(tmp_path),
    )


# The seeded one preempts after a second at the earliest.
@pytest.mark.parametrize("scheduler", [name for name in SCHEDULERS if name != "random"])
def test_every_kind_of_code_survives_many_preemptions(run_script: Any, scheduler: str) -> None:
    done = run_script(TORTURE, "2", "0.0002", env={"CAPRICCIO_SCHEDULER": scheduler})
    preemptions = int(done.stdout.split()[0])
    assert preemptions > 100


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no events to ask it at")
def test_where_a_call_returns_to() -> None:
    found: list[tuple[int | None, int]] = []

    def callee(*_: Any, **named: Any) -> None:
        frame = sys._getframe(1)
        found.append((follows_call(frame), frame.f_lasti))

    def caller() -> None:
        callee()
        callee(*found)
        callee(1, named=2)
        sorted([1], key=callee)

    caller()
    starts = [each.offset for each in dis.get_instructions(caller)]
    behind = [next(each for each in starts if each > at) for _, at in found]
    assert [place for place, _ in found] == behind
    assert len(set(behind)) == 4

    def in_none() -> FrameType:
        return sys._getframe()

    assert follows_call(in_none()) is None


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no events to ask it at")
def test_what_goes_on_after_an_await() -> None:
    async def waits(other: Any) -> None:
        await other

    def delegates(other: Any) -> Iterator[int]:
        yield from other

    def yields() -> Iterator[int]:
        yield 1

    def found(function: Any) -> list[bool]:
        code = function.__code__
        resumes = [each.offset for each in dis.get_instructions(code) if each.opname == "RESUME"]
        return [is_await(code, at) for at in resumes]

    assert found(waits) == [False, True]
    assert found(delegates) == [False, True]
    assert found(yields) == [False, False]
