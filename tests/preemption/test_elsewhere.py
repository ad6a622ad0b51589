"""A thread that computes steps aside on any OS thread, and others' use of events goes on."""

from __future__ import annotations

import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, repeat
from typing import Any

import pytest

from capriccio_patch.backends.sockets.select import SelectBackend
from capriccio_patch.cpython import frames, originals, thread_state
from capriccio_patch.errors import ThreadsBlocked
from capriccio_patch.io import os_threads
from capriccio_patch.kernel import lifecycle
from capriccio_patch.kernel.core import Kernel
from capriccio_patch.preemption import elsewhere
from capriccio_patch.preemption.elsewhere import Elsewhere
from capriccio_patch.preemption.watchdog import Watchdog
from capriccio_patch.schedulers.fifo import FifoScheduler
from tests.preemption.conftest import started

monitoring: Any = getattr(sys, "monitoring", None)
pytestmark = pytest.mark.skipif(monitoring is None, reason="there are no events")

ENOUGH = 30.0
"""Seconds."""
SLICE = 0.005


class Processor:
    """A kernel on an OS thread of its own that runs some green threads, with a watchdog."""

    def __init__(self, slice_: float = SLICE, limit: float = 0.0) -> None:
        self._times = slice_, limit
        self._results: list[Any] = []
        self._error: BaseException | None = None
        self._ended: Any = originals.allocate_lock()
        self.kernel: Kernel
        self.preemption: Any

    def run(self, *calls: Callable[[], Any]) -> list[Any]:
        """What the calls have returned or raised."""
        self.start(*calls)
        return self.ended()

    def start(self, *calls: Callable[[], Any]) -> None:
        self._results = [None] * len(calls)
        originals.lock_acquire(self._ended)
        os_threads.start(self._run, (calls,))

    def ended(self) -> list[Any]:
        assert originals.lock_acquire(self._ended, True, ENOUGH), "it goes on"
        if self._error is not None:
            raise self._error
        return self._results

    def _run(self, calls: tuple[Callable[[], Any], ...]) -> None:
        try:
            backend = SelectBackend()
            backend.init()
            self.kernel = kernel = Kernel(backend, FifoScheduler())
            watchdog = Watchdog(kernel, *self._times, "raise", preemption=Elsewhere)
            self.preemption = watchdog.preemption
            watchdog.start()
            left = len(calls)

            def thread(number: int, call: Callable[[], Any]) -> Callable[[], None]:
                @frames.entry
                def run() -> None:
                    nonlocal left
                    try:
                        self._results[number] = call()
                    except BaseException as error:
                        self._results[number] = error
                    left -= 1
                    if not left:
                        kernel.resume(main)

                return run

            main = kernel.begin()
            for number, call in enumerate(calls):
                kernel.spawn(thread(number, call))
            kernel.park(main)
            watchdog.stop()
            lifecycle.end(kernel)
            backend.close()
        except BaseException as error:
            self._error = error
        finally:
            originals.lock_release(self._ended)


class Flag:
    """What a thread waits for without letting others run."""

    def __init__(self) -> None:
        self.seen = self.is_set = False
        self._until = originals.monotonic() + ENOUGH / 2

    def set(self) -> None:
        self.is_set = True

    def __bool__(self) -> bool:
        """Whether somebody has set it, or it is too late."""
        self.seen = self.is_set
        return self.is_set or originals.monotonic() > self._until


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert not elsewhere._tool._set
    assert not elsewhere._tool._users
    if monitoring is not None:
        assert [monitoring.get_tool(tool) for tool in range(6)] == [None] * 6


@pytest.fixture
def tool() -> Iterator[int]:
    """An id of a tool of the program's."""
    monitoring.use_tool_id(monitoring.COVERAGE_ID, "another")
    yield monitoring.COVERAGE_ID
    for event in ("JUMP", "LINE", "PY_START"):
        monitoring.register_callback(
            monitoring.COVERAGE_ID, getattr(monitoring.events, event), None
        )
    monitoring.set_events(monitoring.COVERAGE_ID, 0)
    monitoring.free_tool_id(monitoring.COVERAGE_ID)


# -- what is reached -------------------------------------------------------------------------


def spins(flag: Flag) -> None:
    while not flag:
        pass


def spins_without_a_call(flag: Flag) -> None:
    while not flag.is_set:
        pass


def iterates(flag: Flag) -> None:
    for _ in count():
        if flag:
            return


def recurses(flag: Flag) -> None:
    def down(depth: int) -> int:
        return down(depth - 1) + down(depth - 1) if depth and not flag else 1

    for _ in repeat(None):
        if flag:
            return
        down(12)


def recurses_deeply(flag: Flag) -> None:
    def down(depth: int) -> int:
        return down(depth - 1) + 1 if depth else 0

    while not flag:
        down(300)


