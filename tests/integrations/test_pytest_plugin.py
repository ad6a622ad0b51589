"""The plugin for pytest, in a run of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = """\
import threading, time
import capriccio_patch, pytest

release = threading.Event()

@pytest.fixture(scope="module")
def server():
    thread = threading.Thread(target=release.wait)
    thread.start()
    yield
    release.set()
    thread.join()

def test_patched():
    assert capriccio_patch.is_patched("time.sleep")
    print(capriccio_patch.status()["patched_by"])

def test_thread_of_a_fixture(server):
    pass

def test_ends_soon():
    threading.Thread(target=time.sleep, args=(0.01,)).start()

@pytest.mark.leaves_threads
def test_permitted():
    threading.Thread(target=release.wait, name="permitted").start()

def lurk():
    threading.Event().wait()  # here

def test_leaves():
    threading.Thread(target=lurk, name="lurker", daemon=True).start()
"""


def run(tmp_path: Path, environ: dict[str, str], *options: str) -> str:
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "capriccio_patch"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-rA", "--strict-markers", *options, "test_it.py"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_a_test_that_leaves_a_thread_fails_with_its_place(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    out = run(tmp_path, environ)
    assert "5 passed, 1 error" in out
    assert "ERROR test_it.py::test_leaves" in out
    line = TESTS.splitlines().index("    threading.Event().wait()  # here") + 1
    place = f"lurker: {tmp_path}/test_it.py:{line} in lurk: threading.Event().wait()  # here"
    assert place in out
    assert "permitted:" not in out


@pytest.mark.skipif(find_spec("xdist") is None, reason="pytest-xdist is not installed")
def test_workers_of_xdist_are_patched(tmp_path: Path, environ: dict[str, str]) -> None:
    out = run(tmp_path, environ, "-n", "1")
    assert "5 passed, 1 error" in out
    assert "parent process" in out
