"""Waiting for children, ``os.system``, forked children, and what is built on them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.cpython import originals
from tests.conftest import forks, let_others_park

Ticker = Any
RunScript = Callable[..., "subprocess.CompletedProcess[str]"]

ENDED = 3 << 8


class Child:
    """A process that runs until `end` is called, and exits with status 3."""

    def __init__(self, command: str = "read line; exit 3") -> None:
        reader, self._writer = os.pipe()
        self.pid = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", command],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)],
        )
        os.close(reader)

    def end(self) -> None:
        """End it, by closing the pipe from which it reads."""
        os.close(self._writer)


@pytest.fixture(params=["descriptor", "os_thread"])
def scheme(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the patch that a later fixture applies waits for one child."""
    if request.param == "os_thread":
        monkeypatch.setattr(originals, "pidfd_open", None)
    elif originals.pidfd_open is None:
        pytest.skip("this system has no pidfd_open")
    return str(request.param)


WAITS: dict[str, Callable[[int], Any]] = {
    "waitpid": lambda pid: os.waitpid(pid, 0),
    "wait4": lambda pid: os.wait4(pid, 0)[:2],
    "waitid": lambda pid: _waitid(os.P_PID, pid),
    "waitpid, also when stopped": lambda pid: os.waitpid(pid, os.WUNTRACED),
    "waitid, by descriptor": lambda pid: _waitid(os.P_PIDFD, os.pidfd_open(pid)),
}


def _waitid(kind: int, number: int) -> tuple[int, int]:
    found = os.waitid(kind, number, os.WEXITED)
    assert found is not None
    assert found.si_code == os.CLD_EXITED
    return found.si_pid, found.si_status << 8


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_for_a_child_lets_others_run(scheme: str, ticker: type[Ticker], name: str) -> None:
    child = Child()
    with ticker().at(3, child.end):
        assert WAITS[name](child.pid) == (child.pid, ENDED)


def test_a_descriptor_costs_no_os_thread(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if originals.pidfd_open is None:
        pytest.skip("this system has no pidfd_open")
    calls = []
    waitid: Any = originals.waitid

    def counted(*args: int) -> Any:
        calls.append(args)
        return waitid(*args)

    monkeypatch.setattr(originals, "waitid", counted)
    ticker: type[Ticker] = request.getfixturevalue("ticker")
    child = Child()
    with ticker().at(3, child.end):
        os.waitpid(child.pid, 0)
    assert calls == []


def test_descriptors_of_processes_are_closed(patched: None) -> None:
    before = os.listdir("/dev/fd")
    for _ in range(3):
        child = Child()
        child.end()
        os.waitpid(child.pid, 0)
    assert len(os.listdir("/dev/fd")) == len(before)


def test_no_descriptor_left(
    patched: None, ticker: type[Ticker], monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    child = Child()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ticker().at(3, child.end):
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) - 1, limits[1]))
        try:
            assert os.waitpid(child.pid, 0) == (child.pid, ENDED)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_one_of_two_waiters_reaps(scheme: str, patched: None) -> None:
    child = Child()
    found: list[Any] = []

    def wait() -> None:
        try:
            found.append(os.waitpid(child.pid, 0))
        except ChildProcessError:
            found.append("nobody")

    threads = [threading.Thread(target=wait) for _ in range(2)]
    for thread in threads:
        thread.start()
    let_others_park()
    child.end()
    for thread in threads:
        thread.join()
    assert sorted(found, key=str) == [(child.pid, ENDED), "nobody"]


def test_a_stopped_child_is_told_and_not_reaped(ticker: type[Ticker]) -> None:
    child = Child()
    with ticker().at(3, lambda: os.kill(child.pid, signal.SIGSTOP)):
        pid, status = os.waitpid(child.pid, os.WUNTRACED)
    assert pid == child.pid
    assert os.WSTOPSIG(status) == signal.SIGSTOP
    with ticker().at(3, lambda: os.kill(child.pid, signal.SIGCONT)):
        pid, status = os.waitpid(child.pid, os.WCONTINUED)
    assert os.WIFCONTINUED(status)
    child.end()
    assert os.waitpid(child.pid, 0) == (child.pid, ENDED)


def test_waitid_may_leave_the_child_to_be_reaped(scheme: str, ticker: type[Ticker]) -> None:
    child = Child()
    with ticker().at(3, child.end):
        found = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert found is not None
    assert os.waitpid(child.pid, 0) == (child.pid, ENDED)


