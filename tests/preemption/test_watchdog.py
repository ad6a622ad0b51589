"""A thread that computes does not stop the others; what can't be preempted is named."""

from __future__ import annotations

import _thread
import json
import os
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
from capriccio_patch import api
from capriccio_patch.kernel.core import Kernel
from capriccio_patch.preemption.safe_point import Point, point
from capriccio_patch.schedulers.random import RandomScheduler
from tests.conftest import SCHEMES, with_scheme

TORTURE = Path(__file__).resolve().parent.parent / "isolated" / "torture.py"
SCHEDULERS = capriccio_patch.known_schedulers()

needs_a_number = pytest.mark.skipif(
    not hasattr(signal, "SIGRTMAX") and not hasattr(signal, "SIGEMT"),
    reason="no signal number to spare",
)
pytestmark = needs_a_number


@pytest.fixture
def kernel(patched: None) -> Kernel:
    """The kernel of this process, with the patch in force."""
    assert api._applied is not None
    return api._applied.runtime.kernel


@pytest.fixture(params=SCHEDULERS)
def each_scheduler(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The patch in force with each of the schedulers; the seeded one is no more patient here."""
    monkeypatch.setattr(RandomScheduler, "least_slice", 0.0)
    capriccio_patch.patch_all(scheduler=request.param)
    try:
        yield request.param
    finally:
        capriccio_patch.unpatch_all()


def started(*functions: Callable[[], Any]) -> list[threading.Thread]:
    """A running thread for each function."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    return threads


# -- threads that spin ---------------------------------------------------------------------------


def test_a_main_thread_that_spins_sees_what_others_do(each_scheduler: str) -> None:
    done = False

    def finish() -> None:
        nonlocal done
        time.sleep(0.01)
        done = True

    (thread,) = started(finish)
    while not done:
        pass
    thread.join()


def test_threads_that_spin_for_each_other_end(each_scheduler: str) -> None:
    reached = 0

    def take_turns(mine: int) -> Callable[[], None]:
        def run() -> None:
            nonlocal reached
            while reached < 6:
                if reached % 3 == mine:
                    reached += 1

        return run

    for thread in started(*map(take_turns, range(3))):
        thread.join()
    assert reached >= 6


def test_a_loop_that_is_warm_ends() -> None:
    """CPython exchanges the instructions of code that has run for some time."""

    def spin(limit: int) -> None:
        while reached < limit:
            pass

    reached = 1
    for _ in range(100):
        spin(1)
    for _ in range(10):
        reached = 0
        capriccio_patch.patch_all()
        try:

            def reach() -> None:
                nonlocal reached
                time.sleep(0.001)
                reached = 1

            (thread,) = started(reach)
            spin(1)
            thread.join()
        finally:
            capriccio_patch.unpatch_all()


def test_a_spin_on_a_socket_that_does_not_block_ends(each_scheduler: str) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)

    def send() -> None:
        time.sleep(0.01)
        far.sendall(b"x")

    (thread,) = started(send)
    received = b""
    while not received:
        try:
            received = near.recv(1)
        except BlockingIOError:
            pass
    thread.join()
    near.close()
    far.close()


def test_descriptors_and_timers_are_served_while_others_compute(each_scheduler: str) -> None:
    stopped = False

    def compute() -> None:
        while not stopped:
            pass

    threads = started(compute, compute, compute)
    near, far = socket.socketpair()

    def answer() -> None:
        while data := far.recv(10):
            far.sendall(data)

    threads += started(answer)
    for _ in range(5):
        near.sendall(b"ping")
        assert near.recv(10) == b"ping"
        time.sleep(0.001)
    near.close()
    stopped = True
    for thread in threads:
        thread.join()
    far.close()


@pytest.mark.parametrize("sockio", SCHEMES)
def test_whoever_is_woken_while_one_computes_alone_has_a_turn(run_script: Any, sockio: str) -> None:
    """By a descriptor, a deadline, an OS thread, or the one that computes."""
    run_script(
        """
        import socket, threading, time
        import capriccio_patch
        capriccio_patch.patch_all()
        near, far = socket.socketpair()
        lock, event = threading.Lock(), threading.Event()
        lock.acquire()
        seen = []
        waits = [
            lambda: near.recv(1),
            lambda: time.sleep(0.12),
            lambda: lock.acquire(),
            lambda: event.wait(),
        ]
        def run(wait):
            wait()
            seen.append(wait)
        threads = [threading.Thread(target=run, args=(wait,)) for wait in waits]
        for thread in threads:
            thread.start()
        sleep = capriccio_patch.original("time.sleep")
        def outside():
            sleep(0.06)
            lock.release()
            sleep(0.03)
            far.send(b"x")
        capriccio_patch.original("_thread.start_new_thread")(outside, ())
        while len(seen) < 4:
            if len(seen) == 3:
                event.set()
        assert seen[-1] is waits[-1]
        for thread in threads:
            thread.join()
        """,
        env=with_scheme(sockio),
    )


