"""What CPython 3.14 and 3.15 keep for each OS thread, or read otherwise than versions before."""

from __future__ import annotations

import _ssl
import _thread
import asyncio
import os
import re
import ssl
import sys
import threading
import time
import types
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import capriccio_patch
from tests.conftest import RunScript, Ticker

_SSLSocket = vars(_ssl)["_SSLSocket"]
needs_names = pytest.mark.skipif(not hasattr(_thread, "set_name"), reason="no _thread.set_name")
needs_lazy = pytest.mark.skipif(not hasattr(types, "LazyImportType"), reason="no lazy imports")


def run_all(calls: list[Any]) -> None:
    """Make calls in a thread each, and wait for all."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("patched")
def test_the_running_task_is_each_threads_own() -> None:
    seen: list[bool] = []

    async def work() -> None:
        for _ in range(3):
            mine = asyncio.current_task()
            time.sleep(0.001)  # the thread parks in the middle of a step
            seen.append(asyncio.current_task() is mine)
            await asyncio.sleep(0)

    run_all([lambda: asyncio.run(work())] * 3)
    assert seen == [True] * 9


@pytest.mark.usefixtures("patched")
def test_an_eager_task_is_each_threads_own() -> None:
    if not hasattr(asyncio, "eager_task_factory"):
        pytest.skip("no eager tasks")
    seen: list[bool] = []

    async def step() -> None:
        mine = asyncio.current_task()
        time.sleep(0.001)
        seen.append(asyncio.current_task() is mine)

    async def work() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        await asyncio.gather(*(asyncio.ensure_future(step()) for _ in range(3)))

    run_all([lambda: asyncio.run(work())] * 3)
    assert seen == [True] * 9


@needs_lazy
def test_lazy_imports_in_progress_are_each_threads_own(
    run_script: RunScript, tmp_path: Path
) -> None:
    (tmp_path / "slow_module.py").write_text("import time; time.sleep(0.05); X = 1\n")
    program = """
        import capriccio_patch; capriccio_patch.patch_all()
        import sys, threading
        lazy import slow_module
        out = []
        def use():
            try:
                out.append(slow_module.X)
            except BaseException as error:
                out.append(repr(error))
        threads = [threading.Thread(target=use) for _ in range(3)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(out, sorted(n for n in sys.lazy_modules if "capriccio" in n))
    """
    assert run_script(program).stdout == "[1, 1, 1] []\n"


@needs_lazy
def test_lazy_imports_are_found_whatever_the_collector_does(run_script: RunScript) -> None:
    program = """
        import gc, sys
        from capriccio_patch.cpython import thread_state
        gc.set_threshold(1)
        class Collects:
            @staticmethod
            def find_spec(*_):
                gc.collect()
        sys.meta_path.insert(0, Collects)
        held = []
        def during(lazy):
            gc.collect()
            found(lazy)
        made = thread_state._import_lazily
        def import_lazily(call):
            global found
            found = call
            made(during)
        thread_state._import_lazily = import_lazily
        print(thread_state.lazy_imports())
    """
    assert run_script(program).stdout == "set()\n"


IMPORTS_ONE = """
    import sys
    if sys.argv[1:]:
        import capriccio_patch; capriccio_patch.patch_all(offload=sys.argv[2:])
    import threading
    def use():
        try:
            import one
        except BaseException as error:
            print(type(error).__name__, error)
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
"""


@needs_lazy
def test_a_circle_of_lazy_imports_is_told_as_by_stock(
    run_script: RunScript, tmp_path: Path
) -> None:
    (tmp_path / "one.py").write_text("lazy import two\nX = two.Y\n")
    (tmp_path / "two.py").write_text("lazy import one\nY = one.X\n")
    assert run_script(IMPORTS_ONE, "patched").stdout == run_script(IMPORTS_ONE).stdout


@needs_lazy
def test_a_call_on_another_os_thread_keeps_the_lazy_imports_in_progress(
    run_script: RunScript, tmp_path: Path
) -> None:
    (tmp_path / "away.py").write_text("def call(function):\n    return function()\n")
    (tmp_path / "one.py").write_text("lazy import two\nX = two\n")
    (tmp_path / "two.py").write_text("import away, one\naway.call(int)\nX = one.two\n")
    told = run_script(IMPORTS_ONE).stdout
    assert told.startswith("ImportCycleError")
    assert run_script(IMPORTS_ONE, "patched", "away.call").stdout == told


@needs_names
@pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="no /proc")
def test_a_green_thread_does_not_name_the_process(run_script: RunScript) -> None:
    program = """
        import capriccio_patch; capriccio_patch.patch_all()
        import _thread, threading, time
        def comm():
            with open("/proc/self/comm") as file:
                return file.read()
        before = comm()
        names = []
        def work():
            names.append(_thread._get_name())
            threading.current_thread().name = "another"
            names.append(_thread._get_name())
        thread = threading.Thread(target=work, name="worker-with-a-long-name")
        thread.start(); thread.join()
        assert comm() == before
        _thread.set_name("renamed")
        print(names, comm().strip())
        try:
            threading.Thread(target=lambda: _thread.set_name(1)).start()
        finally:
            pass
    """
    done = run_script(program)
    assert done.stdout == "['worker-with-a-l', 'another'] renamed\n"
    assert "TypeError" in done.stderr


def test_exit_callbacks_run_once_and_in_order(run_script: RunScript) -> None:
    program = """
        import atexit, threading, time
        for name in ("first", "second"):
            atexit.register(print, name)
        import capriccio_patch; capriccio_patch.patch_all()
        atexit.register(print, "third")
        def late():
            thread = threading.Thread(target=time.sleep, args=(0.01,))
            print("patched", capriccio_patch.status()["patched"])
        atexit.register(late)
    """
    assert run_script(program).stdout == "patched True\nthird\nsecond\nfirst\n"


def test_after_the_undo_nothing_is_left_for_the_exit(run_script: RunScript) -> None:
    program = """
        import atexit, gc, capriccio_patch
        from capriccio_patch.cpython import exit_order
        for _ in range(3):
            capriccio_patch.patch_all()
            assert sum(type(each) is exit_order._Registered for each in gc.get_objects()) <= 1
            capriccio_patch.unpatch_all()
        atexit.register(print, "end")
    """
    assert run_script(program).stdout == "end\n"


class RealNumber:
    """What from CPython 3.15 is a timeout."""

    def __float__(self) -> float:
        return 0.001


@pytest.mark.parametrize("value", [Decimal("0.001"), Fraction(1, 1000), RealNumber(), "1", None])
@pytest.mark.parametrize(
    "call",
    [
        "time.sleep({})",
        "select.select([], [], [], {})",
        "threading.Lock().acquire(True, {})",
        "select.poll().poll({})",
        "queue.SimpleQueue().get(True, {})",
    ],
)
def test_a_timeout_is_what_it_is_under_stock(call: str, value: Any, run_script: RunScript) -> None:
    if value is None:
        pytest.skip("waits for ever") if "sleep" not in call else None
    import queue
    import select

    names = {"time": time, "select": select, "threading": threading, "queue": queue, "value": value}

    def outcome() -> Any:
        try:
            return eval(call.format("value"), names)
        except Exception as error:
            return type(error), str(error)

    stock = outcome()
    capriccio_patch.patch_all()
    try:
        assert outcome() == stock
    finally:
        capriccio_patch.unpatch_all()


@pytest.mark.skipif(not hasattr(os, "readinto"), reason="no os.readinto")
class TestReadinto:
    def test_a_pipe_lets_others_run(self, ticker: type[Ticker]) -> None:
        reader, writer = os.pipe()
        buffer = bytearray(5)
        with ticker().at(3, lambda: os.write(writer, b"abc")):
            assert os.readinto(reader, buffer) == 3
        assert buffer == b"abc\0\0"
        os.close(writer)
        assert os.readinto(reader, buffer) == 0
        os.close(reader)

    @pytest.mark.usefixtures("patched")
    def test_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"0123456789")
        fd = os.open(path, os.O_RDONLY)
        buffer = bytearray(4)
        assert [os.readinto(fd, buffer), bytes(buffer)] == [4, b"0123"]
        assert [os.readinto(fd, memoryview(buffer)[1:]), bytes(buffer)] == [3, b"0456"]
        assert os.readinto(fd, bytearray()) == 0
        os.close(fd)

    def test_bad_arguments(self, tmp_path: Path) -> None:
        fd = os.open(os.devnull, os.O_RDONLY)
        cases: list[tuple[Any, ...]] = [
            (),
            (fd,),
            (fd, b"abc"),
            (fd, "abc"),
            (fd, memoryview(bytearray(6))[::2]),
            (-1, bytearray(1)),
            ("0", bytearray(1)),
            (1 << 70, bytearray(1)),
        ]

        def outcomes() -> list[Any]:
            found: list[Any] = []
            for case in cases:
                try:
                    found.append(os.readinto(*case))
                except Exception as error:
                    found.append((type(error), str(error)))
            return found

        stock = outcomes()
        capriccio_patch.patch_all()
        try:
            assert outcomes() == stock
        finally:
            capriccio_patch.unpatch_all()
        os.close(fd)


@pytest.mark.skipif(not hasattr(os, "statx"), reason="no os.statx")
@pytest.mark.usefixtures("patched")
def test_statx(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    seen: list[int] = []
    run_all([lambda: seen.append(os.statx(path, os.STATX_SIZE).stx_size)] * 3)
    assert seen == [3] * 3
    with pytest.raises(FileNotFoundError):
        os.statx(tmp_path / "none", os.STATX_SIZE)
    assert capriccio_patch.is_patched("os.statx")


@pytest.mark.skipif(not hasattr(_SSLSocket, "sendfile"), reason="no _SSLSocket.sendfile")
@pytest.mark.usefixtures("patched")
def test_sendfile_of_a_tls_object_that_has_no_socket_is_stocks() -> None:
    context = ssl.create_default_context()
    plain = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="name")
    with pytest.raises(Exception) as raised:  # noqa: PT011
        plain._sslobj.sendfile(0, 0, 1, 0)  # type: ignore[attr-defined]
    assert capriccio_patch.is_patched("ssl")
    original = capriccio_patch.original("_ssl._SSLSocket.sendfile")
    with pytest.raises(type(raised.value), match=re.escape(str(raised.value))):
        original(plain._sslobj, 0, 0, 1, 0)  # type: ignore[attr-defined]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="filters of warnings are the process's")
def test_a_fork_warns_by_the_filters_of_the_context(run_script: RunScript) -> None:
    script = Path(__file__).parent / "isolated" / "fork_warns.py"
    options = ("-X", "context_aware_warnings=1")
    assert (
        run_script(script, options=options, env={"CAPRICCIO_SOCKIO": "thread"}).stdout == "done\n"
    )
