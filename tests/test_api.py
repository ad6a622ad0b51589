"""Applying and undoing all patches; what is told of them; what existed before."""

from __future__ import annotations

import _io
import _queue
import _socket
import _thread
import functools
import inspect
import pickle
import pydoc
import queue
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from time import sleep as early_sleep
from types import FunctionType, ModuleType
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch import ConfigError, PatchError, ThreadsAlive
from capriccio_patch.patching import apply
from tests.conftest import RunScript, Ticker
from tests.inside import applied


def snapshot() -> dict[str, Any]:
    """What the rows may touch: modules' and classes' attributes, and how each builtin calls."""
    capriccio_patch.patch_all()
    targets: dict[int, Any] = {}
    for row in applied().table.rows:
        parent = apply.find(row)[0]
        targets[id(parent)] = parent
    capriccio_patch.unpatch_all()
    found: dict[str, Any] = {}
    for parent in targets.values():
        names = dict(vars(parent))
        key = f"{getattr(parent, '__module__', '')}.{getattr(parent, '__qualname__', parent)}"
        found[key] = {name: (id(value), repr(value)) for name, value in names.items()}
        if isinstance(parent, type):
            found[f"flags of {key}"] = parent.__flags__ & 1 << 8
    return found


class TestUndo:
    def test_it_is_exact(self) -> None:
        first = snapshot()
        assert len(first) > 10
        assert snapshot() == first

    def test_inherited_attributes_stay_inherited(self) -> None:
        before = list(vars(_thread.RLock))
        capriccio_patch.patch_all()
        capriccio_patch.unpatch_all()
        assert list(vars(_thread.RLock)) == before
        assert type(vars(_thread.LockType)["acquire"]).__name__ == "method_descriptor"

    def test_many_times(self) -> None:
        for _ in range(20):
            capriccio_patch.patch_all()
            thread = threading.Thread(target=time.sleep, args=(0,))
            thread.start()
            thread.join()
            capriccio_patch.unpatch_all()
        assert not capriccio_patch.is_patched("time.sleep")

    def test_threads_are_os_threads_again(self) -> None:
        capriccio_patch.patch_all()
        capriccio_patch.unpatch_all()
        idents: list[int] = []
        thread = threading.Thread(target=lambda: idents.append(threading.get_native_id()))
        thread.start()
        thread.join()
        assert idents != [threading.get_native_id()]

    def test_without_a_patch_it_does_nothing(self) -> None:
        capriccio_patch.unpatch_all()

    def test_live_threads_are_named(self) -> None:
        capriccio_patch.patch_all()
        end = threading.Event()
        threads = [threading.Thread(target=end.wait, name=f"worker {n}") for n in range(2)]
        for thread in threads:
            thread.start()
        _thread.start_new_thread(end.wait, ())
        time.sleep(0)
        with pytest.raises(ThreadsAlive) as caught:
            capriccio_patch.unpatch_all()
        assert str(caught.value).startswith("3 green threads are alive: ")
        assert "worker 0" in str(caught.value)
        assert "worker 1" in str(caught.value)
        assert capriccio_patch.is_patched("time.sleep")  # nothing was undone
        end.set()
        for thread in threads:
            thread.join()
        while capriccio_patch.status()["threads"] > 1:
            time.sleep(0)
        capriccio_patch.unpatch_all()

    def test_in_a_green_thread_it_is_refused(self, patched: None) -> None:
        errors: list[Any] = []

        def undo() -> None:
            try:
                capriccio_patch.unpatch_all()
            except PatchError as error:
                errors.append(error)

        thread = threading.Thread(target=undo)
        thread.start()
        thread.join()
        assert "main thread" in str(errors[0])


