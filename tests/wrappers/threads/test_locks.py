"""``_thread.lock`` and ``_thread.RLock`` among green threads, and between them and OS threads."""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import gc
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from capriccio_patch import original
from capriccio_patch.cpython import originals
from capriccio_patch.cpython.standstill import has_gil
from tests.conftest import RunScript, Ticker, wait_until

pytestmark = pytest.mark.usefixtures("patched")

Start = Callable[[Callable[[], Any]], None]


def start_green(run: Callable[[], Any]) -> None:
    threading.Thread(target=run).start()


def start_os(run: Callable[[], Any]) -> None:
    original("_thread.start_new_thread")(run, ())


def spin(condition: Callable[[], Any]) -> None:
    """Let others run until `condition` holds."""
    while not condition():
        time.sleep(0.0005)


@pytest.fixture(params=[threading.Lock, threading.RLock], ids=["lock", "rlock"])
def lock(request: pytest.FixtureRequest) -> Any:
    return request.param()


class Holder:
    """A thread that takes a lock and keeps it until it is told."""

    def __init__(self, lock: Any, start: Start = start_green) -> None:
        self.lock = lock
        self.has = False
        self.enough = False
        start(self._run)
        spin(lambda: self.has)

    def _run(self) -> None:
        with self.lock:
            self.has = True
            while not self.enough:
                time.sleep(0.0005)
        self.has = False

    def let_go(self) -> None:
        self.enough = True


STARTS = pytest.mark.parametrize("start", [start_green, start_os], ids=["green", "os"])


class TestAcquire:
    @STARTS
    def test_waits_for_whoever_has_it(self, lock: Any, start: Start) -> None:
        holder = Holder(lock, start)
        with Ticker().at(3, holder.let_go):
            assert lock.acquire() is True
        lock.release()

    @STARTS
    def test_without_blocking(self, lock: Any, start: Start) -> None:
        holder = Holder(lock, start)
        assert lock.acquire(False) is False
        assert lock.acquire(blocking=False) is False
        assert lock.acquire(True, 0) is False
        holder.let_go()
        spin(lambda: lock.acquire(False))
        lock.release()

    @STARTS
    def test_a_timeout_passes_and_leaves_the_queue(self, lock: Any, start: Start) -> None:
        holder = Holder(lock, start)
        before = time.monotonic()
        with Ticker() as ticker:
            assert lock.acquire(timeout=0.02) is False
            assert ticker.ticks > 1
        assert time.monotonic() - before >= 0.02
        holder.let_go()
        assert lock.acquire(timeout=30)  # nobody hands it to the wait that is over
        lock.release()
        assert lock.acquire(timeout=30)
        lock.release()

    @pytest.mark.parametrize(
        "args",
        [
            (True, -2),
            (True, -0.5),
            (False, 1),
            (False, 0),
            (True, 1e100),
            (True, float("nan")),
            (True, "soon"),
            (True, None),
            (True, threading.TIMEOUT_MAX + 1e6),
            (True, 1, 2),
        ],
    )
    def test_bad_arguments_are_those_of_stock(self, lock: Any, args: tuple[Any, ...]) -> None:
        stock = originals.rlock_acquire if "RLock" in repr(lock) else originals.lock_acquire
        with pytest.raises((ValueError, TypeError, OverflowError)) as expected:
            stock(lock, *args)
        with pytest.raises((ValueError, TypeError, OverflowError)) as found:
            lock.acquire(*args)
        assert type(found.value) is type(expected.value)
        if len(args) == 2:
            assert str(found.value) == str(expected.value)

    @pytest.mark.parametrize("timeout", [-1, -1.0, 1, 0.5, True, threading.TIMEOUT_MAX])
    def test_good_timeouts(self, lock: Any, timeout: float) -> None:
        assert lock.acquire(True, timeout)
        lock.release()

    @pytest.mark.one_processor
    def test_the_first_to_wait_is_the_first_to_have_it(self, lock: Any) -> None:
        order: list[int] = []
        holder = Holder(lock)

        def take(number: int) -> Callable[[], None]:
            def run() -> None:
                with lock:
                    order.append(number)
                    time.sleep(0)

            return run

        for number in range(10):
            start_green(take(number))
            time.sleep(0)
        holder.let_go()
        spin(lambda: len(order) == 10)
        assert order == sorted(order)

    def test_who_takes_it_in_a_loop_does_not_starve_others(self, lock: Any) -> None:
        got: list[bool] = []

        def loop() -> None:
            while not got:
                with lock:
                    time.sleep(0)

        start_green(loop)
        time.sleep(0)
        with lock:
            got.append(True)

    @STARTS
    def test_mutual_exclusion(self, lock: Any, start: Start) -> None:
        inside = 0
        most = 0
        done: list[int] = []

        def work() -> None:
            nonlocal inside, most
            for _ in range(100):
                with lock:
                    inside += 1
                    most = max(most, inside)
                    time.sleep(0)
                    inside -= 1
            done.append(1)

        for _ in range(8):
            start_green(work)
        for _ in range(2):
            start(work)
        spin(lambda: len(done) == 10)
        assert most == 1


