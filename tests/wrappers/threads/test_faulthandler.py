"""Dumps of ``faulthandler`` show green threads where they wait, in the words of stock."""

from __future__ import annotations

import faulthandler
import json
import os
import re
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.diagnosis import outsiders
from tests.conftest import SEVERAL


@contextmanager
def waiting(count: int) -> Iterator[list[int]]:
    """Threads that wait in `waits_here`, and their identifiers."""
    gate, here = threading.Lock(), threading.Semaphore(0)

    def waits_here() -> None:
        here.release()
        with gate:
            pass

    with gate:
        threads = [threading.Thread(target=waits_here, name="waits") for _ in range(count)]
        for thread in threads:
            thread.start()
        for _ in threads:
            here.acquire()
        yield [thread.ident or 0 for thread in threads]
    for thread in threads:
        thread.join()


def written(dump: Callable[[Any], None]) -> str:
    with tempfile.TemporaryFile("w+") as file:
        dump(file)
        file.seek(0)
        return file.read()


def eventually(file: Any, pattern: str) -> str:
    """What is in the file once it has what is looked for.

    C writes on, where the file's offset is: it stays.
    """
    deadline = time.monotonic() + 20
    while True:
        text = os.pread(file.fileno(), 1 << 20, 0).decode()
        if re.search(pattern, text) or time.monotonic() > deadline:
            return text
        time.sleep(0.01)


def green(text: str) -> str:
    """What is told of green threads; C tells as well of those on the OS threads of kernels."""
    return text.partition("Green threads")[2] if SEVERAL else text


def plain(text: str) -> str:
    return re.sub("0x[0-9a-f]{16}", "0x", text)


def dumps() -> list[str]:
    """What a program sees of each kind of dump."""
    texts = []
    with waiting(2):
        texts.append(written(faulthandler.dump_traceback))
        texts.append(written(lambda file: faulthandler.dump_traceback(file, all_threads=False)))
        texts.append(written(lambda file: faulthandler.dump_traceback(file.fileno())))
        with tempfile.TemporaryFile("w+") as file:
            faulthandler.dump_traceback_later(0.05, file=file)
            texts.append(eventually(file, "in dumps"))
            faulthandler.cancel_dump_traceback_later()
    return [plain(text) for text in texts]


@contextmanager
def in_force(wanted: bool) -> Iterator[None]:
    if wanted:
        capriccio_patch.patch_all()
    try:
        yield
    finally:
        capriccio_patch.unpatch_all()


def test_the_text_is_that_of_stock(run_script: Any) -> None:
    """In a process of its own: threads that are left from other tests would be shown."""
    done = run_script(
        """
        import json
        from tests.wrappers.threads.test_faulthandler import dumps, in_force
        texts = []
        for wanted in (False, True):
            with in_force(wanted):
                texts.append(dumps())
        print(json.dumps(texts))
        """
    )
    stock, found = texts = json.loads(done.stdout)
    assert found[:3] == stock[:3]
    # Where the main thread is when the time is over differs from run to run.
    parts = [each[3].split("\n\n") for each in texts]
    assert parts[0][:2] == parts[1][:2]
    head = r"Timeout \(0:00:00\.050000\)!\nThread 0x (\[waits\] )?\(most recent call first\):\n"
    assert re.match(head, found[3])
    assert found[3].count("in waits_here") == 2
    assert "capriccio_patch/" not in "".join(found)


def test_each_thread_is_told_by_its_identifier(patched: None) -> None:
    with waiting(3) as idents:
        text = written(faulthandler.dump_traceback)
    for ident in idents:
        assert re.search(rf"^Thread 0x{ident:016x} (\[waits\] )?\(", text, re.MULTILINE)
    assert re.search(
        rf"^Current thread 0x{threading.get_ident():016x} (\[.*\] )?\(", text, re.MULTILINE
    )


def test_errors_are_those_of_stock() -> None:
    def errors() -> list[str]:
        found = []
        later = faulthandler.dump_traceback_later
        for call, arguments in (
            *((faulthandler.dump_traceback, each) for each in ((-1,), ("x",), (-1, "x"))),
            *((later, each) for each in ((-1,), (0,), ("x",), (1e300,), (float("nan"),))),
            *((later, (1, False, each)) for each in (-1, "x")),
        ):
            with pytest.raises(Exception) as raised:  # noqa: PT011
                call(*arguments)
            found.append(repr(raised.value))
        return found

    found = []
    for wanted in (False, True):
        with in_force(wanted):
            found.append(errors())
    assert found[0] == found[1]


def test_a_dump_that_is_cancelled_does_not_come(patched: None) -> None:
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback_later(0.05, file=file)
        faulthandler.cancel_dump_traceback_later()
        faulthandler.dump_traceback_later(0.1, repeat=True, file=file)
        text = eventually(file, r"(?s)(Timeout.*){2}")
        faulthandler.cancel_dump_traceback_later()
    assert text.count("Timeout (0:00:00.100000)!") >= 2
    assert "0.05" not in text


