"""What every test may use.

`patched` puts the patch in force for one test of this process; a scenario that concerns the whole
process (exit, fork, late patch, signals) runs in an interpreter of its own: `run_script`.  `ticker`
proves that a call let other threads run.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

import capriccio_patch
from capriccio_patch.io import os_threads
from capriccio_patch.processors import choice
from tests.inside import applied
from tests.simulation import Simulation

ROOT = Path(__file__).resolve().parent.parent
BSD = ROOT / "tests/fakes/bsd"

SCHEMES = [name for name, reason in capriccio_patch.available_backends().items() if reason is None]
"""The socket I/O schemes that can run here; `with_scheme` makes kqueue one."""
if "kqueue" not in SCHEMES:
    SCHEMES.append("kqueue")


SEVERAL = os.environ.get("CAPRICCIO_PROCESSORS", "1") != "1"
"""Whether the tests are to run with several kernels."""
if SEVERAL:
    choice.also_with_gil = True

forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
"""A test that forks the test process, which may have OS threads: the package's, and others'."""


def with_scheme(name: str) -> dict[str, str]:
    """The environment of a child interpreter that uses a scheme of `SCHEMES`."""
    environ = {"CAPRICCIO_SOCKIO": name}
    if name == "kqueue" and not hasattr(select, "kqueue"):
        environ["PYTHONPATH"] = f"{BSD}:{ROOT}"
    return environ


def pytest_configure() -> None:
    """A shell has SIGINT ignored by what it runs in the background, and so by every child."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_TURNS = 100
"""Some threads never wait."""
_FORM = ("CAPRICCIO_CORE", "CAPRICCIO_PROCESSORS")
_NEWEST = [ROOT / "tests" / name for name in ("bench", "docs", "structure", "test_wheel.py")]
"""Where all tests are marked `newest`."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What measures the wall clock may fail on a busy machine; a defect fails each time."""
    for item in items:
        if not {item.path, *item.path.parents}.isdisjoint(_NEWEST):
            item.add_marker(pytest.mark.newest)
        if SEVERAL and item.get_closest_marker("one_processor"):
            item.add_marker(pytest.mark.skip("is about one kernel"))
    if config.pluginmanager.has_plugin("rerunfailures"):
        for item in items:
            if item.get_closest_marker("wall_clock"):
                item.add_marker(pytest.mark.flaky(reruns=2, rerun_except=["Timeout"]))


def pytest_collection_finish() -> None:
    """What was imported and collected, most of it pytest's, need not be looked through each time
    that something is patched or undone."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def kept() -> Iterator[None]:
    """The same for what pytest has noted of the tests of a module."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def environ() -> dict[str, str]:
    """An environment for child interpreters: this tree importable, and of CAPRICCIO_* only set
    which form of the core is tested, with how many kernels."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("CAPRICCIO_", "PYTHON"))}
    form = {k: v for k, v in os.environ.items() if k in _FORM}
    return environ | form | {"PYTHONPATH": str(ROOT)}


def in_order(served: list[Any]) -> list[Any]:
    """What was served, as it came; several kernels have an order each, and none among them."""
    return sorted(served, key=lambda each: (repr(type(each)), each)) if SEVERAL else served


def wait_until(so: Callable[[], object], limit: float = 10.0) -> None:
    """Let others run until ``so()`` is true; the test fails if that takes `limit` seconds."""
    deadline = time.monotonic() + limit
    while not so():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.001)


def let_others_park() -> None:
    """Let the other green threads run until each of them waits: one whose slice was over, on a busy
    machine, takes more than a turn."""
    time.sleep(0)
    if SEVERAL:
        wait_until(_others_wait)
        return
    for _ in range(_TURNS):
        if _others_wait():
            break
        time.sleep(0)


def _others_wait() -> bool:
    for kernel in applied().runtime.kernel.all():
        deferred = kernel.deferred or kernel.preempted
        if kernel._inbox or kernel.ready or deferred or getattr(kernel, "fresh", ()):
            return False
        if not kernel.blocking and not kernel.is_mine():
            return False
    return True


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes after the test what is entered into it."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def sim() -> Simulation:
    """A kernel of its own for each test."""
    return Simulation()


@pytest.fixture(autouse=True)
def switch_interval() -> Iterator[None]:
    """What a test sets is put back: with a long one OS threads would wait for the GIL for ever."""
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def signal_dispositions() -> Iterator[None]:
    """What a test sets for the signals that tests use is put back after it."""
    names = ("SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGINT")
    saved = {n: signal.getsignal(n) for name in names if (n := getattr(signal, name, 0))}
    yield
    for signum, handler in saved.items():
        signal.signal(signum, handler)


@pytest.fixture
def patched() -> Iterator[None]:
    """The patch is in force for the test; undoing it fails if the test leaves threads behind."""
    capriccio_patch.patch_all()
    try:
        yield
    finally:
        _wait_for_threads()
        capriccio_patch.unpatch_all()
        gc.collect()  # a patch and its undo leave circles, which the next ones would look through


def _wait_for_threads(limit: float = 5.0) -> None:
    """Threads that were told to end may not have had their turn yet."""
    deadline = time.monotonic() + limit
    while capriccio_patch.status()["threads"] > 1 and time.monotonic() < deadline:
        time.sleep(0.001)


def green(call: Callable[[], Any]) -> threading.Thread:
    """A thread that makes a call; a green one while the patch is in force."""
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def os_thread(call: Callable[[], Any]) -> None:
    """Make a call on an OS thread."""
    capriccio_patch.original("_thread.start_new_thread")(call, ())


class Ticker:
    """A thread that counts its turns; within ``with``.

    ``ticker.at(3, unblock)`` has it make a call in its third turn: when that call is what ends the
    wait of the test's own thread, the test can pass only if the wait let others run.
    """

    def __init__(self, interval: float = 0.001) -> None:
        self.ticks = 0
        self._interval = interval
        self._actions: dict[int, Callable[[], Any]] = {}
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="ticker")

    def at(self, ticks: int, action: Callable[[], Any]) -> Ticker:
        """Call `action` in the turn of number `ticks`."""
        self._actions[ticks] = action
        return self

    def _run(self) -> None:
        while not self._stopped:
            self.ticks += 1
            action = self._actions.pop(self.ticks, None)
            if action is not None:
                action()
            time.sleep(self._interval)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._thread.join()


@pytest.fixture
def ticker(patched: None) -> type[Ticker]:
    """`Ticker`, with the patch in force."""
    return Ticker


@pytest.fixture
def no_os_threads(patched: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the patch in force: the system has no further OS thread for the package."""

    def refuse(*args: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(os_threads, "start", refuse)
    monkeypatch.setattr(os_threads, "start_hearing", refuse)


RunScript = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_script(environ: dict[str, str], tmp_path: Path) -> RunScript:
    """``run_script(code, *args, status=0, env={}, options=())``: a program in its own interpreter.

    Returns the finished process (stdout, stderr as text), after asserting the exit status; None
    leaves that to the caller.  The code patches itself, when it wants to.  A path is run as it is.
    """

    def run(
        code: str | Path,
        *args: str,
        status: int | None = 0,
        env: dict[str, str] | None = None,
        options: tuple[str, ...] = (),
        stdin: str | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        if isinstance(code, Path):
            script = code
        else:
            script = tmp_path / "script.py"
            script.write_text(textwrap.dedent(code))
        done = subprocess.run(
            [sys.executable, *options, str(script), *args],
            env=environ | (env or {}),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if status is not None:
            assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
        return done

    return run
