"""Signal handlers run in the main thread, whatever was running when the signal came."""

from __future__ import annotations

import os
import queue
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import capriccio_patch
from tests.signals.conftest import USR1, USR2, Stop, Storm, os_thread, send, stop

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs POSIX signals"),
    pytest.mark.usefixtures("signal_dispositions"),
]


# -- what the main thread waits for --------------------------------------------------------------


class Wait:
    """A wait of the main thread, what ends it, and what is left to another thread."""

    def __init__(self, wait: Callable[[], Any], end: Callable[[], Any]) -> None:
        self.wait = wait
        self.end = end


def _lock(opened: ExitStack) -> Wait:
    lock = threading.Lock()
    lock.acquire()

    def wait() -> None:
        with lock:
            pass

    return Wait(wait, lock.release)


def _rlock(opened: ExitStack) -> Wait:
    lock = threading.RLock()
    release = threading.Event()
    held = threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            release.wait()

    threading.Thread(target=hold).start()
    held.wait()

    def wait() -> None:
        with lock:
            pass

    return Wait(wait, release.set)


def _event(opened: ExitStack) -> Wait:
    event = threading.Event()
    return Wait(event.wait, event.set)


def _queue(opened: ExitStack) -> Wait:
    items: queue.Queue[int] = queue.Queue()
    return Wait(items.get, lambda: items.put(1))


def _simple_queue(opened: ExitStack) -> Wait:
    items: queue.SimpleQueue[int] = queue.SimpleQueue()
    return Wait(items.get, lambda: items.put(1))


def _join(opened: ExitStack) -> Wait:
    event = threading.Event()
    thread = threading.Thread(target=event.wait)
    thread.start()
    return Wait(thread.join, event.set)


def _future(opened: ExitStack) -> Wait:
    future: Future[int] = Future()
    return Wait(future.result, lambda: future.set_result(1))


def _recv(opened: ExitStack) -> Wait:
    one, other = map(opened.enter_context, socket.socketpair())
    return Wait(lambda: one.recv(1), lambda: other.send(b"1"))


def _accept(opened: ExitStack) -> Wait:
    listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))

    def accept() -> None:
        connection, _ = listener.accept()
        connection.close()

    def connect() -> None:
        socket.create_connection(listener.getsockname()).close()

    return Wait(accept, connect)


def _pipe(opened: ExitStack) -> Wait:
    reader, writer = os.pipe()
    for end in (reader, writer):
        opened.callback(os.close, end)
    return Wait(lambda: os.read(reader, 1), lambda: os.write(writer, b"1"))


def _select(opened: ExitStack) -> Wait:
    reader, writer = os.pipe()
    for end in (reader, writer):
        opened.callback(os.close, end)
    return Wait(lambda: select.select([reader], [], []), lambda: os.write(writer, b"1"))


WAITS = [
    _lock, _rlock, _event, _queue, _simple_queue, _join, _future, _recv, _accept, _pipe, _select
]  # fmt: skip


@pytest.mark.parametrize("make", WAITS)
def test_what_a_handler_raises_ends_the_wait_and_leaves_no_waiter(
    ticker: Any, opened: ExitStack, make: Any
) -> None:
    wait = make(opened)
    signal.signal(USR1, stop)
    with ticker().at(3, send), pytest.raises(Stop):
        wait.wait()
    # Had the main thread stayed in the queue, this one would wait for ever.
    other = threading.Thread(target=wait.wait)
    other.start()
    wait.end()
    other.join(60)
    assert not other.is_alive()


@pytest.mark.parametrize("make", WAITS)
def test_a_wait_goes_on_after_the_handler(ticker: Any, opened: ExitStack, make: Any) -> None:
    wait = make(opened)
    calls: list[int] = []
    signal.signal(USR1, lambda signum, frame: calls.append(signum))
    with ticker().at(3, send).at(6, wait.end):
        wait.wait()
    assert calls == [USR1]


@pytest.mark.wall_clock
def test_a_sleep_keeps_its_deadline(ticker: Any) -> None:
    signal.signal(USR1, lambda signum, frame: None)
    begun = time.monotonic()
    with ticker() as ticks:
        for turn in range(5, 50, 5):
            ticks.at(turn, send)
        time.sleep(0.1)
    assert 0.1 <= time.monotonic() - begun < 2