class TestApplying:
    def test_twice_is_once(self) -> None:
        capriccio_patch.patch_all()
        first = applied()
        capriccio_patch.patch_all()
        assert applied() is first
        capriccio_patch.unpatch_all()
        assert capriccio_patch.status() == {"patched": False}
        assert time.sleep.__self__ is time  # type: ignore[attr-defined]

    def test_only_on_the_main_thread(self) -> None:
        errors: list[Any] = []

        def apply() -> None:
            try:
                capriccio_patch.patch_all()
            except PatchError as error:
                errors.append(error)

        thread = threading.Thread(target=apply)
        thread.start()
        thread.join()
        assert "main thread" in str(errors[0])
        assert not capriccio_patch.is_patched("time.sleep")

    def test_a_failure_leaves_nothing_behind(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = snapshot()

        def fail(*_: Any) -> None:
            raise RuntimeError("in the middle")

        with monkeypatch.context() as patch:
            patch.setattr(apply.Application, "_adopt", fail)
            with pytest.raises(RuntimeError, match="in the middle"):
                capriccio_patch.patch_all()
        assert capriccio_patch.status() == {"patched": False}
        assert snapshot() == before

    @pytest.mark.parametrize(
        ("names", "patched", "others"),
        [
            (["time"], "time.sleep", "socket"),
            (["time.sleep"], "time.sleep", "threading"),
            (["queue", "time"], "queue", "select"),
        ],
    )
    def test_only(self, names: list[str], patched: str, others: str) -> None:
        capriccio_patch.patch_all(only=names)
        try:
            assert capriccio_patch.is_patched(patched)
            assert not capriccio_patch.is_patched(others)
        finally:
            capriccio_patch.unpatch_all()

    @pytest.mark.parametrize("name", ["time", "time.sleep"])
    def test_exclude(self, name: str) -> None:
        capriccio_patch.patch_all(exclude=[name])
        try:
            assert not capriccio_patch.is_patched("time.sleep")
            assert capriccio_patch.is_patched("threading")
        finally:
            capriccio_patch.unpatch_all()

    def test_exclude_wins_over_only(self) -> None:
        capriccio_patch.patch_all(only=["time", "queue"], exclude=["time"])
        try:
            assert capriccio_patch.is_patched("queue")
            assert not capriccio_patch.is_patched("time.sleep")
        finally:
            capriccio_patch.unpatch_all()

    @pytest.mark.parametrize("argument", ["only", "exclude"])
    def test_an_unknown_name_is_an_error(self, argument: str) -> None:
        names: dict[str, Any] = {argument: ["tiem"]}
        with pytest.raises(ConfigError, match="'tiem'"):
            capriccio_patch.patch_all(**names)
        assert capriccio_patch.status() == {"patched": False}


class TestTelling:
    def test_status(self, patched: None) -> None:
        status = capriccio_patch.status()
        assert status["patched"] is True
        assert status["failed"] == {}
        assert set(status["how"].values()) <= {"in place", "attribute"}
        assert status["how"]["time.sleep"] == "in place"
        assert status["threads"] == 1
        assert {"sockio", "diskio", "scheduler"} <= set(status)

    @pytest.mark.parametrize(
        "name", ["time", "time.sleep", "threading", "_thread.LockType.acquire", "queue", "socket"]
    )
    def test_is_patched(self, patched: None, name: str) -> None:
        assert capriccio_patch.is_patched(name)

    @pytest.mark.parametrize("name", ["math", "time.time", "no.such.thing", "", "time.slepp"])
    def test_is_not_patched(self, patched: None, name: str) -> None:
        assert not capriccio_patch.is_patched(name)

    def test_the_original_blocks_the_os_thread(self, patched: None) -> None:
        with Ticker() as ticker:
            time.sleep(0)
            before = ticker.ticks
            capriccio_patch.original("time.sleep")(0.02)
            assert ticker.ticks == before
            time.sleep(0.02)
            assert ticker.ticks > before

    def test_the_original_of_a_method(self, patched: None) -> None:
        lock = threading.Lock()
        acquire = capriccio_patch.original("_thread.LockType.acquire")
        assert acquire(lock, False)
        assert not acquire(lock, False)

    def test_the_original_starts_os_threads(self, patched: None) -> None:
        done = threading.Event()
        idents: list[int] = []

        def run() -> None:
            idents.append(threading.get_native_id())
            done.set()

        capriccio_patch.original("_thread.start_new_thread")(run, ())
        assert done.wait(5)
        assert idents != [threading.get_native_id()]

    def test_the_original_of_what_is_not_patched(self) -> None:
        assert capriccio_patch.original("time.sleep") is time.sleep
        assert capriccio_patch.original("math.gcd")(4, 6) == 2

    @pytest.mark.parametrize("name", ["time.slepp", "no_such_module.f", "sleep"])
    def test_the_original_of_nothing(self, patched: None, name: str) -> None:
        with pytest.raises((AttributeError, ModuleNotFoundError)):
            capriccio_patch.original(name)


class TestLooks:
    """What is taken over looks as it did."""

    def test_builtins(self, patched: None) -> None:
        assert repr(time.sleep) == "<built-in function sleep>"
        assert time.sleep.__module__ == "time"
        assert time.sleep.__qualname__ == "sleep"
        assert inspect.isbuiltin(time.sleep)
        assert inspect.getmodule(time.sleep) is time
        assert "Delay execution" in (time.sleep.__doc__ or "")
        assert "Delay execution" in pydoc.render_doc(time.sleep)
        assert pickle.loads(pickle.dumps(time.sleep)) is time.sleep
        assert time.sleep == early_sleep

    @pytest.mark.parametrize("module", ["time", "posix", "select", "fcntl", "sys", "_thread"])
    def test_signatures_and_texts(self, module: str, request: pytest.FixtureRequest) -> None:
        def looks() -> dict[str, tuple[Any, ...]]:
            return {
                name: (each.__text_signature__, each.__doc__)
                for name, each in vars(import_module(module)).items()
                if inspect.isbuiltin(each)
            }

        expected = looks()
        request.getfixturevalue("patched")
        assert looks() == expected

    def test_locks(self, patched: None) -> None:
        lock = threading.Lock()
        assert repr(lock).startswith("<unlocked _thread.lock object at 0x")
        assert type(lock) is _thread.LockType
        with lock:
            assert repr(lock).startswith("<locked")
        assert lock.acquire.__name__ == "acquire"
        assert lock.acquire.__qualname__ == "lock.acquire"
        assert "acquire" in (lock.acquire.__doc__ or "")
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(lock)

    def test_a_recursive_lock_tells_its_owner(self, patched: None) -> None:
        lock = threading.RLock()
        seen: list[str] = []

        def hold() -> None:
            with lock:
                seen.append(repr(lock))
                seen.append(str(threading.get_ident()))

        thread = threading.Thread(target=hold)
        thread.start()
        thread.join()
        assert f"owner={seen[1]} count=1" in seen[0]
        assert "owner=0 count=0" in repr(lock)

    @pytest.mark.parametrize(
        "method", [_io.FileIO.read, _queue.SimpleQueue.get, select.epoll.poll, _socket.socket.recv]
    )
    def test_methods(self, method: Any, patched: None) -> None:
        cls = method.__objclass__
        found = getattr(cls, method.__name__)
        assert found is not method  # it is taken over
        assert (found.__qualname__, found.__doc__) == (method.__qualname__, method.__doc__)
        assert pickle.loads(pickle.dumps(found)) is found
        if method.__text_signature__:
            names = [list(inspect.signature(each).parameters) for each in (method, found)]
            assert names[0] == names[1]
        if method.__text_signature__ or isinstance(found, FunctionType):
            assert "Any" not in str(inspect.signature(found))

    def test_help(self, patched: None) -> None:
        for thing in (_thread, time, queue.SimpleQueue, _thread.LockType, _thread.RLock):
            assert pydoc.render_doc(thing)

    def test_classes_keep_their_identity(self, patched: None) -> None:
        assert type(threading.Lock()).__name__ == "lock"
        assert queue.SimpleQueue is _queue.SimpleQueue
        assert threading.RLock().__class__ is _thread.RLock
        with pytest.raises(TypeError):
            _thread.LockType.added = 1  # type: ignore[attr-defined]


class Early:
    """Things as they are held by a program that was there before the patch."""

    method = staticmethod(time.sleep)

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.held = threading.Lock()
        self.held.acquire()
        self.rlock = threading.RLock()
        self.rlock.acquire()
        self.acquire = self.lock.acquire
        self.release = self.lock.release
        self.condition = threading.Condition()
        self.on_lock = threading.Condition(threading.Lock())
        self.event = threading.Event()
        self.semaphore = threading.Semaphore(0)
        self.barrier = threading.Barrier(2)
        self.queue: queue.Queue[int] = queue.Queue()
        self.simple: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.get = self.simple.get
        self.partial = functools.partial(time.sleep, 0.005)


def default(seconds: float, sleep: Callable[[float], None] = time.sleep) -> None:
    sleep(seconds)


@pytest.fixture
def early() -> Iterator[Early]:
    held = Early()
    capriccio_patch.patch_all()
    yield held
    while capriccio_patch.status()["threads"] > 1:
        time.sleep(0.001)
    capriccio_patch.unpatch_all()


class TestLatePatch:
    """What existed before the patch parks, and does not block, after it."""

    @pytest.mark.parametrize(
        "sleep",
        [
            lambda early: early_sleep(0.005),
            lambda early: default(0.005),
            lambda early: early.partial(),
            lambda early: early.method(0.005),
        ],
    )
    def test_references_to_functions(self, early: Early, sleep: Callable[[Early], None]) -> None:
        with Ticker(0) as ticker:
            time.sleep(0)
            before = ticker.ticks
            sleep(early)
            assert ticker.ticks > before

    @pytest.mark.parametrize(
        ("wait", "unblock"),
        [
            (lambda e: e.held.acquire(), lambda e: e.held.release()),
            (lambda e: e.held.acquire(timeout=30), lambda e: e.held.release()),
            (lambda e: e.event.wait(), lambda e: e.event.set()),
            (lambda e: e.semaphore.acquire(), lambda e: e.semaphore.release()),
            (lambda e: e.barrier.wait(), lambda e: e.barrier.wait()),
            (lambda e: e.queue.get(), lambda e: e.queue.put(1)),
            (lambda e: e.queue.get(timeout=30), lambda e: e.queue.put(1)),
            (lambda e: e.simple.get(), lambda e: e.simple.put(1)),
            (lambda e: e.simple.get(timeout=30), lambda e: e.simple.put(1)),
            (lambda e: e.get(), lambda e: e.simple.put(1)),
        ],
    )
    def test_waits(
        self, early: Early, wait: Callable[[Early], Any], unblock: Callable[[Early], Any]
    ) -> None:
        with Ticker().at(3, lambda: unblock(early)) as ticker:
            wait(early)
            assert ticker.ticks >= 3

    @pytest.mark.parametrize("name", ["condition", "on_lock"])
    def test_conditions(self, early: Early, name: str) -> None:
        condition: threading.Condition = getattr(early, name)

        def notify() -> None:
            with condition:
                condition.notify()

        with Ticker().at(3, notify), condition:
            assert condition.wait(30)

    def test_stored_methods(self, early: Early) -> None:
        assert early.acquire()
        with Ticker().at(3, early.release):
            assert early.acquire()
        early.release()

    def test_a_recursive_lock_that_the_main_thread_held(self, early: Early) -> None:
        order: list[str] = []

        def other() -> None:
            assert not early.rlock.acquire(blocking=False)
            order.append("waits")
            with early.rlock:
                order.append("has it")

        thread = threading.Thread(target=other)
        thread.start()
        assert early.rlock.acquire(blocking=False)  # it is this thread's still
        early.rlock.release()
        time.sleep(0)
        order.append("released")
        early.rlock.release()
        thread.join()
        assert order == ["waits", "released", "has it"]
        with pytest.raises(RuntimeError):
            early.rlock.release()

    def test_stored_methods_work_after_the_undo(self) -> None:
        early = Early()
        capriccio_patch.patch_all()
        capriccio_patch.unpatch_all()
        assert early.acquire()
        early.release()
        assert type(early.acquire).__name__ == "builtin_function_or_method"

    def test_modules_that_are_imported_again(self, patched: None) -> None:
        saved = sys.modules.pop("_queue")
        try:
            import _queue as another

            assert another.SimpleQueue is not _queue.SimpleQueue
            items = another.SimpleQueue()
            with Ticker().at(3, lambda: items.put(7)):
                assert items.get() == 7
        finally:
            sys.modules["_queue"] = saved

    def test_modules_that_were_made_more_than_once_before_the_patch(self) -> None:
        saved = sys.modules.pop("_queue")
        try:
            import _queue as another
        finally:
            sys.modules["_queue"] = saved
        stand_in = ModuleType("_queue")
        items = another.SimpleQueue()
        get = items.get
        before = dict(vars(another.SimpleQueue))
        capriccio_patch.patch_all()
        try:
            for call in (items.get, get):
                with Ticker().at(3, lambda: items.put(7)):
                    assert call() == 7
            assert "SimpleQueue" not in vars(stand_in)
        finally:
            capriccio_patch.unpatch_all()
        assert dict(vars(another.SimpleQueue)) == before
        items.put(8)
        assert get() == 8


class TestWholeProcesses:
    """In interpreters of their own."""

    def test_locks_of_modules_at_exit(self, run_script: RunScript) -> None:
        """Everything that runs after the undo at exit finds its locks whole."""
        done = run_script(
            """
            import atexit, logging, queue, threading, time
            import capriccio_patch

            class Late:
                lock = threading.RLock()
                def __del__(self):
                    with self.lock:
                        print("finalized", flush=True)

            late = Late()
            late.cycle = late
            atexit.register(lambda: print("exit", flush=True))
            capriccio_patch.patch_all()
            logging.warning("logged")
            threading.Thread(target=time.sleep, args=(0.01,)).start()
            """
        )
        assert done.stdout == "exit\nfinalized\n"
        assert done.stderr == "WARNING:root:logged\n"

    def test_collected_daemons_raise_nothing(self, run_script: RunScript) -> None:
        done = run_script(
            """
            import threading, time
            import capriccio_patch
            capriccio_patch.patch_all()

            def work():
                try:
                    time.sleep(1000)
                finally:
                    print("ended")

            threading.Thread(target=work, daemon=True).start()
            time.sleep(0)
            """
        )
        assert done.stdout == done.stderr == ""


def test_patching_again_and_again_leaks_no_descriptor(run_script: RunScript) -> None:
    done = run_script(
        """
        import os
        import capriccio_patch

        def descriptors():
            return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

        def cycle():
            capriccio_patch.patch_all()
            capriccio_patch.unpatch_all()

        cycle()
        before = descriptors()
        for _ in range(3):
            cycle()
        print(descriptors() - before)
        """
    )
    assert done.stdout == "0\n"
