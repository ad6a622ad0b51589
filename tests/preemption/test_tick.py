"""A thread that computes steps aside: the others run, and it loses nothing."""

from __future__ import annotations

import _thread
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.kernel import slices
from capriccio_patch.kernel.core import Kernel
from tests.conftest import SCHEMES, with_scheme
from tests.inside import applied
from tests.preemption.conftest import started

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGRTMAX") and not hasattr(signal, "SIGEMT"),
    reason="no signal number to spare",
)


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
        time.sleep(0.001)  # the main thread has returned from `start`, which may be C's
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


def test_preempted_threads_that_need_little_do_not_wait_for_each_other(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "_QUICK", 0.01)  # however slow the machine is
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


def test_the_number_in_use_is_given_up_to_the_program(patched: None) -> None:
    preemption = applied().watchdog.preemption
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