def test_a_timeout_that_passes_during_the_handler_ends_the_wait(ticker: Any) -> None:
    signal.signal(USR1, lambda signum, frame: time.sleep(0.1))
    with ticker().at(2, send):
        assert threading.Event().wait(0.05) is False


def test_a_wait_that_ends_during_the_handler_is_over(ticker: Any) -> None:
    event = threading.Event()
    signal.signal(USR1, lambda signum, frame: time.sleep(0.05))
    with ticker().at(2, send).at(4, event.set):
        assert event.wait()


# -- where handlers run ---------------------------------------------------------------------------


def test_a_handler_runs_in_the_main_thread_and_sees_its_frame(ticker: Any) -> None:
    seen: list[Any] = []

    def handler(signum: int, frame: Any) -> None:
        seen.append((signum, threading.current_thread(), frame.f_code.co_name))

    def blocks() -> None:
        while not seen:
            time.sleep(0.05)

    signal.signal(USR1, handler)
    with ticker().at(3, send):
        blocks()
    assert seen == [(USR1, threading.main_thread(), "blocks")]


def test_a_handler_that_receives_takes_nothing_from_the_thread_that_polls(
    patched: None, opened: ExitStack
) -> None:
    mine, my_peer = map(opened.enter_context, socket.socketpair())
    its, its_peer = map(opened.enter_context, socket.socketpair())
    got: list[bytes] = []
    woken = threading.Event()

    def handler(signum: int, frame: Any) -> None:
        its_peer.send(b"yours")  # arrives while the handler waits
        my_peer.send(b"mine")
        got.append(mine.recv(10))

    def poll() -> None:
        got.append(its.recv(10))
        woken.set()

    signal.signal(USR1, handler)
    thread = threading.Thread(target=poll)
    thread.start()
    os_thread(lambda: (capriccio_patch.original("time.sleep")(0.05), send()))
    assert woken.wait(60)
    thread.join()
    assert sorted(got) == [b"mine", b"yours"]


def test_a_handler_that_waits_parks_the_main_thread_only(ticker: Any) -> None:
    event = threading.Event()
    before: list[int] = []
    ticks = ticker()

    def handler(signum: int, frame: Any) -> None:
        before.append(ticks.ticks)
        assert event.wait(60)
        before.append(ticks.ticks)

    signal.signal(USR1, handler)
    with ticks.at(3, send).at(9, event.set):
        while len(before) < 2:
            time.sleep(0.001)
    assert before[1] - before[0] >= 5


def test_a_signal_interrupts_a_handler_that_waits(ticker: Any) -> None:
    event = threading.Event()
    ended: list[bool] = []
    signal.signal(USR1, lambda signum, frame: ended.append(event.wait(60)))
    signal.signal(USR2, lambda signum, frame: event.set())
    with ticker().at(2, send).at(5, lambda: send(USR2)):
        while not ended:
            time.sleep(0.001)
    assert ended == [True]


def test_a_handler_interrupted_by_an_exception_of_another_ends_both(ticker: Any) -> None:
    order: list[str] = []

    def outer(signum: int, frame: Any) -> None:
        try:
            threading.Event().wait()
        finally:
            order.append("outer")

    signal.signal(USR1, outer)
    signal.signal(USR2, stop)
    with ticker().at(2, send).at(5, lambda: send(USR2)), pytest.raises(Stop):
        threading.Event().wait()
    assert order == ["outer"]


def test_signals_of_one_moment_are_handled_in_the_order_of_their_numbers(patched: None) -> None:
    order: list[int] = []
    numbers = sorted({USR1, USR2, signal.SIGCHLD})
    for signum in numbers:
        signal.signal(signum, lambda signum, frame: order.append(signum))

    def all_at_once() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        for signum in reversed(numbers + numbers):
            send(signum)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)

    all_at_once()
    assert order == numbers
    order.clear()
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # the thread's own would not keep them off
    thread = threading.Thread(target=all_at_once)
    thread.start()
    thread.join()
    assert order == numbers


def test_a_blocked_signal_does_not_come_to_an_idle_worker(patched: None) -> None:
    calls: list[int] = []
    signal.signal(USR1, lambda signum, frame: calls.append(signum))
    socket.getaddrinfo("127.0.0.1", "http")
    signal.pthread_sigmask(signal.SIG_BLOCK, {USR1})
    try:
        send(USR1)
        send(USR1)
        assert (signal.sigpending(), calls) == ({USR1}, [])
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {USR1})
    assert calls == [USR1]