def test_threads_that_yield_and_threads_that_compute_share(each_scheduler: str) -> None:
    stopped = False
    computed = [0, 0]
    yielded = 0

    def compute(number: int) -> Callable[[], None]:
        def run() -> None:
            while not stopped:
                computed[number] += 1

        return run

    def yield_() -> None:
        nonlocal yielded
        while not stopped:
            time.sleep(0)
            yielded += 1

    threads = started(compute(0), compute(1), yield_)
    while not (all(computed) and yielded > 100):
        time.sleep(0.001)
    before = [*computed, yielded]
    while not all(new > old for new, old in zip([*computed, yielded], before, strict=True)):
        time.sleep(0.001)
    stopped = True
    for thread in threads:
        thread.join()


def test_a_generator_is_seen_executing_as_in_stock(patched: None) -> None:
    stopped = False

    def spin() -> Iterator[int]:
        while not stopped:
            pass
        yield 1

    running = spin()
    (thread,) = started(lambda: next(running))
    time.sleep(0.001)
    with pytest.raises(ValueError, match="generator already executing"):
        next(running)
    stopped = True
    thread.join()


@pytest.mark.parametrize("blocked", ["its wait", "its computation"])
def test_a_signal_handler_that_spins_is_preempted(patched: None, blocked: str) -> None:
    done = handled = False

    def handler(signum: int, frame: FrameType | None) -> None:
        nonlocal handled
        while not done:
            pass
        handled = True

    def finish() -> None:
        nonlocal done
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.01)
        done = True

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        (thread,) = started(finish)
        if blocked == "its wait":
            thread.join()
        while not handled:
            pass
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_exception_from_a_signal_handler_ends_the_computation(patched: None) -> None:
    class Stop(Exception):
        pass

    def handler(signum: int, frame: FrameType | None) -> None:
        raise Stop

    def computation() -> None:
        while not stopped:
            pass

    stopped = False
    before = signal.signal(signal.SIGUSR1, handler)
    try:

        def kill() -> None:
            time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGUSR1)

        threads = started(computation, computation, kill)
        with pytest.raises(Stop):
            computation()
        stopped = True
        for thread in threads:
            thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


# -- the order of slices -------------------------------------------------------------------------


def test_preempted_threads_have_their_slices_in_turn_after_the_others(kernel: Kernel) -> None:
    order: list[str] = []

    def hog(name: str) -> Callable[[], None]:
        def run() -> None:
            for _ in range(3):
                order.append(name)
                kernel.preempt()

        return run

    def polite() -> None:
        for _ in range(2):
            order.append("polite")
            kernel.yield_()

    for thread in started(hog("a"), hog("b"), polite):
        thread.join()
    assert order[0] == "a"
    assert [name for name in order if name != "polite"] == ["a", "b"] * 3
    first = order.index("polite")
    assert order[first : first + 2] == ["polite"] * 2


def test_preempted_threads_that_need_little_do_not_wait_for_each_other(kernel: Kernel) -> None:
    rounds: list[int] = []
    number = 0
    left = 60

    def victim() -> None:
        nonlocal left
        kernel.preempt()
        rounds.append(number)
        left -= 1

    def busy() -> None:
        nonlocal number
        while left:
            number += 1
            kernel.yield_()

    for thread in started(*[victim] * left, busy, busy):
        thread.join()
    assert len(set(rounds)) < 30  # one by one they would take 60


def test_a_preempted_thread_goes_on_at_once_if_nobody_else_can_run(kernel: Kernel) -> None:
    event = threading.Event()
    threads = started(event.wait, lambda: time.sleep(0.001))
    kernel.yield_()
    budgets = []
    for _ in range(3):
        kernel.preempt()
        budgets.append(kernel.current is kernel.main)
    assert budgets == [True] * 3
    event.set()
    for thread in threads:
        thread.join()