def generates(flag: Flag) -> None:
    def tries() -> Iterator[bool]:
        while True:
            yield bool(flag)

    any(tries())


def comprehends(flag: Flag) -> None:
    while not flag:
        assert len([x * y for x in range(30) for y in range(30)]) == 900


def compares(flag: Flag) -> None:
    number = 0
    while 0 <= number < 10**12 and number != -1 and not flag:
        number += 1


def calls_functions(flag: Flag) -> None:
    def outer() -> int:
        return inner() + inner()

    def inner() -> int:
        return 1

    while not flag:
        outer()


def is_called_back(flag: Flag) -> None:
    def is_not_set(_: None) -> bool:
        return not flag

    assert not all(map(is_not_set, repeat(None)))


def handles_exceptions(flag: Flag) -> None:
    while True:
        try:
            if flag:
                return
            raise ValueError
        except ValueError:
            continue


def awaits(flag: Flag) -> None:
    async def is_set() -> bool:
        return bool(flag)

    async def wait() -> None:
        while not await is_set():
            pass

    with pytest.raises(StopIteration):
        wait().send(None)


def calls_one_after_the_other(flag: Flag) -> None:
    names: dict[str, Any] = {"flag": flag}
    exec("".join(f"def f{each}(): return not flag\n" for each in range(200)), names)
    calls = "".join(f" f{each}() and" for each in range(200))
    exec(f"def all_of_them():\n return {calls} True", names)
    assert not all(f() for f in repeat(names["all_of_them"]))


HOGS = [
    *(spins, spins_without_a_call, iterates, recurses, recurses_deeply, generates, comprehends),
    *(compares, calls_functions, is_called_back, handles_exceptions, awaits),
    calls_one_after_the_other,
]


@pytest.mark.parametrize("hog", HOGS)
def test_a_thread_that_computes_lets_others_run(hog: Callable[[Flag], None]) -> None:
    flag = Flag()
    try:
        Processor().run(lambda: hog(flag), flag.set)
    finally:
        flag.set()
    assert flag.seen or hog is spins_without_a_call


def test_functions_that_are_each_called_once() -> None:
    """No loop is in Python, and what starts is not what runs when somebody looks."""
    seen: list[str] = []
    names: dict[str, Any] = {"seen": seen}
    function = "def f{}():\n sum(range(10_000))\n return seen\n"
    exec("".join(function.format(each) for each in range(20_000)), names)
    calls = "".join(f" f{each}() or" for each in range(20_000))
    exec(f"def straight():\n return {calls} []", names)
    found, _ = Processor().run(names["straight"], lambda: seen.append("other"))
    assert found == ["other"]


@pytest.mark.parametrize("number", [2, 3])
def test_several_kernels_run_the_same_code(number: int) -> None:
    flags = [Flag() for _ in range(number)]
    processors = [Processor() for _ in flags]
    for flag, processor in zip(flags, processors, strict=True):
        processor.start(partial(spins, flag), flag.set)
    for processor in processors:
        processor.ended()
    assert all(flag.seen for flag in flags)


@pytest.mark.skipif(not hasattr(signal, "SIGRTMAX"), reason="no signal number to spare")
def test_beside_a_kernel_on_the_main_os_thread(patched: None) -> None:
    interval = originals.getswitchinterval()
    flags = [Flag(), Flag()]
    processor = Processor(slice_=0.001)
    processor.start(lambda: spins(flags[0]), flags[0].set)
    threads = started(flags[1].set)
    spins(flags[1])
    threads[0].join()
    processor.ended()
    assert all(flag.seen for flag in flags)
    assert originals.getswitchinterval() == pytest.approx(interval)
    flags[1] = Flag()
    threads = started(flags[1].set)  # the other watchdog is still there
    spins(flags[1])
    threads[0].join()
    assert flags[1].seen


def test_threads_take_turns_many_times() -> None:
    reached = 0

    def take_turns(mine: int) -> Callable[[], None]:
        def run() -> None:
            nonlocal reached
            while reached < 40:
                if reached % 2 == mine:
                    reached += 1

        return run

    Processor(slice_=0.001).run(take_turns(0), take_turns(1))
    assert reached >= 40


def test_other_os_threads_run_the_code_meanwhile() -> None:
    flag, ends = Flag(), Flag()
    os_threads.start(spins, (ends,))
    try:
        Processor().run(lambda: spins(flag), flag.set)
    finally:
        ends.set()
    assert flag.seen


# -- what is not -----------------------------------------------------------------------------


def for_a_time(log: list[str], seconds: float = 20 * SLICE) -> None:
    end = originals.monotonic() + seconds
    while originals.monotonic() < end:
        pass
    log.append("computed")