def test_those_behind_a_handler_that_raises_still_come(ticker: Any) -> None:
    calls: list[int] = []
    signal.signal(USR1, stop)
    signal.signal(USR2, lambda signum, frame: calls.append(signum))

    def both() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {USR1, USR2})
        send(USR1)
        send(USR2)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {USR1, USR2})

    with ticker().at(3, both), pytest.raises(Stop):
        time.sleep(60)
    assert calls == [USR2]


@pytest.mark.parametrize("how", ["raise_signal", "kill", "interrupt_main", "pthread_kill"])
def test_a_signal_to_oneself_is_seen_before_the_call_returns(patched: None, how: str) -> None:
    import _thread

    signal.signal(USR1, stop)
    send_it = {
        "raise_signal": lambda: signal.raise_signal(USR1),
        "kill": lambda: os.kill(os.getpid(), USR1),
        "interrupt_main": lambda: _thread.interrupt_main(USR1),
        "pthread_kill": lambda: signal.pthread_kill(threading.get_ident(), USR1),
    }[how]
    try:
        send_it()
        pytest.fail("the signal had not come when the call returned")
    except Stop:
        pass


# -- what belongs together stays together ---------------------------------------------------------


@pytest.mark.skipif(
    sys.version_info[:2] == (3, 14), reason="in stock one comes there: it looks after calls of C"
)
def test_no_signal_comes_between_taking_a_lock_and_its_with_block(patched: None) -> None:
    lock = threading.Lock()
    rlock = threading.RLock()
    storm = Storm()
    armed = False

    def handler(signum: int, frame: Any) -> None:
        nonlocal armed
        storm.handled += 1
        if armed:
            armed = False
            raise Stop

    signal.signal(USR1, handler)
    with storm:
        while storm.handled < 300:
            try:
                armed = True
                while True:
                    with lock, rlock:
                        pass
            except Stop:
                assert not lock.locked()
                assert not rlock._is_owned()  # type: ignore[attr-defined]
    assert storm.handled >= 300


def test_no_wake_up_is_lost_in_a_storm_of_signals(patched: None) -> None:
    one, other = socket.socketpair()
    storm = Storm()

    def handler(signum: int, frame: Any) -> None:
        storm.handled += 1
        time.sleep(0)

    def echo() -> None:
        while data := other.recv(10):
            other.sendall(data)

    signal.signal(USR1, handler)
    thread = threading.Thread(target=echo)
    thread.start()
    rounds = 0
    with storm:
        while storm.handled < 500:
            one.sendall(b"%d" % rounds)
            assert one.recv(10) == b"%d" % rounds
            rounds += 1
    one.close()
    thread.join(60)
    other.close()
    assert not thread.is_alive()
    assert storm.handled >= 500
    assert storm.handled == storm.sent


# -- whole programs -------------------------------------------------------------------------------

CTRL_C = {
    "sleep": "time.sleep(30)",
    "join": "t = threading.Thread(target=time.sleep, args=(30,), daemon=True); t.start(); t.join()",
    "lock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "recv": "a, b = socket.socketpair(); a.recv(1)",
    "queue": "queue.Queue().get()",
    "input": "input()",
    "busy": "threading.Thread(target=hog, daemon=True).start(); time.sleep(30)",
    "computing": "hog()",
    "exit": "threading.Thread(target=time.sleep, args=(30,)).start()",
}