def test_names_are_escaped_and_cut() -> None:
    name = "d\u00e9j\u00e0_\u4e2d_\U00010400" + "x" * 600
    namespace: dict[str, Any] = {}
    exec(f"def {name}(call, file):\n    call(file)\n", namespace)
    (function,) = (each for key, each in namespace.items() if key.startswith("d"))
    texts = []
    for wanted in (False, True):
        with in_force(wanted):
            texts.append(written(lambda file: function(faulthandler.dump_traceback, file)))
    # Without an OS thread that another test has left.
    lines = [plain(text).partition("Current thread")[2].split("\n") for text in texts]
    assert lines[0][:5] == lines[1][:5]
    assert "\\u4e2d" in lines[1][1]
    assert lines[1][1].endswith("xxx...")


def test_it_exits_when_the_time_is_over(run_script: Any) -> None:
    script = """
        import faulthandler, threading
        import capriccio_patch
        capriccio_patch.patch_all()
        lock = threading.Lock()
        def waits_here():
            lock.acquire()
        lock.acquire()
        threading.Thread(target=waits_here, daemon=True).start()
        faulthandler.dump_traceback_later(0.1, exit=True)
        lock.acquire()
    """
    done = run_script(script, status=1)
    assert "in waits_here" in done.stderr
    assert done.stderr.count("Timeout (0:00:00.100000)!") == 1


def test_c_code_that_keeps_the_gil_is_dumped_all_the_same(run_script: Any) -> None:
    script = """
        import ctypes, faulthandler
        import capriccio_patch
        capriccio_patch.patch_all()
        def keeps_the_gil():
            ctypes.PyDLL(None).sleep(30)
        faulthandler.dump_traceback_later(0.1, exit=True)
        keeps_the_gil()
    """
    done = run_script(script, status=1)
    assert "Timeout (" in done.stderr
    assert "in keeps_the_gil" in done.stderr


@pytest.fixture
def at_signals(tmp_path: Path) -> Iterator[Any]:
    """A file, what registers a dump into it at SIGUSR1, and what a handler of that has noted."""
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda signum, _: came.append(signum))
    with open(tmp_path / "dump", "w+") as file:
        yield file, partial(faulthandler.register, signal.SIGUSR1, file=file), came
        faulthandler.unregister(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def test_what_is_registered_shows_green_threads(patched: None, at_signals: Any) -> None:
    file, register, came = at_signals
    handler = signal.getsignal(signal.SIGUSR1)
    register(chain=False)
    assert signal.getsignal(signal.SIGUSR1) is handler
    with waiting(3) as idents:
        os.kill(os.getpid(), signal.SIGUSR1)
        text = eventually(file, r"(?s)Green threads.*in test_what.*")
    for ident in idents:
        assert re.search(rf"^Thread 0x{ident:016x} (\[waits\] )?\(", text, re.MULTILINE)
    assert green(text).count("in waits_here") == 3
    assert not came
    assert faulthandler.unregister(signal.SIGUSR1)
    assert not faulthandler.unregister(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) is handler
    signal.raise_signal(signal.SIGUSR1)
    assert came == [signal.SIGUSR1]


def test_a_chain_calls_the_handler_once(patched: None, at_signals: Any) -> None:
    file, register, came = at_signals
    register(chain=True)
    register(chain=True)  # again
    with waiting(1):
        os.kill(os.getpid(), signal.SIGUSR1)
        text = eventually(file, r"(?s)Green threads.*in test_a_chain.*")
    assert green(text).count("in waits_here") == 1
    assert came == [signal.SIGUSR1]


def test_the_handler_may_be_set_since(patched: None, at_signals: Any) -> None:
    _, register, _ = at_signals
    handler = signal.getsignal(signal.SIGUSR1)
    register(chain=True)
    assert signal.signal(signal.SIGUSR1, signal.SIG_IGN) is handler
    faulthandler.unregister(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    os.kill(os.getpid(), signal.SIGUSR1)


def test_a_dump_is_no_handler_that_could_wake_a_thread(patched: None, at_signals: Any) -> None:
    _, register, _ = at_signals
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    register()
    assert signal.SIGUSR1 not in dict(outsiders._handlers())


def test_a_registration_outlives_the_patch(at_signals: Any) -> None:
    file, register, came = at_signals
    with in_force(True):
        register(chain=False)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert "in test_a_registration" in eventually(file, "in test_a_registration")
    assert not came


@pytest.mark.parametrize(
    ("args", "error"),
    [(("x",), TypeError), ((0,), ValueError), ((signal.SIGSEGV,), RuntimeError)],
)
def test_a_wrong_registration_is_refused(patched: None, args: Any, error: Any) -> None:
    with pytest.raises(error):
        faulthandler.register(*args, file=2)
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        faulthandler.unregister(*args)