def test_not_waiting_is_not_parking(ticker: type[Ticker]) -> None:
    child = Child()
    with ticker(0) as others:
        before = others.ticks
        assert os.waitpid(child.pid, os.WNOHANG) == (0, 0)
        assert os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG) is None
        assert others.ticks == before
    child.end()
    os.waitpid(child.pid, 0)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("waitpid", ("x", 0)),
        ("waitpid", (1, "x")),
        ("waitpid", (1 << 40, 0)),
        ("waitpid", (1, 1 << 40)),
        ("waitpid", (os.getpid(), 0)),
        ("wait3", (None,)),
        ("wait4", (1.5, 0)),
        ("waitid", (0, 0, 0)),
        ("waitid", (99, 0, os.WEXITED)),
        ("waitid", (os.P_PID, os.getpid(), os.WEXITED)),
        ("system", (3,)),
        ("system", ("a\0b",)),
    ],
)
def test_bad_arguments_fail_as_in_stock(patched: None, name: str, args: tuple[Any, ...]) -> None:
    function: Any = getattr(os, name)
    outcomes = []
    for call in (capriccio_patch.original(f"os.{name}"), function):
        with pytest.raises((OSError, TypeError, ValueError, OverflowError)) as caught:
            call(*args)
        outcomes.append((caught.type, str(caught.value)))
    assert outcomes[0] == outcomes[1]


ANY_CHILD = """
    import os, sys, threading, time
    from capriccio_patch.cpython import originals
    import capriccio_patch
    capriccio_patch.patch_all()
    kernels = capriccio_patch.status()["processors"]

    def most(each):
        # OS threads: the watchdogs, kernels but the main one, and so many of each kernel.
        return kernels + (kernels - 1) + each * kernels

    def child(status):
        reader, writer = os.pipe()
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", f"read x; exit {status}"], os.environ,
                             file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)])
        os.close(reader)
        return pid, lambda: os.close(writer)
"""


def test_any_child(run_script: RunScript) -> None:
    run_script(
        ANY_CHILD
        + """
    waits = [
        os.wait,
        lambda: os.wait3(0)[:2],
        lambda: os.waitpid(-1, 0),
        lambda: os.waitpid(0, 0),
        lambda: os.waitpid(-os.getpgrp(), 0),
        lambda: os.wait4(-1, 0)[:2],
        lambda: (lambda r: (r.si_pid, r.si_status << 8))(os.waitid(os.P_ALL, 0, os.WEXITED)),
    ]
    for wait in waits:
        try:
            wait()
        except ChildProcessError:
            pass
        else:
            raise AssertionError("there was no child")
        one, end_one = child(1)
        two, end_two = child(2)
        thread = threading.Thread(target=end_two)  # runs while this one waits
        thread.start()
        assert wait() == (two, 2 << 8)
        thread = threading.Thread(target=end_one)
        thread.start()
        assert wait() == (one, 1 << 8)
    """
    )


def test_each_child_goes_to_one_of_many_waiters(run_script: RunScript) -> None:
    run_script(
        ANY_CHILD
        + """
    found = []

    def wait():
        found.append(os.wait())

    children = [child(n) for n in range(20)]
    threads = [threading.Thread(target=wait) for _ in children]
    for thread in threads:
        thread.start()
    time.sleep(0)
    assert originals.thread_count() <= most(1), "they share one OS thread"
    for _, end in children:
        end()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted((pid, n << 8) for n, (pid, _) in enumerate(children))
    """
    )


@pytest.mark.parametrize("call", ["os.wait()", "os.waitpid(pid, 0)"])
def test_an_exception_from_a_handler_ends_the_wait_and_reaps_nothing(
    run_script: RunScript, call: str
) -> None:
    run_script(
        ANY_CHILD
        + f"""
    import signal

    class Late(Exception):
        pass

    def raise_late(*_):
        raise Late

    signal.signal(signal.SIGALRM, raise_late)
    pid, end = child(3)
    for _ in range(5):
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        try:
            {call}
        except Late:
            continue
        raise AssertionError("the wait went on")
    assert originals.thread_count() <= most(1), "those that gave up leave one behind at most"
    end()
    assert {call} == (pid, 3 << 8)
    """
    )


