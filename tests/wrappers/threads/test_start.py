"""Threads: start, identity, join, end; what is each thread's own; what is told of all of them."""

from __future__ import annotations

import _thread
import contextvars
import io
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from capriccio_patch import original, status
from tests.conftest import RunScript, Ticker

green = pytest.mark.usefixtures("patched")

if sys.version_info >= (3, 13):
    handles = pytest.mark.skipif(False, reason="")
else:
    handles = pytest.mark.skip(reason="this version has no thread handles")


def spin(condition: Callable[[], Any]) -> None:
    """Let others run until `condition` holds."""
    while not condition():
        time.sleep(0.0005)


def in_thread(call: Callable[[], Any]) -> Any:
    """What `call` returns in a thread of its own."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


@green
class TestStart:
    @pytest.mark.one_processor
    def test_runs_on_this_os_thread(self) -> None:
        assert in_thread(threading.get_native_id) == threading.get_native_id()

    def test_arguments(self) -> None:
        seen: list[Any] = []

        def run(*args: Any, **kwargs: Any) -> None:
            seen.append((args, kwargs))

        _thread.start_new_thread(run, ())
        spin(lambda: len(seen) == 1)
        _thread.start_new_thread(run, (1, 2))
        spin(lambda: len(seen) == 2)
        _thread.start_new_thread(run, (1,), {"b": 2})
        spin(lambda: len(seen) == 3)
        _thread.start_new(run, (3,))  # type: ignore[attr-defined]
        spin(lambda: len(seen) == 4)
        assert seen == [((), {}), ((1, 2), {}), ((1,), {"b": 2}), ((3,), {})]

    @pytest.mark.parametrize(
        "args", [(), (1, ()), (print,), (print, []), (print, (), ()), (print, (), {}, 1)]
    )
    def test_bad_arguments_are_those_of_stock(self, args: tuple[Any, ...]) -> None:
        with pytest.raises(TypeError) as expected:
            original("_thread.start_new_thread")(*args)
        with pytest.raises(TypeError) as found:
            _thread.start_new_thread(*args)
        if len(args) in (2, 3):
            assert str(found.value) == str(expected.value)

    def test_ten_thousand(self) -> None:
        count = 10_000
        running: list[int] = []
        end = threading.Event()

        def run() -> None:
            running.append(1)
            end.wait()

        for _ in range(count):
            _thread.start_new_thread(run, ())
        spin(lambda: len(running) == count)
        assert status()["threads"] == count + 1
        end.set()
        spin(lambda: status()["threads"] == 1)

    def test_on_another_os_thread_it_is_an_os_thread(self) -> None:
        idents: list[int] = []

        def foreign() -> None:
            thread = threading.Thread(target=lambda: idents.append(threading.get_native_id()))
            thread.start()
            thread.join()
            idents.append(threading.get_native_id())

        original("_thread.start_new_thread")(foreign, ())
        spin(lambda: len(idents) == 2)
        assert len({*idents, threading.get_native_id()}) == 3

    def test_stack_size_is_accepted(self) -> None:
        before = threading.stack_size(262144)
        try:
            assert in_thread(lambda: 1) == 1
        finally:
            threading.stack_size(before)

    def test_starting_twice_is_refused(self) -> None:
        thread = threading.Thread(target=int)
        thread.start()
        with pytest.raises(RuntimeError, match="only be started once"):
            thread.start()
        thread.join()


@green
class TestIdentity:
    def test_idents_are_different(self) -> None:
        idents: dict[int, int] = {}
        end = threading.Event()

        def run(number: int) -> None:
            idents[number] = threading.get_ident()
            end.wait()

        threads = [threading.Thread(target=run, args=(number,)) for number in range(100)]
        for thread in threads:
            thread.start()
        end.set()
        for thread in threads:
            thread.join()
        assert len({*idents.values(), threading.get_ident()}) == 101
        assert dict(enumerate(thread.ident for thread in threads)) == idents

    def test_the_main_thread_keeps_its_own(self) -> None:
        assert threading.get_ident() == threading.main_thread().ident
        assert threading.current_thread() is threading.main_thread()
        assert in_thread(threading.get_ident) != threading.get_ident()

    def test_current_thread(self) -> None:
        thread = threading.Thread(target=lambda: seen.append(threading.current_thread()))
        seen: list[threading.Thread] = []
        thread.start()
        thread.join()
        assert seen == [thread]

    def test_counts(self) -> None:
        before = threading.active_count(), _thread._count()
        end = threading.Event()
        threads = [threading.Thread(target=end.wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert (threading.active_count(), _thread._count()) == (before[0] + 3, before[1] + 3)
        assert set(threads) < set(threading.enumerate())
        end.set()
        for thread in threads:
            thread.join()
        assert (threading.active_count(), _thread._count()) == before

    def test_a_dummy_for_a_raw_thread_goes_with_it(self) -> None:
        before = len(threading._active)  # type: ignore[attr-defined]
        seen: list[str] = []
        _thread.start_new_thread(lambda: seen.append(threading.current_thread().name), ())
        spin(lambda: seen)
        time.sleep(0)
        assert seen[0].startswith("Dummy")
        if sys.version_info >= (3, 13):
            assert len(threading._active) == before  # type: ignore[attr-defined]

    def test_locals(self) -> None:
        class Local(threading.local):
            def __init__(self, value: int) -> None:
                self.value = value

        local = Local(1)
        local.value = 2

        def look() -> tuple[int, int]:
            first = local.value
            local.value = 3
            time.sleep(0)
            return first, local.value

        assert in_thread(look) == (1, 3)
        assert local.value == 2

    def test_handled_exceptions(self) -> None:
        def handle(text: str) -> Any:
            try:
                raise KeyError(text)
            except KeyError:
                time.sleep(0.001)
                return sys.exc_info()[1]

        found: dict[str, Any] = {}
        threads = [threading.Thread(target=lambda n=n: found.update({n: handle(n)})) for n in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {name: error.args for name, error in found.items()} == {n: (n,) for n in "abc"}


@green
class TestJoin:
    def test_waits_for_the_end(self) -> None:
        end = threading.Event()
        thread = threading.Thread(target=end.wait)
        thread.start()
        assert thread.is_alive()
        with Ticker().at(3, end.set):
            thread.join()
        assert not thread.is_alive()

    @pytest.mark.parametrize("timeout", [0, 0.005, -1, -0.5])
    def test_a_timeout(self, timeout: float) -> None:
        end = threading.Event()
        thread = threading.Thread(target=end.wait)
        thread.start()
        thread.join(timeout=timeout)
        assert thread.is_alive()
        end.set()
        thread.join(30)
        assert not thread.is_alive()

    def test_from_many_threads(self) -> None:
        end = threading.Event()
        thread = threading.Thread(target=end.wait)
        thread.start()
        joined: list[int] = []
        joiners = [
            threading.Thread(target=lambda: (thread.join(), joined.append(1))) for _ in range(20)
        ]
        for joiner in joiners:
            joiner.start()
        assert joined == []
        end.set()
        for joiner in joiners:
            joiner.join()
        assert len(joined) == 20

    def test_of_the_current_thread(self) -> None:
        def run() -> str:
            try:
                threading.current_thread().join()
            except RuntimeError as error:
                return str(error)
            return "joined"

        assert in_thread(run) == "cannot join current thread"

    def test_of_an_os_thread_lets_others_run(self) -> None:
        made: list[threading.Thread] = []
        started = threading.Event()

        ticker = Ticker()

        def until_it_has_turned() -> None:
            while ticker.ticks < 3:
                original("time.sleep")(0.001)

        def foreign() -> None:
            thread = threading.Thread(target=until_it_has_turned)
            made.append(thread)
            thread.start()
            started.set()

        original("_thread.start_new_thread")(foreign, ())
        started.wait()
        with ticker:
            made[0].join()
        assert not made[0].is_alive()

    def test_of_a_green_thread_by_an_os_thread(self) -> None:
        end = threading.Event()
        thread = threading.Thread(target=end.wait)
        thread.start()
        joined: list[int] = []

        def foreign() -> None:
            thread.join()
            joined.append(1)

        original("_thread.start_new_thread")(foreign, ())
        time.sleep(0.005)
        assert joined == []
        end.set()
        spin(lambda: joined)

    def test_of_one_that_was_there_before(self, run_script: RunScript) -> None:
        run_script(
            """
            import threading, time
            end = threading.Event()
            thread = threading.Thread(target=end.wait)
            thread.start()
            import capriccio_patch
            capriccio_patch.patch_all()
            turns = []
            def tick():
                while thread.is_alive():
                    turns.append(1)
                    if len(turns) == 3:
                        end.set()
                    time.sleep(0.001)
            ticker = threading.Thread(target=tick)
            ticker.start()
            thread.join()
            ticker.join()
            assert len(turns) >= 3
            """
        )

    def test_a_second_time(self) -> None:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
        thread.join()
        thread.join(0)


@handles
@green
class TestHandles:
    """``_thread.start_joinable_thread`` by itself."""

    def test_start_and_join(self) -> None:
        seen: list[int] = []
        handle = _thread.start_joinable_thread(lambda: seen.append(threading.get_ident()))  # type: ignore[attr-defined]
        handle.join()
        assert handle.is_done()
        assert handle.ident == seen[0]

    def test_into_an_existing_handle(self) -> None:
        handle = _thread._ThreadHandle()  # type: ignore[attr-defined]
        assert _thread.start_joinable_thread(int, handle=handle) is handle  # type: ignore[attr-defined]
        with pytest.raises(RuntimeError, match="already started"):
            _thread.start_joinable_thread(int, handle=handle)  # type: ignore[attr-defined]
        handle.join(30)

    def test_of_a_handle_that_was_never_started(self) -> None:
        with pytest.raises(RuntimeError, match="not started"):
            _thread._ThreadHandle().join()  # type: ignore[attr-defined]

    def test_joining_oneself(self) -> None:
        errors: list[str] = []
        handles: list[Any] = []

        def run() -> None:
            spin(lambda: handles)
            try:
                handles[0].join()
            except RuntimeError as error:
                errors.append(str(error))

        handles.append(_thread.start_joinable_thread(run))  # type: ignore[attr-defined]
        handles[0].join()
        assert errors == ["Cannot join current thread"]

    def test_set_done_wakes_joiners(self) -> None:
        end = threading.Event()
        handle = _thread.start_joinable_thread(end.wait)  # type: ignore[attr-defined]
        with Ticker().at(3, handle._set_done):
            handle.join()
        end.set()
        spin(lambda: status()["threads"] == 1)


@green
class TestUncaught:
    def test_goes_to_the_hook(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[Any] = []
        monkeypatch.setattr(threading, "excepthook", seen.append)
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        assert seen[0].exc_type is ZeroDivisionError
        assert seen[0].thread is thread
        assert not thread.is_alive()

    def test_of_a_raw_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", seen.append)

        def fail(*_: Any) -> None:
            time.sleep(0)
            raise KeyError

        for args in ((), (1,)):
            _thread.start_new_thread(fail, args)
            spin(lambda args=args: len(seen) == 1 + len(args))  # type: ignore[misc]
        for unraisable in seen:
            assert unraisable.exc_type is KeyError
            text = f"{unraisable.err_msg} {unraisable.object!r}"
            assert f"thread started by {fail!r}" in text.replace(" None", "")
            assert traceback.extract_tb(unraisable.exc_traceback)[0].name == "fail"

    def test_a_hook_that_fails(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def hook(_: Any) -> None:
            raise ValueError("in the hook")

        monkeypatch.setattr(sys, "unraisablehook", hook)
        _thread.start_new_thread(lambda: 1 / 0, ())
        spin(lambda: status()["threads"] == 1)  # printing a traceback reads files
        assert "Exception ignored in sys.unraisablehook" in capsys.readouterr().err
        assert in_thread(lambda: "alive") == "alive"

    def test_where_nothing_can_be_printed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def hook(_: Any) -> None:
            raise ValueError("in the hook")

        closed = io.StringIO()
        closed.close()
        monkeypatch.setattr(sys, "unraisablehook", hook)
        monkeypatch.setattr(sys, "stderr", closed)
        _thread.start_new_thread(lambda: 1 / 0, ())
        spin(lambda: status()["threads"] == 1)
        assert threading.current_thread() is threading.main_thread()

    # The hook of pytest, unlike that of threading, tells of a thread that leaves.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    @pytest.mark.parametrize("leave", [sys.exit, _thread.exit])
    def test_leaving_is_no_error(self, leave: Callable[[], Any]) -> None:
        thread = threading.Thread(target=leave)
        thread.start()
        thread.join()
        _thread.start_new_thread(leave, ())
        spin(lambda: status()["threads"] == 1)


class TestFinalizers:
    """Finalizers that come while a thread is started."""

    @pytest.mark.parametrize("scheduler", ["fifo", "graph"])
    def test_one_that_waits_lets_the_new_thread_end_first(
        self, run_script: RunScript, scheduler: str
    ) -> None:
        done = run_script(
            f"""
            import gc, threading, time
            import capriccio_patch
            capriccio_patch.patch_all(scheduler={scheduler!r})

            class Waits:
                def __init__(self):
                    self.me = self
                def __del__(self):
                    time.sleep(0)

            for n in range(120):
                gc.set_threshold(1 + n % 40)
                waste = [Waits() for _ in range(3)]
                del waste
                thread = threading.Thread(target=int)
                thread.start()
                thread.join(20)
                assert not thread.is_alive(), n
            print("done")
            """
        )
        assert done.stdout == "done\n"


class TestExit:
    """The end of a program."""

    def test_threads_are_joined_daemons_are_not(self, run_script: RunScript) -> None:
        done = run_script(
            """
            import atexit, threading, time
            import capriccio_patch
            capriccio_patch.patch_all()
            atexit.register(lambda: print("atexit"))
            threading._register_atexit(lambda: print("threading's"))

            def later():
                time.sleep(0.01)
                print("first")
                threading.Thread(target=lambda: (time.sleep(0.01), print("second"))).start()

            threading.Thread(target=later).start()
            threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
            print("end")
            """
        )
        expected = ["end", "threading's", "first", "second", "atexit"]
        assert done.stdout.split("\n")[:-1] == expected
        assert done.stderr == ""

    def test_an_executor_finishes_its_work(self, run_script: RunScript) -> None:
        done = run_script(
            """
            import time
            from concurrent.futures import ThreadPoolExecutor
            import capriccio_patch
            capriccio_patch.patch_all()
            executor = ThreadPoolExecutor(4)
            for number in range(8):
                executor.submit(lambda n: (time.sleep(0.005), print(n)), number)
            """
        )
        assert sorted(done.stdout.split()) == list("01234567")

    def test_an_error_in_main_still_joins(self, run_script: RunScript) -> None:
        done = run_script(
            """
            import threading, time
            import capriccio_patch
            capriccio_patch.patch_all()
            threading.Thread(target=lambda: (time.sleep(0.01), print("joined"))).start()
            raise SystemExit(3)
            """,
            status=3,
        )
        assert done.stdout == "joined\n"

    def test_os_threads_are_joined_too(self, run_script: RunScript) -> None:
        done = run_script(
            """
            import threading, time
            import capriccio_patch
            capriccio_patch.patch_all()
            slept = capriccio_patch.original("time.sleep")

            def foreign():
                threading.Thread(
                    target=lambda: (slept(0.05), print("joined")), daemon=False
                ).start()
                started.set()

            started = threading.Event()
            capriccio_patch.original("_thread.start_new_thread")(foreign, ())
            started.wait()
            """
        )
        assert done.stdout == "joined\n"


@green
def test_a_thread_begins_with_nothing_of_one_that_has_ended() -> None:
    variable = contextvars.ContextVar("variable", default="untouched")
    local = threading.local()
    seen: list[Any] = []

    def work() -> None:
        seen.append((variable.get(), getattr(local, "value", None), sys.exc_info()))
        variable.set("changed")
        local.value = 1
        try:
            raise ValueError
        except ValueError:
            pass

    for _ in range(4):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert seen == [("untouched", None, (None, None, None))] * 4


@green
def test_an_ended_thread_keeps_nothing_alive() -> None:
    class Thing:
        pass

    thing = Thing()
    alive = weakref.ref(thing)
    variable: contextvars.ContextVar[Thing] = contextvars.ContextVar("variable")

    def work(thing: Thing) -> None:
        variable.set(thing)

    thread = threading.Thread(target=work, args=(thing,))
    thread.start()
    thread.join()
    time.sleep(0)
    del thread, thing
    assert alive() is None


@green
def test_many_threads_at_once_then_few_then_many() -> None:
    for count in (300, 1, 300):
        gate = threading.Event()
        passed: list[int] = []

        def work(number: int, gate: Any = gate, passed: Any = passed) -> None:
            gate.wait()
            passed.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        gate.set()
        for thread in threads:
            thread.join()
        assert sorted(passed) == list(range(count))


class TestStackSize:
    def test_who_asks_for_more_than_there_is_gets_it(self, run_script: RunScript) -> None:
        """Recursion through C code, which in CPython 3.11 only the stack bounds."""
        script = """
        import resource, sys, threading
        import capriccio_patch
        if "late" in sys.argv:
            threading.stack_size(512 << 20)
        capriccio_patch.patch_all()
        room = resource.getrlimit(resource.RLIMIT_STACK)[0]
        if "late" not in sys.argv:
            assert threading.stack_size(512 << 20) == 0
        sys.setrecursionlimit(10**6)

        def descend(n):
            return 0 if n == 0 else max(map(descend, (n - 1,)))

        def run():
            local.mine = 1
            with lock:
                ended.append(local.mine)
            try:
                ended.append(descend(12000))
            except RecursionError:
                ended.append(0)

        local, lock, ended = threading.local(), threading.Lock(), []
        for daemon in (False, True):
            thread = threading.Thread(target=run, daemon=daemon)
            thread.start()
            thread.join()
            assert not thread.is_alive()
        assert threading.stack_size() == 512 << 20
        assert threading.stack_size(256 << 10) == 0
        small = threading.Thread(target=lambda: ended.append(capriccio_patch.status()["threads"]))
        small.start()
        small.join()
        print(ended, threading.active_count())
        """
        for args in ((), ("late",)):
            done = run_script(script, *args)
            assert done.stdout == "[1, 0, 1, 0, 2] 1\n"

    def test_what_it_refuses(self, patched: None) -> None:
        for size, error in ((1, ValueError), (-1, ValueError), ("x", TypeError)):
            with pytest.raises(error):
                threading.stack_size(size)  # type: ignore[arg-type]
        assert threading.stack_size() == 0


@pytest.mark.parametrize("first", ["_thread", "threading", "_thread threading"])
@pytest.mark.parametrize("patched", ["before", "after", "between"])
def test_modules_of_threads_that_a_program_imports_anew(
    run_script: RunScript, first: str, patched: str
) -> None:
    """The types and functions of a second ``_thread`` go with none of the first one's."""
    script = """
        import sys, time, threading
        early = threading
        def anew(names):
            for name in names:
                del sys.modules[name]
            for name in names:
                __import__(name)

        def use(threading):
            lock, done = threading.Lock(), threading.Condition()
            names = []
            def work():
                with lock:
                    time.sleep(0.01)
                    names.append(threading.current_thread().name)
                with done:
                    done.notify()
            threads = [threading.Thread(target=work, daemon=each) for each in (False, True)]
            with done:
                for thread in threads:
                    thread.start()
                while len(names) < 2:
                    done.wait()
            for thread in threads:
                thread.join()
            assert len(names) == 2 and not any(map(threading.Thread.is_alive, threads))

        names = sys.argv[1].split()
        if sys.argv[2] != "before":
            anew(names)
        import capriccio_patch
        capriccio_patch.patch_all(blocked="off")
        if sys.argv[2] != "after":
            anew(names)
        import threading
        before = threading.active_count()
        use(early)
        use(threading)
        assert threading.active_count() == before
        assert capriccio_patch.status()["failed"] == {}
        capriccio_patch.unpatch_all()
        use(early)
        use(threading)
    """
    assert not run_script(script, first, patched).stderr


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="there is no such lock")
def test_a_raw_thread_forks_while_another_one_starts(run_script: RunScript) -> None:
    """`threading` takes the lock in the child before it makes a new one."""
    run_script(
        """
        import _thread, os, threading, warnings
        import capriccio_patch
        capriccio_patch.patch_all()
        warnings.simplefilter("ignore", DeprecationWarning)
        over = _thread.allocate_lock()
        over.acquire()
        status = []
        def fork():
            lock = threading._shutdown_locks_lock
            with lock:  # as who starts a thread
                pid = os.fork()
                if not pid:
                    os._exit(7)
            status.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            over.release()
        _thread.start_new_thread(fork, ())
        over.acquire()
        assert status == [7]
    """,
        timeout=20,
    )
