"""The watchdog: what it costs, its slice, and its end at a fork, an exec and the exit."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from capriccio_patch.kernel.core import Kernel
from capriccio_patch.preemption.lateness import Lateness
from tests.inside import applied
from tests.preemption.conftest import started

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGRTMAX") and not hasattr(signal, "SIGEMT"),
    reason="no signal number to spare",
)


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


@pytest.mark.one_processor
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
@pytest.mark.wall_clock
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


@needs_proc
@pytest.mark.wall_clock
def test_who_computes_while_others_wait_is_seldom_asked(run_script: Any) -> None:
    done = run_script(
        OS_THREADS
        + """
event = threading.Event()
thread = threading.Thread(target=event.wait)
thread.start()
time.sleep(0.05)
def compute(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
compute(0.1)
before = sleeps()
compute(1)
print(sleeps() - before)
event.set()
thread.join()
"""
    )
    assert int(done.stdout) < 130  # some 230 if it is asked for each slice
    assert not done.stderr  # nothing is reported


@needs_proc
@pytest.mark.wall_clock
def test_threads_that_switch_are_looked_at_now_and_then(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    if applied().core.pulse is None:
        pytest.skip("no compiled core")
    looks = []
    since_last = Lateness.since_last
    monkeypatch.setattr(Lateness, "since_last", lambda *args: looks.append(1) or since_last(*args))
    switching = started(lambda: time.sleep(1))
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        time.sleep(0)
    assert len(looks) < 20  # 50 with a look for each slice
    switching[0].join()


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


@pytest.mark.parametrize("hook", ["lambda: None", "lambda: [len([i]) for i in range(1000)]"])
@pytest.mark.parametrize("wait", ["os.waitpid(pid, 0)", "wait_by_spinning(pid)"])
def test_a_fork_with_hooks_in_python_leaves_the_watchdog_on(
    run_script: Any, hook: str, wait: str
) -> None:
    """Whether the thread that forks waits, with another one runnable, or goes on computing."""
    run_script(
        f"""
        import os, threading
        import capriccio_patch
        capriccio_patch.patch_all(scheduler="fifo")
        os.register_at_fork(after_in_parent={hook})

        gate = threading.Lock()
        gate.acquire()
        computing = ended = False
        def compute():
            global computing
            with gate:
                computing = True
                while not ended:
                    pass

        def wait_by_spinning(pid):
            while not computing:
                pass
            os.waitpid(pid, 0)

        thread = threading.Thread(target=compute)
        thread.start()
        gate.release()
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        {wait}
        ended = True
        thread.join()
        """,
        options=("-W", "ignore"),  # to print a warning lets others run
        timeout=20,
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


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_a_finalizer_that_waits_on_its_os_thread_is_watched_by_another(
    run_script: Any, kind: str
) -> None:
    """Who holds the lock goes on only if who computes is preempted."""
    run_script(
        f"""
import threading, time
import capriccio_patch
from capriccio_patch import api
capriccio_patch.patch_all()
watchdog = api._applied.watchdog
lock = threading.{kind}()
held = threading.Event()
over = []
class Waits:
    def __del__(self):
        over.append("begun")
        with lock:
            over.append("through")
kept = [Waits()]
def look():
    kept.clear()
    return 60.0
def hold():
    with lock:
        watchdog._next_look, watchdog.look_around = 0.0, look
        held.set()
        end = time.monotonic() + 10
        while not over and time.monotonic() < end:
            pass
        time.sleep(0.01)
holder = threading.Thread(target=hold)
holder.start()
held.wait(10)
end = time.monotonic() + 10
while len(over) < 2 and time.monotonic() < end:
    pass
assert over == ["begun", "through"], over
holder.join(10)
"""
    )


def test_a_look_that_fails_is_told_once_and_ends_nothing(run_script: Any) -> None:
    done = run_script(
        """
        import threading, time
        import capriccio_patch
        from tests.inside import applied
        capriccio_patch.patch_all(deadlock="off")
        def look():
            raise ValueError("a fault of ours")
        watchdog = applied().watchdog
        watchdog.look_around, watchdog._next_look = look, 0.0
        over = []
        threading.Thread(target=lambda: (time.sleep(0.2), over.append(True))).start()
        while not over:
            pass
        """
    )
    assert done.stderr.count("ValueError: a fault of ours") == 1