def test_a_preempted_thread_takes_its_interrupt_first(kernel: Kernel) -> None:
    order: list[str] = []

    def interrupt_main() -> None:
        order.append("other")
        kernel.interrupt(kernel.main, lambda: order.append("interrupt"))
        kernel.yield_()
        order.append("other again")

    threads = started(interrupt_main)
    while "other" not in order:
        kernel.preempt()
    order.append("main")
    assert order == ["other", "interrupt", "main"]
    threads[0].join()


# -- safe points ---------------------------------------------------------------------------------


def test_own_code_and_importlib_put_the_tick_off() -> None:
    def here() -> FrameType:
        return sys._getframe()

    frame = here()
    assert point(frame) is Point.SOON  # at a call
    assert point(None) is Point.SOON

    where: dict[str, Point] = {}

    def tick(signum: int, frame: FrameType | None) -> None:
        assert frame is not None
        where[frame.f_globals["__name__"]] = point(frame)

    def made_in(module: str) -> Any:
        names: dict[str, Any] = {"__name__": module, "where": where}
        exec("def spin():\n    while __name__ not in where: pass\n", names)
        return names["spin"]

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for module in ("program", "capriccio_patch.wrappers.threads.locks", "importlib._bootstrap"):
            made_in(module)()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert where.pop("program") is Point.SAFE
    assert set(where.values()) == {Point.SOON}


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


# -- what it costs -------------------------------------------------------------------------------

OS_THREADS = """
import os, sys, threading, time
import capriccio_patch
capriccio_patch.patch_all()
def os_threads():
    return len(os.listdir("/proc/self/task"))
def sleeps():
    "How often the OS threads beside the main one have gone to sleep."
    total = 0
    for task in os.listdir("/proc/self/task"):
        if int(task) == os.getpid():
            continue
        with open(f"/proc/self/task/{task}/status") as file:
            total += next(int(line.split()[1]) for line in file if line.startswith("voluntary"))
    return total
"""

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="no /proc")


@needs_proc
def test_there_is_no_watchdog_before_the_second_thread(run_script: Any) -> None:
    run_script(
        OS_THREADS
        + """
time.sleep(0.05)
assert os_threads() == 1
threading.Thread(target=time.sleep, args=(0.1,)).start()
assert os_threads() == 2
"""
    )


@needs_proc
@pytest.mark.parametrize("others", [0, 3])
def test_an_idle_process_does_not_wake_up(run_script: Any, others: int) -> None:
    """Nor one that had threads, and computes alone now."""
    done = run_script(
        OS_THREADS
        + f"""
others = {others}
event = threading.Event()
for _ in range(others):
    threading.Thread(target=event.wait).start()
threading.Thread(target=time.sleep, args=(0.01,)).start()
time.sleep(0.1)
before = sleeps()
if others:
    time.sleep(1)
else:
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        pass
print(sleeps() - before)
event.set()
"""
    )
    assert int(done.stdout) < 30  # 100 if it woke up for each slice


# -- switch interval -----------------------------------------------------------------------------


def test_the_switch_interval_is_the_slice() -> None:
    stock = sys.getswitchinterval()
    capriccio_patch.patch_all()
    try:
        assert sys.getswitchinterval() == capriccio_patch.status()["slice"] == 0.01
        sys.setswitchinterval(0.02)
        assert sys.getswitchinterval() == pytest.approx(0.02)
        for bad in (0, -1.0):
            with pytest.raises(ValueError, match="switch interval must be strictly positive"):
                sys.setswitchinterval(bad)
        with pytest.raises(TypeError):
            sys.setswitchinterval("1")  # type: ignore[arg-type]
        assert sys.getswitchinterval() == pytest.approx(0.02)
        sys.setswitchinterval(stock)
    finally:
        capriccio_patch.unpatch_all()
    assert sys.getswitchinterval() == stock


def test_a_short_slice_is_kept(patched: None) -> None:
    sys.setswitchinterval(1e-5)
    try:
        assert sys.getswitchinterval() == pytest.approx(1e-5)
        done = False

        def finish() -> None:
            nonlocal done
            done = True

        threads = started(finish)
        while not done:
            pass
        threads[0].join()
    finally:
        sys.setswitchinterval(0.005)


