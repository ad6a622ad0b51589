"""Locks shared by processes, and multiprocessing as a whole."""

from __future__ import annotations

import multiprocessing
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import capriccio_patch

Ticker = Any
RunScript = Callable[..., "subprocess.CompletedProcess[str]"]

context = multiprocessing.get_context("fork")


def in_thread(call: Callable[..., Any], *args: Any) -> Any:
    """What `call` returns, or the exception that it raises, in another thread."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(call(*args))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcome[0]


@pytest.mark.parametrize("make", [context.Lock, context.RLock, context.Semaphore])
def test_acquire_lets_others_run(ticker: type[Ticker], make: Callable[[], Any]) -> None:
    lock = make()
    taken, free = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            free.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    with ticker().at(3, free.set):
        assert lock.acquire() is True
        lock.release()
    holder.join()


def test_acquire_with_a_timeout(ticker: type[Ticker]) -> None:
    lock = context.Lock()
    lock.acquire()
    with ticker() as others:
        assert lock.acquire(True, 0.02) is False
    assert others.ticks > 1
    assert lock.acquire(False) is False
    assert lock.acquire(timeout=-1) is False
    lock.release()
    assert lock.acquire(timeout=5) is True


def test_bad_timeouts_fail_as_in_stock(patched: None) -> None:
    lock = context.Lock()
    acquire = capriccio_patch.original("_multiprocessing.SemLock.acquire")
    with pytest.raises(TypeError) as stock:
        acquire(lock._semlock, True, "1")
    with pytest.raises(TypeError) as ours:
        lock.acquire(True, "1")
    assert str(ours.value) == str(stock.value)
    assert lock.acquire(False)


def test_a_recursive_lock_is_one_threads(patched: None) -> None:
    lock = context.RLock()
    with lock, lock:
        assert in_thread(lock.acquire, False) is False
        assert in_thread(lock.acquire, True, 0.01) is False
        error = in_thread(lock.release)
        assert isinstance(error, AssertionError)
        assert str(error) == "attempt to release recursive lock not owned by thread"
        assert lock._semlock._is_mine()
        assert not in_thread(lock._semlock._is_mine)
    assert in_thread(lock.acquire, False) is True


def test_a_recursive_lock_that_was_waited_for(patched: None) -> None:
    lock = context.RLock()
    results = []

    def take_twice() -> None:
        with lock, lock:
            results.append(lock._semlock._count())
            time.sleep(0.005)
            results.append(in_thread(lock.acquire, False))

    lock.acquire()
    threads = [threading.Thread(target=take_twice) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.01)
    lock.release()
    for thread in threads:
        thread.join()
    assert results == [2, False] * 3
    assert lock._semlock._is_zero() is False


def test_locks_from_before_the_patch(run_script: RunScript) -> None:
    run_script(
        """
        import multiprocessing, threading, time
        context = multiprocessing.get_context("fork")
        lock, held = context.Lock(), context.RLock()
        held.acquire()
        acquire = lock.acquire
        import capriccio_patch
        capriccio_patch.patch_all()

        assert held._semlock._is_mine()
        answers = []
        thread = threading.Thread(target=lambda: answers.append(held.acquire(False)))
        thread.start()
        thread.join()
        assert answers == [False]
        held.release()

        lock.acquire()
        threading.Timer(0.01, lock.release).start()
        assert acquire()
        """
    )


def test_an_os_thread_and_a_green_one(patched: None) -> None:
    lock = context.Lock()
    done = threading.Event()
    start = capriccio_patch.original("_thread.start_new_thread")
    lock.acquire()

    def run() -> None:
        lock.acquire()
        done.set()

    start(run, ())
    assert not done.wait(0.01)
    lock.release()
    assert done.wait(60)
    start(lock.release, ())
    assert lock.acquire()


def test_conditions_events_and_barriers(patched: None) -> None:
    condition, event, barrier = context.Condition(), context.Event(), context.Barrier(4)
    passed: list[str] = []
    waiting = context.Semaphore(0)

    def go() -> None:
        with condition:
            waiting.release()
            assert condition.wait(60)
        assert event.wait(60)
        barrier.wait(60)
        passed.append("all")

    threads = [threading.Thread(target=go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in threads:
        waiting.acquire()
    with condition:
        condition.notify_all()
    event.set()
    barrier.wait(60)
    for thread in threads:
        thread.join()
    assert passed == ["all"] * 3


def test_an_interrupted_acquire_takes_nothing(run_script: RunScript) -> None:
    run_script(
        """
        import multiprocessing, signal, threading
        import capriccio_patch
        capriccio_patch.patch_all()
        context = multiprocessing.get_context("fork")

        class Late(Exception):
            pass

        def raise_late(*_):
            raise Late

        signal.signal(signal.SIGALRM, raise_late)
        for lock in (context.Lock(), context.RLock()):
            taken, free = threading.Event(), threading.Event()

            def hold():
                with lock:
                    taken.set()
                    free.wait()

            holder = threading.Thread(target=hold)
            holder.start()
            taken.wait()
            for _ in range(3):
                signal.setitimer(signal.ITIMER_REAL, 0.01)
                try:
                    lock.acquire()
                except Late:
                    continue
                raise AssertionError("it was not interrupted")
            free.set()
            holder.join()
            for _ in range(3):
                assert lock.acquire(timeout=5)
                lock.release()
            assert lock._semlock._count() == 0
        """
    )


def test_nobody_is_let_in_while_it_is_handed_over(run_script: RunScript) -> None:
    """The worker of one that waits takes it between the two steps of one that tries."""
    run_script(
        """
        import multiprocessing, threading, time
        import capriccio_patch
        from capriccio_patch.cpython import originals
        home, real = originals.get_ident(), originals.semlock_acquire
        late = []
        def acquire(semlock, *how):
            if late and originals.get_ident() == home:
                while not semlock._count():
                    originals.sleep(0.001)
                originals.sleep(0.02)
            return real(semlock, *how)
        originals.semlock_acquire = acquire
        capriccio_patch.patch_all()
        lock = multiprocessing.get_context("fork").RLock()
        inside = []
        def enter(name):
            with lock:
                inside.append(name)
                time.sleep(0.001)
                with lock:
                    inside.append(name)
        lock.acquire()
        thread = threading.Thread(target=enter, args=("first",))
        thread.start()
        time.sleep(0.02)
        lock.release()
        late.append(True)
        enter("second")
        thread.join()
        assert inside == ["first", "first", "second", "second"], inside
        """
    )


def test_processes_and_threads_exclude_each_other(run_script: RunScript) -> None:
    run_script(
        """
        import multiprocessing, threading, time
        import capriccio_patch
        capriccio_patch.patch_all()
        context = multiprocessing.get_context("fork")
        value = context.Value("i", 0)

        def count():
            for i in range(100):
                with value.get_lock():
                    found = value.value
                    if i % 7 == 0:
                        time.sleep(0)
                    value.value = found + 1

        def run():
            threads = [threading.Thread(target=count) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        processes = [context.Process(target=run) for _ in range(2)]
        for process in processes:
            process.start()
        run()
        for process in processes:
            process.join()
            assert process.exitcode == 0
        assert value.value == 1200
        """
    )


WHOLE = """
    import multiprocessing, os, sys, threading, time
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import shared_memory

    def square(x):
        return x * x

    def echo(connection):
        connection.send(connection.recv())

    def die():
        os._exit(5)

    def serve(tasks, results, ready):
        while (task := tasks.get()) is not None:
            results.put(task + 1)
            tasks.task_done()
        tasks.task_done()
        ready.wait()
        results.put("ready")

    def fill(name):
        memory = shared_memory.SharedMemory(name=name)
        memory.buf[0] = 42
        memory.close()

    def is_patched():
        module = sys.modules.get("capriccio_patch")
        return module is not None and module.status()["patched"]

    def main(method):
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            assert list(pool.map(square, range(20))) == [n * n for n in range(20)]
            assert pool.submit(is_patched).result() is (method == "fork")
            try:
                pool.submit(die).result()
            except BrokenProcessPool:
                pass
        with context.Pool(2) as pool:
            assert sum(pool.imap_unordered(square, range(20), 3)) == 2470
        here, there = context.Pipe()
        process = context.Process(target=echo, args=(there,))
        process.start()
        data = bytes(2_000_000)
        here.send(data)
        assert here.recv() == data
        process.join()
        assert process.exitcode == 0
        tasks, results, ready = context.JoinableQueue(), context.Queue(), context.Event()
        process = context.Process(target=serve, args=(tasks, results, ready))
        process.start()
        for number in range(20):
            tasks.put(number)
        tasks.put(None)
        tasks.join()
        assert [results.get() for _ in range(20)] == list(range(1, 21))
        ready.set()
        assert results.get() == "ready"
        process.join()
        memory = shared_memory.SharedMemory(create=True, size=10)
        process = context.Process(target=fill, args=(memory.name,))
        process.start()
        process.join()
        assert memory.buf[0] == 42
        memory.close()
        memory.unlink()
        process = context.Process(target=time.sleep, args=(60,))
        process.start()
        process.terminate()
        process.join()
        assert process.exitcode == -15
        with context.Manager() as manager:
            items = manager.list()
            threads = [threading.Thread(target=items.append, args=(n,)) for n in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(items) == list(range(5))

    if __name__ == "__main__":
        import capriccio_patch
        capriccio_patch.patch_all()
        main(sys.argv[1])
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_all_of_it(run_script: RunScript, method: str) -> None:
    """A forked child is patched as its parent is; a spawned one starts as any interpreter does."""
    done = run_script(WHOLE, method, options=("-W", "ignore::DeprecationWarning"))
    assert done.stderr == ""