def test_code_of_the_runtime_is_left_alone() -> None:
    @frames.register
    def of_ours(log: list[str]) -> None:
        end = originals.monotonic() + 20 * SLICE
        while originals.monotonic() < end:
            pass
        log.append("computed")

    log: list[str] = []
    Processor().run(lambda: of_ours(log), lambda: log.append("other"))
    assert log == ["computed", "other"]


def test_code_that_the_runtime_has_called_is_left_alone() -> None:
    @frames.register
    def of_ours(log: list[str]) -> None:
        for_a_time(log)

    log: list[str] = []
    Processor().run(lambda: of_ours(log), lambda: log.append("other"))
    assert log == ["computed", "other"]


def test_nobody_steps_aside_where_all_ids_are_taken() -> None:
    for tool in range(6):
        monitoring.use_tool_id(tool, "another")
    try:
        log: list[str] = []
        Processor().run(lambda: for_a_time(log), lambda: log.append("other"))
    finally:
        for tool in range(6):
            monitoring.free_tool_id(tool)
    assert log == ["computed", "other"]


def test_an_id_that_was_taken_away_is_taken_anew() -> None:
    flags = [Flag(), Flag()]

    def take_away() -> None:
        monitoring.free_tool_id(3)
        flags[0].set()

    Processor().run(lambda: [spins(flag) for flag in flags], take_away, flags[1].set)
    assert all(flag.seen for flag in flags)


def test_without_events_nothing_is_preempted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "HAS_MONITORING", False)
    log: list[str] = []
    Processor().run(lambda: for_a_time(log), lambda: log.append("other"))
    assert log == ["computed", "other"]


def test_a_request_for_a_thread_that_has_waited_is_withdrawn() -> None:
    log: list[Any] = []
    processor = Processor(slice_=0.0)

    def asked() -> None:
        preemption = processor.preemption
        preemption.start()
        preemption.request()
        log.append(len(preemption.wanted))
        processor.kernel.yield_()
        left = processor.kernel.budget
        for _ in range(2):
            pass
        log.append((len(preemption.wanted), left - processor.kernel.budget))
        preemption.stop()

    assert processor.run(asked, lambda: None) == [None, None]
    assert log[0] >= 1
    assert log[1:] == [(0, 0)]


def test_a_request_while_the_watchdog_sleeps_wakes_it() -> None:
    log: list[str] = []
    processor = Processor(slice_=0.0)

    def asked() -> None:
        kernel, preemption = processor.kernel, processor.preemption
        preemption.start()
        kernel.wake_watchdog = lambda: log.append("woken")
        preemption.request()
        for _ in range(3):
            pass
        kernel.wake_watchdog = None
        log.append("asked")
        preemption.stop()

    assert processor.run(asked, lambda: log.append("other")) == [None, None]
    assert log == ["woken", "asked", "other"]


def test_who_gets_to_no_safe_point_is_asked_no_longer() -> None:
    left: list[int] = []
    processor = Processor(slice_=0.0)

    @frames.register
    def of_ours() -> None:
        asked()

    def asked() -> None:
        preemption = processor.preemption
        preemption.start()
        preemption.request()
        left.extend([len(preemption.wanted) for _ in range(200)])
        preemption.stop()

    assert processor.run(of_ours, lambda: None) == [None, None]
    assert left[10] > 0
    assert left[-1] == 0


# -- others that look on ---------------------------------------------------------------------

ROUNDS = 150_000


def loops(log: list[str]) -> None:
    for _ in range(ROUNDS):
        pass
    log.append("looped")


def test_another_tool_misses_no_event(tool: int) -> None:
    events, jumps, lines = monitoring.events, 0, 0

    def jumped(*_: Any) -> None:
        nonlocal jumps
        jumps += 1

    def came_to_a_line(*_: Any) -> None:
        nonlocal lines
        lines += 1

    monitoring.register_callback(tool, events.JUMP, jumped)
    monitoring.register_callback(tool, events.LINE, came_to_a_line)
    monitoring.set_local_events(tool, loops.__code__, events.JUMP | events.LINE)
    log: list[str] = []
    Processor().run(lambda: loops(log), lambda: log.append("other"))
    assert monitoring.get_local_events(tool, loops.__code__) == events.JUMP | events.LINE
    monitoring.set_local_events(tool, loops.__code__, 0)
    assert log == ["other", "looped"]
    assert (jumps, lines) == (ROUNDS, 2 * ROUNDS + 2)


