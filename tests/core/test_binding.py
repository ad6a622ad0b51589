"""Which form the hot paths have, and that C leaves to Python what is not the plain case."""

from __future__ import annotations

import os
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.contracts.thread import Thread
from capriccio_patch.core import binding, table
from capriccio_patch.core.binding import COMPILED, Core
from capriccio_patch.errors import PatchError
from capriccio_patch.kernel.core import Kernel
from capriccio_patch.schedulers.fifo import FifoScheduler
from tests.conftest import ROOT, RunScript
from tests.simulation import Clock, ScriptedBackend

CORE = ROOT / "capriccio_patch/core"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test is about C."""
    pytest.importorskip("capriccio_patch.core._core")
    monkeypatch.setenv("CAPRICCIO_CORE", "compiled")


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no C module."""
    monkeypatch.setitem(sys.modules, "capriccio_patch.core._core", None)
    monkeypatch.delattr("capriccio_patch.core._core", raising=False)


def test_what_is_built_is_what_lies_there() -> None:
    """Else the tests of C are those of another C."""
    module: Any = pytest.importorskip("capriccio_patch.core._core")
    built = os.stat(module.__file__).st_mtime
    sources = [path for path in Path(CORE).iterdir() if path.suffix in (".c", ".h")]
    assert max(os.stat(path).st_mtime for path in sources) <= built


def test_the_status_tells_the_form(compiled: None, patched: None) -> None:
    assert capriccio_patch.status()["core"] == COMPILED
    assert type(time.sleep) is BuiltinFunctionType
    assert time.sleep.__self__ is time


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPRICCIO_CORE", "python")
    capriccio_patch.patch_all()
    try:
        assert capriccio_patch.status()["core"] == "CAPRICCIO_CORE=python"
    finally:
        capriccio_patch.unpatch_all()


def test_without_it_python_is_used(absent: None) -> None:
    core = Core("auto")
    assert core.form == "not built"
    assert type(core.kernel(ScriptedBackend(Clock()), FifoScheduler())) is Kernel  # type: ignore[arg-type]


def test_who_asks_for_it_is_told(absent: None) -> None:
    with pytest.raises(PatchError, match="not built"):
        Core("compiled")


