"""Deadlocks, as programs have them: the text that a person reads, and when there is none."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from capriccio_patch.contracts.thread import Thread
from capriccio_patch.diagnosis import crossed, deadlock, outsiders, story
from capriccio_patch.diagnosis.deadlock import PATIENCE, Deadlocks
from capriccio_patch.diagnosis.waiting import awaited_ends
from capriccio_patch.preemption.loading import Loading
from tests.conftest import RunScript
from tests.fakes.kernel import parts_of_kernel

HEAD = """
import os, queue, signal, sys, threading, time
import capriccio_patch
capriccio_patch.patch_all(deadlock=sys.argv[1])

def start(*functions):
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    return threads

def main():
    {main}

try:
    main()
except capriccio_patch.Deadlock as error:
    print(error, flush=True)
    os._exit(0)
print("no deadlock", flush=True)
os._exit(0)
"""


def told(run_script: RunScript, main: str, mode: str = "raise") -> str:
    """What is told of the deadlock in which `main` ends."""
    body = textwrap.indent(textwrap.dedent(main), "    ").strip()
    return run_script(HEAD.replace("{main}", body), mode).stdout


CROSSED = """
first, second = threading.Lock(), threading.{second}()
met = threading.Barrier(2)
def transfer():
    with first:
        met.wait()
        with second:  # here
            pass
def refund():
    with second:  # taken by refund
        met.wait()
        with first:  # and here
            pass