class TestRelease:
    def test_of_what_nobody_has(self, lock: Any) -> None:
        with pytest.raises(RuntimeError, match=r"release un(locked lock|-acquired)"):
            lock.release()

    def test_from_an_os_thread_wakes_a_green_one(self) -> None:
        lock = threading.Lock()
        lock.acquire()
        ticker = Ticker()

        def release() -> None:
            while ticker.ticks < 3:
                original("time.sleep")(0.001)
            lock.release()

        start_os(release)
        with ticker:
            assert lock.acquire(timeout=30)

    def test_wakes_an_os_thread(self) -> None:
        lock = threading.Lock()
        lock.acquire()
        got: list[bool] = []
        start_os(lambda: got.append(lock.acquire(timeout=30)))
        time.sleep(0.005)
        assert got == []
        lock.release()
        spin(lambda: got)
        assert got == [True]

    @pytest.mark.one_processor
    def test_an_unlocked_lock_is_free_though_somebody_waits(self) -> None:
        lock = threading.Lock()
        lock.acquire()
        got: list[Any] = []
        start_green(lambda: got.append(lock.acquire()))
        time.sleep(0)
        lock.release()
        assert not lock.locked()
        spin(lambda: got)
        lock.release()

    def test_the_wakeup_of_an_interrupted_wait_is_passed_on(self, lock: Any) -> None:
        """Two wait; the first is woken and is to raise: the second has to get the lock."""
        set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
        holder = Holder(lock)
        got: list[str] = []
        idents: list[int] = []

        def wait(name: str) -> Callable[[], None]:
            def run() -> None:
                idents.append(threading.get_ident())
                try:
                    with lock:
                        got.append(name)
                except KeyError:
                    got.append(f"{name} raised")

            return run

        start_green(wait("first"))
        start_green(wait("second"))
        spin(lambda: len(idents) == 2)
        time.sleep(0)
        assert set_async_exc(ctypes.c_ulong(idents[0]), ctypes.py_object(KeyError)) == 1
        holder.let_go()
        spin(lambda: len(got) == 2)
        assert sorted(got) == ["first raised", "second"]
        assert lock.acquire(False)
        lock.release()