def test_a_handler_that_reaps(run_script: RunScript) -> None:
    run_script(
        ANY_CHILD
        + """
    import signal
    reaped = []

    def reap(*_):
        try:
            reaped.append(os.waitpid(-1, os.WNOHANG))
        except ChildProcessError:
            pass  # the waiter has, on another kernel

    signal.signal(signal.SIGCHLD, reap)
    pid, end = child(3)
    outcome = []

    def wait():
        try:
            outcome.append(os.waitpid(pid, 0))
        except ChildProcessError:
            outcome.append(None)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.01)
    end()
    thread.join()
    assert outcome + reaped in ([None, (pid, 3 << 8)], [(pid, 3 << 8)]), (outcome, reaped)
    """
    )


# -- os.system -----------------------------------------------------------------------------------


def test_system_lets_others_run(ticker: type[Ticker], tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDWR)
    try:
        with ticker().at(3, lambda: os.write(fd, b"4\n")):
            assert os.system(f"read status < {fifo}; exit $status") == 4 << 8
    finally:
        os.close(fd)


def test_a_command_has_the_signal_mask_of_its_caller(patched: None, tmp_path: Path) -> None:
    path = tmp_path / "mask"
    code = f"import signal; open({str(path)!r}, 'w').write(str(signal.pthread_sigmask(0, ())))"
    (tmp_path / "code.py").write_text(code)
    assert os.system(f"{sys.executable} -S {tmp_path / 'code.py'}") == 0
    assert path.read_text() == "set()"


@pytest.mark.wall_clock
def test_handlers_run_when_system_is_over(run_script: RunScript) -> None:
    """As in stock, where the main thread is in C until then: a handler must not reap its child."""
    run_script(
        ANY_CHILD
        + """
    import signal
    reaped = []

    def reap(*_):
        try:
            reaped.append(os.waitpid(-1, os.WNOHANG))
        except ChildProcessError:
            reaped.append(None)

    signal.signal(signal.SIGCHLD, reap)
    signal.signal(signal.SIGALRM, lambda *_: alarms.append(time.monotonic()))
    alarms = []
    threading.Thread(target=time.sleep, args=(0.2,)).start()
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    assert os.system("sleep 0.1; exit 4") == 4 << 8
    over = time.monotonic()
    time.sleep(0)
    assert reaped == [None], reaped
    assert len(alarms) == 1 and alarms[0] > over - 0.05, "the handler did not wait"
    """
    )


# -- what is built on them -----------------------------------------------------------------------


def test_communicate_with_more_than_pipes_hold(ticker: type[Ticker]) -> None:
    data = os.urandom(3 << 20)
    with ticker(0) as ticks:
        done = subprocess.run(["cat"], input=data, stdout=subprocess.PIPE, timeout=30)
    assert done.stdout == data
    assert ticks.ticks > 1


def test_run_with_a_timeout(ticker: type[Ticker]) -> None:
    with ticker() as ticks, pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(["sleep", "60"], capture_output=True, timeout=0.05)
    assert ticks.ticks > 1