def test_without_a_slice_nobody_is_preempted(run_script: Any) -> None:
    run_script(
        """
        import sys, threading
        stock = sys.getswitchinterval()
        import capriccio_patch
        capriccio_patch.patch_all()
        assert sys.getswitchinterval() == stock
        ran = []
        thread = threading.Thread(target=ran.append, args=(1,))
        threading._started = None
        import _thread
        _thread.start_new_thread(ran.append, (1,))
        for _ in range(3_000_000): pass
        assert not ran
        """,
        env={"CAPRICCIO_SLICE": "0", "CAPRICCIO_BLOCKED": "off"},
    )


# -- the program's signals -----------------------------------------------------------------------


def test_the_number_in_use_is_given_up_to_the_program(patched: None) -> None:
    assert api._applied is not None
    preemption = api._applied.watchdog.preemption
    number = preemption.signum
    assert signal.getsignal(number) == signal.SIG_DFL
    received: list[int] = []
    signal.signal(number, lambda signum, frame: received.append(signum))
    try:
        assert preemption.signum != number
        os.kill(os.getpid(), number)
        done = False

        def finish() -> None:
            nonlocal done
            done = True

        threads = started(finish)
        while not done:
            pass
        threads[0].join()
        assert received == [number]
    finally:
        signal.signal(number, signal.SIG_DFL)


def test_nothing_of_it_is_left_after_the_undo() -> None:
    def state() -> Any:
        handlers = [signal.getsignal(number) for number in signal.valid_signals()]
        return handlers, sys.getswitchinterval(), _thread._count()

    before = state()
    capriccio_patch.patch_all()
    for thread in started(lambda: time.sleep(0.001)):
        thread.join()
    capriccio_patch.unpatch_all()
    assert state() == before


# -- fork, exec, exit ----------------------------------------------------------------------------


def test_parent_and_child_of_a_fork_are_preempted(run_script: Any) -> None:
    run_script(
        """
        import os, threading
        import capriccio_patch
        capriccio_patch.patch_all()

        def wait_by_spinning():
            done = []
            thread = threading.Thread(target=lambda: done.append(1))
            thread.start()
            while not done:
                pass
            thread.join()

        stopped = False
        def compute():
            while not stopped:
                pass

        threads = [threading.Thread(target=compute) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                wait_by_spinning()
                os._exit(7)
            wait_by_spinning()
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        stopped = True
        """
    )


def test_nothing_outlives_an_exec(run_script: Any) -> None:
    done = run_script(
        """
        import os, sys, threading
        import capriccio_patch
        capriccio_patch.patch_all(slice=0.0005)

        def replace():
            program = "import time; time.sleep(0.1); print('replaced')"
            os.execv(sys.executable, [sys.executable, "-c", program])

        threading.Timer(0.02, replace).start()
        while True:
            pass
        """
    )
    assert done.stdout == "replaced\n"


def test_the_exit_does_not_wait_for_daemons_that_compute(run_script: Any) -> None:
    done = run_script(
        """
        import threading, time
        import capriccio_patch
        capriccio_patch.patch_all(slice=0.0005)

        def compute():
            while True:
                pass

        for _ in range(3):
            threading.Thread(target=compute, daemon=True).start()
        time.sleep(0.02)
        print("end")
        """
    )
    assert done.stdout == "end\n"
    assert not done.stderr


# -- the report of what blocks -------------------------------------------------------------------

BLOCKED = """
import ctypes, sys, threading, time, warnings
import capriccio_patch
capriccio_patch.patch_all(blocked=sys.argv[1])
other = threading.Event()
thread = threading.Thread(target=other.wait)
thread.start()

def without_the_gil():
    ctypes.CDLL(None).usleep(250_000)

def with_the_gil():
    ctypes.PyDLL(None).usleep(250_000)
"""
END = """
other.set()
"""


def test_a_call_that_blocks_is_named_while_it_does(run_script: Any) -> None:
    done = run_script(
        BLOCKED
        + """
shown = []
def show(message, category, filename, lineno, *rest):
    shown.append((str(message), category.__name__, filename, lineno, time.monotonic()))
warnings.showwarning = show
without_the_gil()
assert len(shown) == 1, shown
end = time.monotonic()
text, category, filename, line, at = shown[0]
assert category == "CapriccioWarning" and filename == __file__
assert end - at > 0.05
assert "MainThread" in text and "in without_the_gil" in text, text
"""
        + END,
        "0.1",
    )
    assert not done.stderr