@pytest.mark.parametrize("what", CTRL_C)
def test_ctrl_c(environ: dict[str, str], tmp_path: Path, what: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, queue, socket, sys, threading, time

            def hog():
                while True:
                    pass

            def tell():
                time.sleep(0.02)
                os.write(1, b"ready\\n")

            threading.Thread(target=tell).start()
            """
        )
        + CTRL_C[what]
    )
    if what in ("computing", "busy"):
        script.write_text(script.read_text().replace("time.sleep(0.02)", "pass"))
    with subprocess.Popen(
        [sys.executable, "-m", "capriccio_patch", str(script)],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert "KeyboardInterrupt" in errors
    # The interpreter gives up joining at exit, and ends as if nothing had been.
    assert process.returncode == (0 if what == "exit" else -signal.SIGINT)


def test_a_handler_that_forks_leaves_the_child_its_wait(run_script: Any) -> None:
    done = run_script(
        """
        import os, signal, sys, threading, time
        import capriccio_patch
        capriccio_patch.patch_all()
        pids = []
        signal.signal(signal.SIGUSR1, lambda signum, frame: pids.append(os.fork()))
        threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        begun = time.monotonic()
        time.sleep(0.2)
        assert time.monotonic() - begun >= 0.2
        while not pids:
            time.sleep(0.001)
        assert threading.current_thread() is threading.main_thread()
        signal.signal(signal.SIGUSR1, lambda signum, frame: pids.append("again"))
        os.kill(os.getpid(), signal.SIGUSR1)
        assert pids.pop() == "again"
        if pids[0]:
            print(os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]))
        """
    )
    assert done.stdout == "0\n"


def test_a_thread_that_forks_has_the_handlers_in_its_child(run_script: Any) -> None:
    done = run_script(
        """
        import os, signal, threading, time
        import capriccio_patch
        capriccio_patch.patch_all()
        calls = []

        def handler(signum, frame):
            calls.append(threading.current_thread())

        signal.signal(signal.SIGUSR1, handler)

        def child():
            threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            while not calls:
                time.sleep(0.001)
            return calls == [threading.main_thread()]

        def fork():
            pid = os.fork()
            if not pid:
                os._exit(0 if child() else 1)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
        """
    )
    assert done.stdout == "0\n"


def test_children_are_reaped_in_a_handler(run_script: Any) -> None:
    done = run_script(
        """
        import os, signal, subprocess, sys, threading, time
        import capriccio_patch
        capriccio_patch.patch_all()
        reaped = set()

        def reap(signum, frame):
            while True:
                try:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    return
                if not pid:
                    return
                reaped.add(pid)

        signal.signal(signal.SIGCHLD, reap)
        pids = set()
        for n in range(5):
            pid = os.fork()
            if not pid:
                os.execv("/bin/sh", ["sh", "-c", f"sleep 0.0{n}"])
            pids.add(pid)
        while len(reaped) < len(pids):
            time.sleep(1)
        print(reaped == pids)
        """
    )
    assert done.stdout == "True\n"


def test_asyncio_signal_handlers_run_once_each(run_script: Any) -> None:
    done = run_script(
        """
        import asyncio, os, signal
        import capriccio_patch
        capriccio_patch.patch_all()
        start_os_thread = capriccio_patch.original("_thread.start_new_thread")
        calls = []
        count = 50

        async def main():
            loop = asyncio.get_running_loop()
            handled = asyncio.Event()

            def handler():
                calls.append(1)
                handled.set()

            loop.add_signal_handler(signal.SIGUSR1, handler)
            for _ in range(count):
                handled.clear()
                start_os_thread(os.kill, (os.getpid(), signal.SIGUSR1))
                await asyncio.wait_for(handled.wait(), 60)
            loop.remove_signal_handler(signal.SIGUSR1)

        asyncio.run(main())
        print(len(calls))
        """
    )
    assert done.stdout == "50\n"


def test_a_signal_from_outside_wakes_a_process_with_nothing_to_run(run_script: Any) -> None:
    done = run_script(
        """
        import signal, threading, time
        import capriccio_patch
        capriccio_patch.patch_all()

        def handler(signum, frame):
            raise ZeroDivisionError

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            threading.Event().wait()
        except ZeroDivisionError:
            print("interrupted")
        """
    )
    assert done.stdout == "interrupted\n"


AVAILABLE = [n for n, reason in capriccio_patch.available_backends().items() if reason is None]


@pytest.mark.parametrize("scheme", AVAILABLE)
def test_handlers_under_each_io_scheme(run_script: Any, scheme: str) -> None:
    done = run_script(
        """
        import os, signal, socket, threading, time
        import capriccio_patch
        capriccio_patch.patch_all()
        main, its_peer = socket.socketpair()
        mine, my_peer = socket.socketpair()
        got, begun = [], threading.Event()

        def handler(signum, frame):
            begun.set()
            got.append(mine.recv(1))

        def send():
            begun.wait()
            time.sleep(0.01)
            my_peer.send(b"1")
            while not got:
                time.sleep(0.001)
            its_peer.send(b"2")

        threading.Thread(target=send).start()
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        got.append(main.recv(1))
        print(got)
        """,
        env={"CAPRICCIO_SOCKIO": scheme},
    )
    assert done.stdout == "[b'1', b'2']\n"