def test_many_at_once(patched: None) -> None:
    results: dict[int, tuple[str, int]] = {}
    everyone = threading.Barrier(60)

    def run(number: int) -> None:
        command = ["sh", "-c", "read line; echo $line; exit 7"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            everyone.wait()  # all of them run at this moment
            out, _ = process.communicate(f"{number}\n")
            results[number] = out, process.returncode

    threads = [threading.Thread(target=run, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: (f"{number}\n", 7) for number in range(60)}


def test_kill_ends_a_wait(ticker: type[Ticker]) -> None:
    with subprocess.Popen(["sleep", "60"]) as process, ticker().at(3, process.kill):
        assert process.wait() == -signal.SIGKILL


@forks
def test_popen_and_terminals(ticker: type[Ticker]) -> None:
    import pty

    with ticker():
        with os.popen("sleep 0.01; echo told") as pipe:
            assert pipe.read() == "told\n"
        pid, fd = pty.fork()
        if pid == 0:
            os.execvp("sh", ["sh", "-c", "sleep 0.01; echo told; read line"])
        assert os.read(fd, 100) == b"told\r\n"
        os.close(fd)
        assert os.waitpid(pid, 0)[0] == pid


def test_children_see_blocking_descriptors_and_none_of_ours(patched: None) -> None:
    code = (
        "import os; print([os.get_blocking(fd) for fd in (0, 1, 2)],"
        " {os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd')"
        " if os.path.islink(f'/proc/self/fd/{fd}')})"
    )
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system does not list descriptors")
    for prepare in (None, lambda: time.sleep(0)):
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            capture_output=True,
            text=True,
            close_fds=False,
            preexec_fn=prepare,
        )
        assert done.stdout.startswith("[True, True, True]"), done.stderr
        assert "anon_inode" not in done.stdout


# -- fork ----------------------------------------------------------------------------------------

FORK = """
    import os, queue, sys, threading, time
    import capriccio_patch
    capriccio_patch.patch_all()

    def in_child(check):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                check()
                status = 0
            finally:
                os._exit(status)
        killer = threading.Timer(10, os.kill, (pid, 9))
        killer.start()
        assert os.waitpid(pid, 0) == (pid, 0)
        killer.cancel()
"""


def test_a_forked_child_has_timers_of_its_own(run_script: RunScript) -> None:
    run_script(
        FORK
        + """
    items = queue.Queue()
    threading.Timer(0.01, items.put, (1,)).start()
    assert items.get(timeout=0.5) == 1  # its deadline is still to come
    in_child(lambda: time.sleep(0.6))
    """
    )


def test_a_forked_child_has_one_thread(run_script: RunScript) -> None:
    run_script(
        FORK
        + """
    lock = threading.Lock()
    ran = []

    def other():
        with lock:
            ran.append(os.getpid())

    lock.acquire()
    threads = [threading.Thread(target=other) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.01)

    def check():
        assert threading.active_count() == 1
        assert capriccio_patch.status()["threads"] == 1
        lock.release()
        time.sleep(0.01)
        assert ran == []
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert ran == [os.getpid()]

    in_child(check)
    from_thread = threading.Thread(target=in_child, args=(check,))
    from_thread.start()
    from_thread.join()
    lock.release()
    for thread in threads:
        thread.join()
    assert ran == [os.getpid()] * 3
    """
    )


def test_a_forked_child_keeps_none_of_the_parents_descriptors(run_script: RunScript) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system does not list descriptors")
    run_script(
        FORK
        + """
    def descriptors():
        names = []
        for fd in os.listdir("/proc/self/fd"):
            try:
                names.append(os.readlink(f"/proc/self/fd/{fd}"))
            except FileNotFoundError:
                pass  # the one of this listing
        return names

    reader, writer = os.pipe()
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "read x"], os.environ,
                         file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)])
    time.sleep(0)
    kernels = capriccio_patch.status()["processors"]
    before = descriptors()
    waiter = threading.Thread(target=os.waitpid, args=(pid, 0))
    waiter.start()
    time.sleep(0.01)

    def check():
        now = descriptors()
        assert "anon_inode:[pidfd]" not in now, now
        # Each further kernel has a scheme and its pipe less, at least.
        assert len(before) - len(now) >= 3 * (kernels - 1), (before, now)
        assert kernels > 1 or len(now) == len(before), (before, now)
        pipes = [name for name in before if name.startswith("pipe:")]
        shared = [name for name in now if name in pipes]
        program = [name for name in pipes if name in (
            os.readlink(f"/proc/self/fd/{reader}"), os.readlink(f"/proc/self/fd/{writer}"))]
        assert set(shared) - set(program) <= {os.readlink(f"/proc/self/fd/{n}") for n in (0, 1, 2)}

    in_child(check)
    os.close(writer)
    waiter.join()
    """
    )


CHILDREN: dict[str, Callable[[], Any]] = {
    "wait": lambda: os.wait()[1],
    "waitpid": lambda: os.waitpid(-1, 0)[1],
    "wait3": lambda: os.wait3(0)[1],
    "waitid": lambda: _waitid(os.P_ALL, 0)[1],
}


@pytest.mark.parametrize("name", CHILDREN)
def test_where_no_os_thread_can_wait_others_run(
    no_os_threads: None, ticker: type[Ticker], name: str
) -> None:
    child = Child()
    with ticker().at(3, child.end):
        assert CHILDREN[name]() == ENDED


def test_where_no_os_thread_can_call_system_it_is_called(no_os_threads: None) -> None:
    assert os.waitstatus_to_exitcode(os.system("exit 3")) == 3