threads = start(transfer, refund)
{beside}
"""
JOINED = "for thread in threads: thread.join()"


@pytest.mark.one_processor
@pytest.mark.parametrize("second", ["Lock", "RLock", "Condition"])
@pytest.mark.parametrize(
    ("beside", "scope"),
    [
        (JOINED, "none of the 3 threads can run again"),
        ("while True: time.sleep(0.01)", "2 threads wait for each other, while others go on"),
        ("while True: sum(range(100))", "2 threads wait for each other, while others go on"),
        ("sys.stdin.read(os.read(os.pipe()[0], 1))", "2 threads wait for each other"),
    ],
    ids=["nothing goes on", "others sleep", "others compute", "others read"],
)
def test_two_locks_that_are_taken_crosswise(
    run_script: RunScript, second: str, beside: str, scope: str
) -> None:
    text = told(run_script, CROSSED.format(second=second, beside=beside))
    assert text.startswith(f"deadlock: {scope}")
    assert "the circle: Thread-1 (transfer) -> [" in text
    assert ", in refund: with second:  # taken by refund\n" in text
    assert "        with second:  # here\n" in text or "    with second:  # here\n" in text
    assert "with first:  # and here" in text


@pytest.mark.one_processor
@pytest.mark.parametrize(
    ("main", "expected"),
    [
        pytest.param(
            """
            done = threading.Event()
            [thread] = start(done.wait)
            thread.join()  # waits for good
            """,
            ["for the end of Thread-1 (wait)", "thread.join()  # waits for good"],
            id="a join that never ends",
        ),
        pytest.param(
            """
            jobs = queue.Queue()
            def work():
                while True:
                    jobs.get()  # nothing comes
            start(work, work)
            jobs.put("one"), jobs.put("two")
            jobs.join()
            """,
            [
                "Thread-1 (work), Thread-2 (work) have waited",
                "in Queue.get for queue.Queue",
                "(0 items): nobody is left to put something there",
                "jobs.get()  # nothing comes",
                "in Queue.join for queue.Queue",
                "nobody is left to call task_done (2 times)",
            ],
            id="a queue without producers",
        ),
        pytest.param(
            """
            changed = threading.Condition()
            def work():
                with changed:
                    changed.wait()  # nobody notifies
            start(work)[0].join()
            """,
            ["in Condition.wait for", "nobody is left to notify it", "# nobody notifies"],
            id="a condition that nobody notifies",
        ),
        pytest.param(
            """
            permits = threading.Semaphore(1)
            never = threading.Event()
            def leak():
                with permits:  # keeps it
                    never.wait()
            def use():
                with permits:  # never gets it
                    pass
            [thread] = start(leak)
            start(use)[0].join()
            """,
            [
                "in Semaphore.acquire for threading.Semaphore",
                "(value 0), which Thread-1 (leak) holds since",
                "in leak: with permits:  # keeps it",
                "with permits:  # never gets it",
            ],
            id="a semaphore that is not given back",
        ),
        pytest.param(
            """
            lock = threading.Lock()
            lock.acquire()  # the first time
            lock.acquire()  # the second time
            """,
            [
                "the only thread can't run again",
                "the circle: MainThread -> [Lock lock at",
                "which MainThread seems to have taken since",
                "in main: lock.acquire()  # the first time",
                "lock.acquire()  # the second time",
            ],
            id="a lock that is taken twice",
        ),
        pytest.param(
            """
            lock = threading.RLock()
            def take():
                lock.acquire()
            start(take)[0].join()
            lock.acquire()  # too late
            """,
            ["which has ended, holds", "lock.acquire()  # too late"],
            id="a lock whose owner has ended",
        ),
        pytest.param(
            """
            lock = threading.Lock()
            def handle(*_):
                with lock:  # in the handler
                    pass
            signal.signal(signal.SIGUSR1, handle)
            with lock:  # in the program
                os.kill(os.getpid(), signal.SIGUSR1)
            """,
            [
                "MainThread, in the handler of SIGUSR1, waits for what it holds itself",
                "in main: with lock:  # in the program",
                "with lock:  # in the handler",
            ],
            id="a signal handler that wants what it has interrupted",
        ),
        pytest.param(
            """
            from concurrent.futures import ThreadPoolExecutor
            pool = ThreadPoolExecutor(1)
            def outer():
                return pool.submit(int).result()  # by itself
            pool.submit(outer).result()
            """,
            [
                "one\n\nThreadPoolExecutor-0_0 has waited",
                "in Future.result for concurrent.futures._base.Future",
                "(pending): nobody is left to give it a result\n",
                "# by itself",
                "(running), which ThreadPoolExecutor-0_0 computes",
            ],
            id="a pool that waits for itself",
        ),
        pytest.param(
            """
            from concurrent.futures import ThreadPoolExecutor, wait
            pool, done = ThreadPoolExecutor(2), threading.Event()
            def work():
                time.sleep(0.05)
                done.wait()  # nobody sets it
            wait([pool.submit(work), pool.submit(work)])
            """,
            [
                "one\n\nThreadPoolExecutor-0_0, ThreadPoolExecutor-0_1 have waited",
                "done.wait()  # nobody sets it",
                "s in futures.wait: nobody is left to give them results",
            ],
            id="tasks of a pool that never end",
        ),
        pytest.param(
            """
            from contextlib import ExitStack
            first, second, met = threading.Lock(), threading.Lock(), threading.Barrier(2)
            def both(one, other):
                with ExitStack() as taken:
                    taken.enter_context(one)
                    met.wait()
                    taken.enter_context(other)  # crosswise
            start(lambda: both(first, second), lambda: both(second, first))[0].join()
            """,
            [
                "the circle: Thread-1 (<lambda>) -> [Lock other at",
                "which Thread-1 (<lambda>) holds by an ExitStack of both, in script.py",
                "# crosswise",
            ],
            id="locks that an ExitStack has taken",
        ),
    ],
)
def test_the_text_names_the_line_to_mend(
    run_script: RunScript, main: str, expected: list[str]
) -> None:
    text = told(run_script, main)
    assert text.startswith("deadlock: ")
    for each in expected:
        assert each in text, text


@pytest.mark.one_processor
def test_it_is_a_warning_unless_asked_otherwise(run_script: RunScript) -> None:
    main = """
    import warnings
    def show(message, category, file, line, *_):
        print(category.__name__, os.path.basename(file), message, flush=True)
        os._exit(0)
    warnings.showwarning = show
    threading.Event().wait()
    """
    text = told(run_script, main, "warn")
    assert text.startswith("CapriccioWarning script.py deadlock: the only thread can't run again")


@pytest.mark.parametrize(
    "main",
    [
        "time.sleep(0.3)",
        "done = threading.Event(); threading.Timer(0.3, done.set).start(); done.wait()",
        """
        done = threading.Event()
        signal.signal(signal.SIGALRM, lambda *_: done.set())
        signal.setitimer(signal.ITIMER_REAL, 0.4)
        done.wait()
        """,
        """
        done = threading.Event()
        def later():
            capriccio_patch.original("time.sleep")(0.4)
            done.set()
        capriccio_patch.original("_thread.start_new_thread")(later, ())
        done.wait()
        """,
        """
        lock = threading.Lock()
        def hold():
            with lock:
                import subprocess
                subprocess.run(["sleep", "0.4"])
        start(hold)
        time.sleep(0.05)
        lock.acquire()
        """,
        """
        lock = threading.Lock()
        r, w = os.pipe()
        def hold():
            with lock:
                os.read(r, 1)
        start(hold)
        os.posix_spawn("/bin/sh", ["sh", "-c", "sleep 0.4; echo >&3"], os.environ,
                       file_actions=[(os.POSIX_SPAWN_DUP2, w, 3)])
        lock.acquire()
        """,
    ],
    ids=["a deadline", "a timer", "a signal", "an OS thread", "a child", "a descriptor"],
)
def test_there_is_none_where_something_can_come(run_script: RunScript, main: str) -> None:
    assert told(run_script, main) == "no deadlock\n"


@pytest.mark.one_processor
def test_one_is_told_when_the_last_os_thread_has_ended(run_script: RunScript) -> None:
    main = """
    capriccio_patch.original("_thread.start_new_thread")(
        capriccio_patch.original("time.sleep"), (0.6,)
    )
    threading.Event().wait()
    """
    assert told(run_script, main).startswith("deadlock: the only thread can't run again")


def test_off_is_off(run_script: RunScript) -> None:
    main = """
    threading.Thread(target=end, daemon=True).start()
    threading.Event().wait()
    """
    end = """
    def end():
        capriccio_patch.original("_thread.start_new_thread")(leave, ())
        threading.Event().wait()
    def leave():
        capriccio_patch.original("time.sleep")(0.4)
        print("silent", flush=True)
        os._exit(0)
    """
    assert told(run_script, textwrap.dedent(end) + textwrap.dedent(main), "off") == "silent\n"


def test_threads_may_come_while_another_os_thread_looks_at_them() -> None:
    threads: dict[int, Any] = {}

    class Coming:
        @property
        def on_exit(self) -> None:
            threads[len(threads)] = self

    threads[0] = Coming()
    assert awaited_ends(threads.values()) == {}
    assert len(threads) == 2


def test_the_search_waits_for_no_import(run_script: RunScript) -> None:
    """It runs where threads that compute are preempted from."""
    main = """
        import _imp
        lock, over = threading.Lock(), []
        lock.acquire()
        def end():
            time.sleep(1.5)
            over.append(True)
        start(lock.acquire, end)
        _imp.acquire_lock()
        while not over:
            pass
        _imp.release_lock()
    """
    assert told(run_script, main) == "no deadlock\n"


@pytest.mark.one_processor
def test_a_circle_is_told_although_the_search_is_imported_slowly(run_script: RunScript) -> None:
    done = run_script(
        """
        import _thread, os, signal, sys, threading, time
        import capriccio_patch

        class Slow:
            def find_spec(self, name, path=None, target=None):
                if name == "capriccio_patch.diagnosis.story":
                    capriccio_patch.original("time.sleep")(1)

        sys.meta_path.insert(0, Slow())
        capriccio_patch.patch_all()
        lock = threading.Lock()
        signal.signal(signal.SIGUSR1, lambda *_: lock.acquire())
        with lock:
            os.kill(os.getpid(), signal.SIGUSR1)
        """,
        status=None,
        env={"CAPRICCIO_DEADLOCK": "raise"},
    )
    assert "Deadlock: deadlock: MainThread, in the handler of SIGUSR1" in done.stderr


@pytest.mark.one_processor
def test_one_is_told_where_the_last_that_ran_has_ended_each_time(run_script: RunScript) -> None:
    text = told(
        run_script,
        """
        import _thread, subprocess
        reader, writer = os.pipe()
        never = threading.Event()
        def work():
            _thread.start_new_thread(int, ())
            os.read(reader, 1)  # not all are stuck
            _thread.start_new_thread(int, ())
            never.wait()  # nobody sets it
        command = ["sh", "-c", f"sleep 1; echo >&{writer}"]
        child = subprocess.Popen(command, pass_fds=[writer])
        start(work)[0].join()
        """,
    )
    assert "never.wait()  # nobody sets it" in text


def test_nothing_is_told_where_something_has_run_since(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = [Thread(), Thread()]
    for each in threads:
        each.parked, each.since = True, 1.0
    kernel = parts_of_kernel(
        on_top=[],
        threads=dict(enumerate(threads)),
        blocking=True,
        clock=time.monotonic,
    )
    told: list[str] = []
    monkeypatch.setattr(story, "whole_story", lambda *_: ("text", ("file", 1)))
    monkeypatch.setattr(Deadlocks, "_tell", lambda _, text, place: told.append(text))
    search = Deadlocks(kernel, "raise")
    waits = {(id(each), each.since) for each in threads}
    threads[0].since = 2.0  # it has run, and waits again
    search._tell_of_all(waits)
    threads[0].since, threads[0].parked = 1.0, False  # it is about to run
    search._tell_of_all(waits)
    assert not told
    threads[0].parked = True
    kernel.blocking = False  # it is about to poll
    threading.Timer(0.05, setattr, (kernel, "blocking", True)).start()
    search._tell_of_all(waits)
    assert told == ["text"]


def test_a_look_that_has_to_wait_is_soon_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = Thread()
    thread.parked, thread.kind, thread.object = True, "lock", threading.Lock()
    kernel = parts_of_kernel(
        on_top=[],
        threads={1: thread},
        clock=time.monotonic,
    )
    monkeypatch.setattr(Loading, "is_done", lambda _: time.sleep(0.05))
    assert Deadlocks(kernel, "warn").look() == PATIENCE


def test_a_search_for_which_all_stand_still_is_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a thousandth of the time, whatever circles there are."""
    threads = [Thread(), Thread()]
    for each in threads:
        each.parked = True
    calls: list[Any] = []
    kernel = parts_of_kernel(
        clock=time.monotonic,
        call_soon=lambda *call: calls.append(call),
    )
    monkeypatch.setattr(deadlock, "has_gil", lambda: True)
    monkeypatch.setattr(Loading, "is_done", lambda _: True)
    monkeypatch.setattr(crossed.Crossed, "look", lambda *_: threads)

    def searches(*_: object) -> bool:
        end = time.thread_time() + 0.2
        while time.thread_time() < end:
            pass
        return False

    monkeypatch.setattr(crossed.Crossed, "is_closed", searches)
    search = Deadlocks(kernel, "warn")
    for _ in range(3):
        search._look_at_crossed(0.0)
    ((confirm, *arguments),) = calls  # one at a time
    confirm(*arguments)
    for _ in range(3):
        search._look_at_crossed(0.0)
    assert len(calls) == 1
    assert search._crossed_at > time.monotonic() + 50


def test_what_an_os_thread_leaves_as_it_ends_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = parts_of_kernel(_inbox=[], unfinished=0, proxies=0)
    monkeypatch.setattr(outsiders, "_handlers", lambda: iter(()))
    monkeypatch.setattr(outsiders, "_has_other_os_threads", lambda: False)
    assert not outsiders.could_wake(kernel)
    # It ends while the others are looked for.
    monkeypatch.setattr(outsiders, "_has_other_os_threads", lambda: kernel._inbox.append("wake"))
    assert outsiders.could_wake(kernel)


@pytest.mark.one_processor
def test_random_programs_without_one_give_no_report() -> None:
    """`tests/diagnosis/without_deadlock.py`, which runs as many as one asks for."""
    script = Path(__file__).with_name("without_deadlock.py")
    command = [sys.executable, str(script), "60", str(int(time.time()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout == "60 programs, no report\n"


@pytest.mark.one_processor
def test_every_random_program_with_one_is_told() -> None:
    """`tests/diagnosis/with_deadlock.py`, which runs as many as one asks for."""
    script = Path(__file__).with_name("with_deadlock.py")
    command = [sys.executable, str(script), "20", str(int(time.time()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.endswith("\n20 programs, each was told\n")
