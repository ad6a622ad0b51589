"""Extension modules that no row of the table names park as far as what they import allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from capriccio_patch.libraries.untried import written_in
from tests.libraries.conftest import needs_compiler
from tests.libraries.test_hooks import BOUND

pytestmark = needs_compiler

HEAD = """
import os, pty, socket, threading, time
import capriccio_patch
capriccio_patch.patch_all()
from capriccio_patch.core import _core
import waiting_calls
from waiting_calls import call
told = capriccio_patch.status()["libraries"].get("waiting_calls", "")

def parks(name, a, b, act, limit=10.0):
    # Whether `name` parks.  An OS thread calls `act`, which ends it, when it has, or after `limit`.
    done = []
    def others():
        while not done:
            time.sleep(0.001)
    def end():
        for _ in range(int(limit / 0.005)):
            if _core.libc_parks() > before:
                break
            originals.sleep(0.005)
        act()
        done.append(1)
    from capriccio_patch.cpython import originals
    thread = threading.Thread(target=others)
    thread.start()
    time.sleep(0.002)
    before = _core.libc_parks()
    start(end, ())
    call(name, a, b)
    parked = _core.libc_parks() > before
    thread.join()
    return parked

def stops_all(*call):
    return not parks(*call, 0.05)

start = capriccio_patch.original("_thread.start_new_thread")
"""


@pytest.fixture
def run(run_script: Any, built: Any, environ: dict[str, str]) -> Any:
    """Runs a program that has the module compiled with some options, and `HEAD`."""

    def run(code: str, *options: str, **env: str) -> Any:
        path = f"{built(*options)}:{environ['PYTHONPATH']}"
        env |= {"PYTHONPATH": path, "CAPRICCIO_CORE": "compiled"}
        return run_script(HEAD + code, env=env, timeout=30)

    return run


def test_without_os_threads_it_parks_in_all(run: Any) -> None:
    run(
        """
assert " park in " in told and "left alone" not in told, told
r, w = os.pipe()
assert parks("read", r, 1, lambda: os.write(w, b"x"))
assert parks("nanosleep", 0, 30, int)
assert parks("read_locked", r, 0, lambda: os.write(w, b"x"))
"""
    )


def test_a_lock_for_readers_and_writers_keeps_green_threads_apart(run: Any) -> None:
    run(
        """
for held, wanted in ((1, "write_lock"), (1, "read_lock"), (0, "write_lock")):
    r, w = os.pipe()
    done = []
    holder = threading.Thread(target=lambda: done.append(call("read_shared", r, held)))
    holder.start()
    time.sleep(0.002)
    def enter():
        call(wanted, 0, 0)
        done.append("other")
        call("unlock_shared", 0, 0)
    other = threading.Thread(target=enter)
    other.start()
    time.sleep(0.005)
    assert done == [], done
    os.write(w, b"x")
    holder.join()
    other.join()
    assert done == [1, "other"], done
assert call("read_lock", 0, 0) == call("read_lock", 0, 0) == 0
assert call("unlock_shared", 0, 0) == call("unlock_shared", 0, 0) == 0
"""
    )


@pytest.mark.parametrize("setting", ["", "waiting_calls"])
def test_a_module_that_calls_itself_by_another_name(run: Any, setting: str) -> None:
    run(
        """
assert waiting_calls.__name__ == "other"
assert " park in " in told and "left alone" not in told, told
""",
        "-DOTHER_NAME",
        CAPRICCIO_NATIVE=setting,
    )


def test_with_os_threads_of_its_own_it_parks_for_sockets_and_terminals(run: Any) -> None:
    run(
        """
assert " park in " in told, told
a, b = socket.socketpair()
for name in ("recv", "read", "poll", "select", "recvmsg"):
    assert parks(name, a.fileno(), -1 if name in ("poll", "select") else 1, lambda: b.send(b"x"))
    a.setblocking(False)
    try:
        a.recv(1)
    except BlockingIOError:
        pass
    a.setblocking(True)