def test_a_tool_that_wants_all_starts_misses_none(tool: int) -> None:
    started: list[str] = []
    monitoring.register_callback(
        tool, monitoring.events.PY_START, lambda code, _: started.append(code.co_name)
    )
    log: list[str] = []
    ends = 0

    def short() -> None:
        nonlocal ends
        ends += 1

    def calls() -> None:
        for _ in range(ROUNDS):
            short()
        log.append("looped")

    def other() -> None:
        for _ in range(3):
            short()
        log.append("other")

    monitoring.set_events(tool, monitoring.events.PY_START)
    Processor().run(calls, other)
    monitoring.set_events(tool, 0)
    assert log == ["other", "looped"]
    assert started.count("short") == ends == ROUNDS + 3


def test_a_trace_function_misses_no_line() -> None:
    lines: list[int] = []

    def trace(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code is loops.__code__ and event == "line":
            lines.append(frame.f_lineno)
        return trace if frame.f_code is loops.__code__ else None

    log: list[str] = []

    def traced() -> None:
        originals.settrace(trace)
        try:
            loops(log)
        finally:
            originals.settrace(None)

    def other() -> Any:
        log.append("other")
        return sys.gettrace()

    assert Processor().run(traced, other) == [None, None]
    assert log == ["other", "looped"]
    assert len(lines) == 2 * ROUNDS + 2


def test_who_runs_meanwhile_is_in_no_callback() -> None:
    flag = Flag()
    depths: list[int] = []

    def other() -> None:
        depths.append(thread_state.tracing_depth().value)
        flag.set()

    Processor().run(lambda: spins(flag), other)
    assert flag.seen
    assert depths == [0]


# -- what is raised --------------------------------------------------------------------------


@pytest.mark.wall_clock
def test_a_report_is_raised_behind_the_call() -> None:
    log: list[str] = []

    def keeps_others_waiting() -> None:
        try:
            time.sleep(1.0)
            log.append("too late")
        finally:
            log.append("cleaned up")

    error, _ = Processor(limit=0.1).run(keeps_others_waiting, lambda: None)
    assert isinstance(error, ThreadsBlocked)
    assert log == ["cleaned up"]
    last = traceback.extract_tb(error.__traceback__)[-1]
    assert "sleep" in (last.line or "") or frames.PACKAGE in last.filename


def test_what_a_thread_owes_is_raised_where_c_returns() -> None:
    log: list[str] = []
    processor = Processor(slice_=0.0)

    @frames.register
    def called_by_c(each: str) -> str:
        preemption, me = processor.preemption, processor.kernel.current
        preemption.owe(me, KeyError("owed"))
        processor.kernel.yield_()
        assert preemption.owes(me)
        log.append(each)
        return each

    def computes() -> None:
        log.append("computing")
        for _ in range(10):
            pass

    def calls() -> None:
        processor.preemption.start()
        try:
            log.append("".join(map(called_by_c, "ab")))
        except KeyError:
            log.append("raised")
        for _ in range(2):
            pass
        processor.preemption.stop()

    assert processor.run(calls, computes) == [None, None]
    assert log == ["computing", "a", "b", "raised"]


def test_who_has_ended_owes_nothing() -> None:
    left: list[bool] = []
    processor = Processor(slice_=0.0)

    @frames.register
    def of_ours() -> None:
        processor.preemption.owe(processor.kernel.current, KeyError("owed"))
        raise ValueError

    def both(owes: bool) -> None:
        processor.preemption.start()
        if owes:
            of_ours()
        left.append(bool(processor.preemption.wanted))
        processor.preemption.stop()

    error, _ = processor.run(partial(both, True), partial(both, False))
    assert isinstance(error, ValueError)
    assert left == [False]
    assert not processor.preemption._owed


def test_a_thread_owes_without_events_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "HAS_MONITORING", False)
    processor = Processor(slice_=0.0)

    def owes() -> None:
        processor.preemption.start()
        processor.preemption.owe(processor.kernel.current, KeyError("owed"))
        processor.kernel.yield_()

    error, _ = processor.run(owes, lambda: None)
    assert isinstance(error, KeyError)


# -- fork ------------------------------------------------------------------------------------


def test_a_forked_child_has_its_own_requests_only(run_script: Any) -> None:
    run_script(
        """
        import os, sys
        from capriccio_patch.backends.sockets.select import SelectBackend
        from capriccio_patch.kernel.core import Kernel
        from capriccio_patch.preemption.elsewhere import Elsewhere, _tool
        from capriccio_patch.schedulers.fifo import FifoScheduler

        backend = SelectBackend()
        backend.init()
        preemption = Elsewhere(Kernel(backend, FifoScheduler()))
        preemption.start()
        preemption.request()
        assert _tool._set and preemption.wanted
        assert not _tool._turn.locked()
        _tool._turn.acquire()  # as if another OS thread was at it
        child = os.fork()
        if child == 0:
            preemption.forked()
            assert not _tool._set and not preemption.wanted
            preemption.request()
            assert _tool._set
            preemption.stop()
            assert sys.monitoring.get_tool(3) is None
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        """
    )
