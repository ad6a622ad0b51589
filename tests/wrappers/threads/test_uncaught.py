"""What is printed of exceptions has the program's frames, as C code has none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path

import pytest

from tests.conftest import RunScript

CALLS = {
    "traceback": """
        try: recv()
        except OSError: traceback.print_exc()
        """,
    "logging": """
        try: open("/nonexistent")
        except OSError: logging.exception("failed")
        """,
    "extract": """
        try: recv()
        except OSError as error:
            print(traceback.extract_tb(error.__traceback__))
            print([line for _, line in traceback.walk_tb(error.__traceback__)])
        """,
    "cause": """
        try:
            try: recv()
            except OSError as error: raise KeyError(1) from error
        except KeyError: traceback.print_exc()
        """,
    "group": """
        try:
            try: recv()
            except OSError as error: raise ExceptionGroup("both", [error])
        except ExceptionGroup: traceback.print_exc()
        """,
    "thread": """
        thread = threading.Thread(target=recv); thread.start(); thread.join()
        """,
    "context in a thread": """
        def run():
            try: recv()
            finally: 1 / 0
        thread = threading.Thread(target=run); thread.start(); thread.join()
        """,
    "hook of a thread": """
        def hook(args): recv()
        threading.excepthook = hook
        thread = threading.Thread(target=recv); thread.start(); thread.join()
        """,
    "raw thread": """
        import _thread
        _thread.start_new_thread(recv, ()); time.sleep(0.1)
        while _thread._count(): time.sleep(0.01)
        """,
    "hook of a raw thread": """
        import _thread
        def hook(args): recv()
        sys.unraisablehook = hook
        _thread.start_new_thread(recv, ()); time.sleep(0.1)
        while _thread._count(): time.sleep(0.01)
        """,
    "finalizer": """
        class Finalized:
            def __del__(self): recv()
        Finalized()
        """,
    "main": "recv()",
    "hook": """
        def hook(*args): recv()
        sys.excepthook = hook
        1 / 0
        """,
    "hook that raises": """
        def hook(*args): raise ValueError
        sys.excepthook = hook
        1 / 0
        """,
    "executor": """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(1) as executor: future = executor.submit(recv)
        traceback.print_exception(future.exception())
        """,
    "offloaded": """
        import sqlite3
        threading.Thread(target=time.sleep, args=(0.1,)).start()
        sqlite3.connect(__file__ + ".db").execute("select")
        """,
    "full disk": """
        sys.stdout = open("/dev/full", "w")
        threading.Thread(target=print, args=("x",), kwargs={"flush": True}).start()
        """,
    "signal": """
        def send(): time.sleep(0.05); os.kill(os.getpid(), 2)
        threading.Thread(target=send).start()
        time.sleep(5)
        """,
}
PROGRAM = """
import logging, os, socket, sys, threading, time, traceback
{patch}
def recv():
    with socket.socket() as sock:
        sock.settimeout(1)
        sock.recv(1)
{call}
"""


def printed(tmp_path: Path, environ: dict[str, str], call: str, patch: str) -> str:
    """What a program prints, without addresses and with the names of its files as they are."""
    script = tmp_path / "script.py"
    script.write_text(PROGRAM.format(patch=patch, call=textwrap.dedent(call)))
    options = ["-m", "capriccio_patch"] if patch == "pass  # by -m" else []
    done = subprocess.run(
        [sys.executable, *options, str(script)], env=environ, capture_output=True, text=True
    )
    return re.sub("0x[0-9a-f]+", "0x", done.stdout + done.stderr)


@pytest.mark.parametrize("patch", ["import capriccio_patch; capriccio_patch.patch_all()", "-m"])
@pytest.mark.parametrize("name", CALLS)
def test_it_is_what_stock_prints(
    tmp_path: Path, environ: dict[str, str], name: str, patch: str
) -> None:
    if name == "hook" and not hasattr(traceback, "_print_exception_bltin"):
        pytest.skip("C prints what is left of the traceback itself, and calls nobody before")
    expected = printed(tmp_path, environ, CALLS[name], "pass")
    found = printed(tmp_path, environ, CALLS[name], patch.replace("-m", "pass  # by -m"))
    assert "Error" in expected or name in ("extract", "signal")
    assert found == expected


def test_the_development_mode_hides_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    patch = "import capriccio_patch; capriccio_patch.patch_all()"
    environ |= {"PYTHONDEVMODE": "1", "CAPRICCIO_CORE": "python"}  # C has no frames to show
    found = printed(tmp_path, environ, CALLS["main"], patch)
    assert "capriccio_patch" in found


def test_who_goes_from_entry_to_entry_finds_each(patched: None) -> None:
    with pytest.raises(OSError, match="Bad file descriptor") as raised:
        os.read(-1, 1)
    trace = raised.value.__traceback__
    while trace is not None:
        (found,) = traceback.extract_tb(trace, limit=1)
        assert found.name == trace.tb_frame.f_code.co_name
        trace = trace.tb_next


def test_threads_share_what_keeps_the_interpreters_hooks(run_script: RunScript) -> None:
    done = run_script(
        """
        import sys, threading
        import capriccio_patch
        capriccio_patch.patch_all()
        def hook_of():
            return threading.Thread()._invoke_excepthook
        first = hook_of()
        assert hook_of() is first
        def fail():
            1 / 0
        told = []
        threading.excepthook = lambda args: told.append(args.exc_type)
        mine = hook_of()
        assert mine is not first
        thread = threading.Thread(target=fail)
        threading.excepthook = None
        thread.start()
        thread.join()
        threading.excepthook = threading.__excepthook__
        assert told == [ZeroDivisionError]
        sys.excepthook = lambda *args: None
        assert hook_of() is not first
        sys.excepthook = sys.__excepthook__
        assert hook_of() is first
        threading.Thread(target=fail).start()
        """
    )
    assert "ZeroDivisionError" in done.stderr
    assert "Assertion" not in done.stderr