master, slave = pty.openpty()
assert parks("read", slave, 1, lambda: os.write(master, b"x\\n"))
r, w = os.pipe()
write = lambda: os.write(w, b"x")
assert stops_all("read", r, 1, write)
assert stops_all("poll", r, -1, write)
assert stops_all("nanosleep", 0, 40, int)
number = a.fileno()
assert stops_all("read_locked", number, 0, lambda: b.send(b"x"))  # with a mutex held
assert stops_all("read_locked", number, 1, lambda: b.send(b"x"))
assert stops_all("read_shared", number, 0, lambda: b.send(b"x"))
assert parks("recv", number, 1, lambda: b.send(b"x"))
""",
        "-DWITH_THREADS",
    )


@pytest.mark.parametrize(("interface", "late"), [(0, 110), (1, 4), (2, 110)])
def test_who_is_woken_from_a_condition_gets_its_mutex(run: Any, interface: int, late: int) -> None:
    """A worker has taken it, and others want it, before that one can run.  By POSIX's, C11's and
    C++'s functions."""
    run(
        f"""
results = []
def wait(limit):
    results.append(call("wait_for_condition", {interface}, limit))
for limit in (0, 20000):
    threads = [threading.Thread(target=wait, args=(limit,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    parked = _core.libc_parks()
    while _core.libc_parks() - parked < 3:
        time.sleep(0.001)
    for _ in threads:
        while call("signal", 0, 20) != 1:
            time.sleep(0.001)
    for thread in threads:
        thread.join()
assert results == [0] * 6, results
assert call("wait_for_condition", {interface}, 5) == {late}
""",
        "-DWITH_CONDITIONS",
        *(BOUND["with C++'s"] if interface == 2 else ()),
    )


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("-DWITH_THREADS", "-DWITH_CONDITIONS"), "its callers wait for its OS threads"),
        (("-DWITH_FUTEXES",), "it may have locks of its own making"),
        (("-DWITH_SEMAPHORES",), "it waits for semaphores"),
        (("-DWITH_STATE",), "it keeps state by OS thread"),
    ],
)
def test_what_can_not_be_judged_is_left_alone(run: Any, options: tuple[str, ...], why: str) -> None:
    run(
        f"""
assert told.endswith({why!r}), told
a, b = socket.socketpair()
assert stops_all("recv", a.fileno(), 1, lambda: b.send(b"x"))
assert _core.libc_parks() == 0
from capriccio_patch.cpython.libraries import library_of
assert library_of(call).endswith({why!r} + ")"), library_of(call)
""",
        *options,
    )


@pytest.mark.parametrize("setting", ["off", "table", "-waiting_calls"])
def test_it_is_left_alone_if_the_setting_says_so(run: Any, setting: str) -> None:
    run(
        """
assert "park" not in told, told
a, b = socket.socketpair()
assert stops_all("recv", a.fileno(), 1, lambda: b.send(b"x"))
""",
        CAPRICCIO_NATIVE=setting,
    )


def test_a_late_patch_serves_what_is_loaded_and_the_undo_puts_it_back(run: Any) -> None:
    run(
        """
a, b = socket.socketpair()
send = lambda: b.send(b"x")
for _ in range(2):
    assert parks("recv", a.fileno(), 1, send)
    capriccio_patch.unpatch_all()
    parked = _core.libc_parks()
    threading.Timer(0.01, send).start()
    assert call("recv", a.fileno(), 1) == 1
    assert _core.libc_parks() == parked
    capriccio_patch.patch_all()
"""
    )


def test_a_module_that_another_os_thread_imports_is_served_later(run: Any) -> None:
    run(
        """
import sys
del sys.modules["waiting_calls"]
capriccio_patch.unpatch_all()
capriccio_patch.patch_all()
assert "waiting_calls" not in capriccio_patch.status()["libraries"]
ended = []
def get():
    import waiting_calls
    ended.append(1)
start(get, ())
while not ended:
    time.sleep(0.001)
assert "waiting_calls" not in capriccio_patch.status()["libraries"]
del sys.modules["waiting_calls"]
import waiting_calls
assert "waiting_calls" in capriccio_patch.status()["libraries"]
"""
    )


def test_the_languages_whose_runtimes_call_the_system_themselves(tmp_path: Path) -> None:
    for text, expected in (
        (b"panicked at /rustc/0123/library/core", "Rust"),
        (b"Go build ID: x", "Go"),
        (b"poll", None),
        (b"", None),
    ):
        (tmp_path / "library.so").write_bytes(text)
        assert written_in(str(tmp_path / "library.so")) == expected
    assert written_in(str(tmp_path / "missing.so")) is None