@pytest.mark.parametrize("call", ["without_the_gil", "with_the_gil"])
def test_the_same_place_is_named_once(run_script: Any, call: str) -> None:
    """On a busy machine a call that keeps the GIL may escape, or be noticed after it."""
    done = run_script(
        BLOCKED
        + f"""
shown = []
warnings.showwarning = lambda message, category, file, line, *rest: shown.append(line)
warnings.simplefilter("always")
for _ in range(50):
    {call}()
    time.sleep(0.001)
    if shown:
        break
{call}()
{call}()
time.sleep(0.001)
print(len(shown), len(set(shown)))
"""
        + END,
        "0.1",
    )
    reports, places = done.stdout.split()
    assert reports == places
    assert reports == "1" or (call == "with_the_gil" and reports in "23")


def test_logging_takes_the_report(run_script: Any) -> None:
    done = run_script(
        BLOCKED
        + """
import logging
logging.basicConfig(format="logged: %(message)s")
logging.captureWarnings(True)
without_the_gil()
"""
        + END,
        "0.1",
    )
    assert "logged: " in done.stderr
    assert "in without_the_gil" in done.stderr


@pytest.mark.parametrize(
    ("setting", "filters"), [("raise", ""), ("0.05:raise", ""), ("warn", 'simplefilter("error")')]
)
def test_the_report_may_be_an_exception(run_script: Any, setting: str, filters: str) -> None:
    done = run_script(
        BLOCKED
        + f"""
{filters and "warnings." + filters}
try:
    without_the_gil()
except (capriccio_patch.ThreadsBlocked, capriccio_patch.CapriccioWarning) as error:
    print(type(error).__name__, "in without_the_gil" in str(error))
"""
        + END,
        setting,
    )
    expected = "CapriccioWarning" if filters else "ThreadsBlocked"
    assert done.stdout == f"{expected} True\n"
    assert not done.stderr


@pytest.mark.parametrize("setting", ["off", "10"])
def test_no_report_before_the_limit(run_script: Any, setting: str) -> None:
    done = run_script(BLOCKED + "without_the_gil()\nwith_the_gil()\n" + END, setting)
    assert not done.stderr


def test_what_is_preempted_or_waits_is_not_named(run_script: Any) -> None:
    done = run_script(
        """
        import threading, time
        import capriccio_patch
        capriccio_patch.patch_all(blocked=0.05)
        stopped = False
        def compute():
            while not stopped:
                sorted(range(100), key=lambda n: -n)
        threads = [threading.Thread(target=compute) for _ in range(2)]
        for thread in threads: thread.start()
        time.sleep(0.3)
        stopped = True
        for thread in threads: thread.join()
        event = threading.Event()
        threading.Timer(0.2, event.set).start()
        event.wait()
        """
    )
    assert not done.stderr


def test_a_garbage_collection_is_not_named(run_script: Any) -> None:
    done = run_script(
        """
        import gc, threading, time
        import capriccio_patch
        gc.disable()
        much = [[each] for each in range(1_000_000)]
        capriccio_patch.patch_all(blocked=0.01)
        other = threading.Event()
        thread = threading.Thread(target=other.wait)
        thread.start()
        longest = 0.0
        for _ in range(10):
            began = time.process_time()
            gc.collect()
            longest = max(longest, time.process_time() - began)
            time.sleep(0.001)
        assert longest > 0.01, longest
        other.set()
        """
    )
    assert not done.stderr


def test_the_only_thread_may_block(run_script: Any) -> None:
    done = run_script(
        """
        import ctypes, threading
        import capriccio_patch
        capriccio_patch.patch_all(blocked=0.05)
        thread = threading.Thread(target=print)
        thread.start()
        thread.join()
        ctypes.CDLL(None).usleep(200_000)
        """
    )
    assert not done.stderr


def test_a_process_that_was_stopped_has_nobody_to_name(run_script: Any) -> None:
    done = run_script(
        """
        import os, subprocess, threading, time
        import capriccio_patch
        capriccio_patch.patch_all(blocked=0.2)
        stopped = False
        def compute():
            while not stopped:
                pass
        threads = [threading.Thread(target=compute) for _ in range(2)]
        for thread in threads: thread.start()
        me = os.getpid()
        subprocess.run(["sh", "-c", f"(sleep 0.1; kill -STOP {me}; sleep 0.5; kill -CONT {me}) &"])
        time.sleep(0.8)
        stopped = True
        """
    )
    assert not done.stderr


def test_status_tells_the_settings(patched: None) -> None:
    status = capriccio_patch.status()
    assert status["slice"] == 0.01
    assert json.dumps(status["blocked"]) == '[0.1, "warn"]'