def test_what_does_not_fit_is_not_used(compiled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Timers:
        """Without the slot that C looks for."""

        _heap = None

    monkeypatch.setattr(binding, "Timers", Timers)
    monkeypatch.setenv("CAPRICCIO_CORE", "auto")
    capriccio_patch.patch_all()
    try:
        assert "has no slot _heap" in capriccio_patch.status()["core"]
        thread = threading.Thread(target=time.sleep, args=(0,))
        thread.start()
        thread.join()
    finally:
        capriccio_patch.unpatch_all()


def test_a_method_of_another_kernel_is_pythons(compiled: None) -> None:
    first, second = Core("compiled"), Core("compiled")
    kernels = []
    for core in (first, second):
        kernel = core.kernel(ScriptedBackend(Clock()), FifoScheduler(), Clock())  # type: ignore[arg-type]
        core.bind(None)
        kernels.append(kernel)
    try:
        for kernel in kernels:
            me = kernel.begin()
            kernel.resume(me)
            assert kernel.park(me) is True
            kernel.yield_()
    finally:
        second.close()
    me = kernels[1].begin()
    kernels[1].cancel(me)
    assert kernels[1].current is me


def test_a_method_that_was_kept_works_after_the_undo(compiled: None, run_script: RunScript) -> None:
    script = """
    import time, capriccio_patch
    capriccio_patch.patch_all()
    sleep = time.sleep
    kernel = capriccio_patch.api._applied.runtime.kernel
    yield_ = kernel.yield_
    capriccio_patch.unpatch_all()
    sleep(0)
    yield_()
    print("done")
    """
    assert run_script(script).stdout == "done\n"


def test_a_fork_on_another_os_thread_makes_that_one_the_home(
    compiled: None, run_script: RunScript
) -> None:
    script = """
    import os, threading, time, warnings, capriccio_patch
    warnings.simplefilter("ignore")
    capriccio_patch.patch_all()

    def fork():
        pid = os.fork()
        if not pid:
            thread = threading.Thread(target=time.sleep, args=(0.001,))
            thread.start()
            thread.join()
            os._exit(7)
        done.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    done = []
    capriccio_patch.original("_thread.start_new_thread")(fork, ())
    while not done:
        time.sleep(0.001)
    print(done)
    """
    assert run_script(script).stdout == "[7]\n"


def test_a_scheduler_that_draws_lots_is_asked_before_each_call(
    compiled: None, run_script: RunScript
) -> None:
    script = """
    import time, capriccio_patch
    capriccio_patch.patch_all(scheduler="random")
    time.sleep(0)
    print(capriccio_patch.status()["core"], type(time.sleep.__self__).__name__)
    """
    assert run_script(script).stdout == "compiled module\n"


@pytest.mark.parametrize("seconds", [-1, -0.5, "1", None, 2**70, float("nan"), float("inf")])
def test_sleep_refuses_what_stock_refuses(compiled: None, patched: None, seconds: Any) -> None:
    stock = capriccio_patch.original("time.sleep")
    with pytest.raises((TypeError, ValueError, OverflowError)) as expected:
        stock(seconds)
    with pytest.raises(expected.type) as found:
        time.sleep(seconds)
    assert str(found.value) == str(expected.value)


def test_a_few_bytes_of_a_file(compiled: None, tmp_path: Path) -> None:
    pread = Core("auto").pread
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        assert pread(file.fileno(), 4, 3) == b"3456"
        assert pread(file.fileno(), 256, 8) == b"89"
        for size in (-1, 257):
            with pytest.raises(ValueError, match="as much"):
                pread(file.fileno(), size, 0)
    with pytest.raises(OSError, match="Bad file descriptor"):
        pread(2**30, 1, 0)


@pytest.mark.parametrize("names", ["KERNEL", "FUNCTIONS"])
def test_what_was_built_from_other_sources_is_not_used(
    compiled: None, monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    monkeypatch.setattr(table, names, (*getattr(table, names), "more"))
    assert Core("auto").form == "it does not fit: it was built from other sources"


def test_a_record_with_other_fields_is_noticed(
    compiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(Thread):
        __slots__ = ("more",)

        def __init__(self) -> None:
            super().__init__()
            self.more = None

    core = Core("compiled")
    core.kernel(ScriptedBackend(Clock()), FifoScheduler(), Clock())  # type: ignore[arg-type]
    monkeypatch.setattr(binding, "Thread", Other)
    core.bind(None)
    assert core.form == "it does not fit: a Thread has other fields than are known"


def test_a_destructor_in_the_kernel_has_its_threads_identity(
    compiled: None, run_script: RunScript
) -> None:
    script = """
    import threading, capriccio_patch
    from _thread import get_ident
    capriccio_patch.patch_all()
    seen = []

    class Waited:
        def __del__(self):
            seen.append(get_ident() == threading.main_thread().ident)

    kernel = capriccio_patch.api._applied.runtime.kernel
    me = kernel.begin()
    one = Waited()
    del one
    kernel.cancel(me)
    print(seen)
    """
    assert run_script(script).stdout == "[True]\n"


def test_deadlines_that_have_passed_are_served_in_order(compiled: None, patched: None) -> None:
    kernel = capriccio_patch.api._applied.runtime.kernel  # type: ignore[union-attr]
    past = kernel.clock() - 1000.0
    woken: list[int] = []

    def sleep(seconds: int) -> None:
        kernel.sleep_until(past + seconds)
        woken.append(seconds)

    late = [(7 * n) % 60 for n in range(60)]  # as many as sleep in one turn
    for each in late:
        kernel.spawn(partial(sleep, each))
    while len(woken) < len(late):
        time.sleep(0)
    assert woken == sorted(late)
    assert len(kernel.timers) == 0


def test_signatures_are_stocks(compiled: None, run_script: RunScript) -> None:
    """But for the first parameter, which goes by its place alone, as that of all methods of C."""
    script = """
    import inspect, queue, socket, threading, traceback
    import capriccio_patch
    classes = [threading.Condition, threading.Event, queue.Queue, queue.SimpleQueue, socket.socket]

    def found():
        signatures = {}
        for each in classes:
            for name, method in vars(each).items():
                if inspect.isroutine(method):
                    try:
                        parameters = [*inspect.signature(method).parameters.values()][1:]
                    except (TypeError, ValueError):  # there is none
                        continue
                    signatures[each.__name__, name] = [*map(str, parameters)]
        return signatures

    before = found()
    capriccio_patch.patch_all()
    now = found()
    print({name: (before[name], now.get(name)) for name in before if before[name] != now.get(name)})
    print(traceback.walk_tb.__module__)
    """
    assert run_script(script).stdout.splitlines() == ["{}", "traceback"]


def test_a_forked_child_is_bound_without_an_import(run_script: RunScript) -> None:
    """An OS thread that the child does not have may be in the midst of it."""
    run_script(
        """
        import os, signal
        import _frozen_importlib
        import capriccio_patch
        capriccio_patch.patch_all()
        from capriccio_patch.cpython import originals
        holds = originals.allocate_lock()
        holds.acquire()
        def importing():
            with _frozen_importlib._ModuleLockManager("greenlet"):
                holds.release()
                originals.sleep(60)
        capriccio_patch.original("_thread.start_new_thread")(importing, ())
        while holds.locked():
            originals.sleep(0.001)
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
        signal.alarm(20)
        assert os.waitpid(pid, 0)[1] == 0
        os._exit(0)
        """
    )