class TestRecursive:
    def test_green_threads_exclude_each_other(self) -> None:
        lock = threading.RLock()
        seen: list[Any] = []

        def other() -> None:
            seen.append(lock._is_owned())  # type: ignore[attr-defined]
            seen.append(lock.acquire(False))
            with pytest.raises(RuntimeError, match="un-acquired"):
                lock.release()
            seen.append("done")

        with lock, lock:
            assert lock._is_owned()  # type: ignore[attr-defined]
            start_green(other)
            spin(lambda: len(seen) == 3)
        assert seen == [False, False, "done"]

    def test_as_many_releases_as_acquires(self) -> None:
        lock = threading.RLock()
        for _ in range(3):
            lock.acquire()
        for left in (2, 1):
            lock.release()
            assert lock._recursion_count() == left  # type: ignore[attr-defined]
            got: list[bool] = []
            start_green(lambda got=got: got.append(lock.acquire(False)))  # type: ignore[misc]
            spin(lambda got=got: got)  # type: ignore[misc]
            assert got == [False]
        lock.release()
        assert lock._recursion_count() == 0  # type: ignore[attr-defined]
        assert not lock._is_owned()  # type: ignore[attr-defined]

    def test_saved_and_restored_by_a_condition(self) -> None:
        condition = threading.Condition()
        order: list[str] = []

        def notify() -> None:
            with condition, condition:
                order.append("notify")
                condition.notify_all()

        with condition, condition:
            start_green(notify)
            assert condition.wait(30)
            order.append("woken")
            assert condition._lock._recursion_count() == 2  # type: ignore[attr-defined]
        assert order == ["notify", "woken"]

    def test_between_a_green_and_an_os_thread(self) -> None:
        lock = threading.RLock()
        seen: list[Any] = []
        with lock:
            start_os(lambda: seen.append(lock.acquire(False)))
            spin(lambda: seen)
            start_os(lambda: seen.append((lock.acquire(timeout=30), lock.release())))
            time.sleep(0.005)
        spin(lambda: len(seen) == 2)
        assert seen == [False, (True, None)]

    def test_a_lock_that_died_while_it_was_held(self) -> None:
        """Its address comes back with another lock, which nobody holds."""
        addresses = set()

        def leave() -> None:
            lock = threading.RLock()
            lock.acquire()
            addresses.add(id(lock))

        for _ in range(50):
            start_green(leave)
        time.sleep(0)
        for _ in range(200):
            lock = threading.RLock()
            assert lock.acquire(False)
            lock.release()
            if id(lock) in addresses:
                break
        else:
            pytest.skip("no address came back")


class TestConditions:
    @STARTS
    def test_producers_and_consumers(self, start: Start) -> None:
        condition = threading.Condition()
        items: list[int] = []
        taken: list[int] = []

        def produce() -> None:
            for number in range(200):
                with condition:
                    items.append(number)
                    condition.notify()

        def consume() -> None:
            while len(taken) < 400:
                with condition:
                    if condition.wait_for(lambda: items or len(taken) >= 400, timeout=0.05):
                        with contextlib.suppress(IndexError):
                            taken.append(items.pop())

        for _ in range(4):
            start_green(consume)
        for _ in range(2):
            start(produce)
        spin(lambda: len(taken) == 400)
        assert sorted(taken) == sorted([*range(200)] * 2)

    def test_events_in_both_directions(self) -> None:
        there, back = threading.Event(), threading.Event()

        def reply() -> None:
            there.wait()
            back.set()

        start_os(reply)
        there.set()
        with Ticker():
            assert back.wait(30)

    def test_semaphores_and_barriers(self) -> None:
        semaphore = threading.BoundedSemaphore(3)
        barrier = threading.Barrier(5)
        inside: list[int] = []
        counts: list[int] = []
        passed: list[int] = []

        def work() -> None:
            with semaphore:
                inside.append(1)
                counts.append(len(inside))
                spin(lambda: max(counts) >= 3)
                inside.pop()
            passed.append(barrier.wait())

        for _ in range(5):
            start_green(work)
        spin(lambda: len(passed) == 5)
        assert max(counts) == 3
        assert sorted(passed) == list(range(5))


class TestFinalizers:
    """They may come at any moment, also in the middle of the kernel's work."""

    def test_one_that_needs_a_lock_which_is_held(self) -> None:
        lock = threading.Lock()
        log: list[str] = []

        class Finalized:
            def __init__(self) -> None:
                self.cycle = self

            def __del__(self) -> None:
                with lock:
                    log.append("finalized")

        gc.collect()
        Finalized()

        def collect() -> None:
            gc.collect()
            log.append("collected")

        with lock:
            start_green(collect)
            spin(lambda: True)
            time.sleep(0.002)
            assert log == []
        spin(lambda: len(log) == 2)
        assert log == ["finalized", "collected"]

    def test_a_weakref_callback(self) -> None:
        lock = threading.RLock()
        log: list[str] = []

        class Referent:
            pass

        def gone(_: Any) -> None:
            with lock:
                log.append("gone")

        referents = [Referent()]
        ref = weakref.ref(referents[0], gone)
        with lock:
            start_green(lambda: (time.sleep(0), referents.clear(), log.append("cleared")))
            time.sleep(0.002)
            assert log == []
        spin(lambda: len(log) == 2)
        assert log == ["gone", "cleared"]
        assert ref() is None

    def test_collection_at_every_allocation(self) -> None:
        """The collector's work, and its finalizers' locks, everywhere in the kernel's."""
        lock = threading.Lock()
        count = 0

        class Finalized:
            def __init__(self) -> None:
                self.cycle = self

            def __del__(self) -> None:
                nonlocal count
                with lock:
                    count += 1

        def work() -> None:
            for _ in range(30):
                Finalized()
                with lock:
                    pass
                time.sleep(0)

        threshold = gc.get_threshold()
        threads = [threading.Thread(target=work) for _ in range(10)]
        gc.set_threshold(1)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            gc.set_threshold(*threshold)
        gc.collect()
        wait_until(lambda: count == 300)  # a collection on the kernel's base may not be over
        assert count == 300


def test_waiting_costs_the_lock_nothing_that_stays() -> None:
    lock = _thread.allocate_lock()
    with lock:
        for _ in range(100):
            assert not lock.acquire(timeout=0.0001)
    alive = weakref.ref(lock)
    del lock
    assert alive() is None


def test_many_of_both_kinds_hammer_one_lock(lock: Any) -> None:
    count = 0
    ended: list[int] = []
    nests = isinstance(lock, originals.RLockType)

    def section(turn: int) -> None:
        nonlocal count
        before = count
        if turn % 10 == 0:
            time.sleep(0)
        count = before + 1

    def work() -> None:
        for turn in range(300):
            if turn % 3 == 0:
                with lock:
                    section(turn)
            else:
                lock.acquire()
                if nests and turn % 3 == 1:
                    with lock:
                        section(turn)
                else:
                    section(turn)
                lock.release()
        ended.append(1)

    for _ in range(20):
        start_green(work)
    for _ in range(3):
        start_os(work)
    spin(lambda: len(ended) == 23)
    assert count == 23 * 300
    assert lock.acquire(blocking=False)
    lock.release()


def test_a_foreign_release_of_an_rlock_takes_nothing_from_its_owner() -> None:
    lock = threading.RLock()
    errors: list[BaseException | None] = []

    def release() -> None:
        try:
            lock.release()
        except BaseException as error:
            errors.append(error)
        else:
            errors.append(None)

    with lock:
        start_os(release)
        spin(lambda: len(errors) == 1)
        start_green(release)
        spin(lambda: len(errors) == 2)
        assert lock._is_owned()  # type: ignore[attr-defined]
    assert [type(error) for error in errors] == [RuntimeError, RuntimeError]


def test_a_note_that_an_os_thread_has_left_is_not_believed() -> None:
    lock = threading.RLock()
    done: list[int] = []

    def use() -> None:
        lock.acquire()
        lock.release()
        done.append(1)

    start_os(use)
    spin(lambda: done)
    with pytest.raises(RuntimeError):
        lock.release()
    holder = Holder(lock)
    assert not lock.acquire(blocking=False)
    holder.enough = True
    with lock:
        assert lock._is_owned()  # type: ignore[attr-defined]


@pytest.mark.skipif(has_gil(), reason="this interpreter has a GIL: see PYTHONS in the Makefile")
def test_an_os_thread_that_has_one_may_release_it_at_any_moment(run_script: RunScript) -> None:
    run_script("""
        import threading, time
        import capriccio_patch
        capriccio_patch.patch_all()
        lock, over, found = threading.RLock(), [], []
        def take_on_os_thread():
            while not over:
                with lock:
                    pass
            found.append("ended")
        capriccio_patch.original("_thread.start_new_thread")(take_on_os_thread, ())
        end = time.monotonic() + 4
        def take():
            try:
                while time.monotonic() < end and not over:
                    lock.acquire()
                    lock.release()
            except KeyError as error:
                over.append(error)
        threads = [threading.Thread(target=take) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not over, over
        over.append(True)
        while not found:
            time.sleep(0.001)
        """)
