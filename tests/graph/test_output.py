"""The blocking graph in a file, at SIGTERM: the process ends as it would have."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import ctypes, os, signal, sys, threading, time
threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
time.sleep(0.01)
def up():
    print("up", flush=True)
"""


def ended(environ: dict[str, str], graph: Path, code: str) -> tuple[int, str]:
    """The status and the errors of a program that is terminated when it is up."""
    process = subprocess.Popen(
        [sys.executable, "-m", "capriccio_patch", "--graph", str(graph), "-c", HEAD + code],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.terminate()
    errors = process.communicate(timeout=60)[1]
    return process.returncode, errors


@pytest.mark.parametrize(
    "code",
    [
        "up(); time.sleep(60)",
        "up(); ctypes.CDLL(None).sleep(60)",
        "up(); threading.Event().wait()",
        "up()\nwhile True: sum(range(100))",
    ],
    ids=["sleeps", "in C", "waits", "computes"],
)
def test_the_process_ends_by_the_signal(environ: dict[str, str], tmp_path: Path, code: str) -> None:
    graph = tmp_path / "graph.svg"
    status, errors = ended(environ, graph, code)
    assert status == -signal.SIGTERM, errors
    assert "sleep" in graph.read_text()


def test_the_handler_of_the_program_decides(environ: dict[str, str], tmp_path: Path) -> None:
    graph = tmp_path / "graph.json"
    code = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
up()
time.sleep(60)
"""
    assert ended(environ, graph, code)[0] == 7
    assert "sleep" in graph.read_text()  # at exit


def test_what_is_ignored_stays_ignored(environ: dict[str, str], tmp_path: Path) -> None:
    code = """
assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
signal.signal(signal.SIGTERM, signal.SIG_IGN)
up()
time.sleep(0.3)
print("goes on", file=sys.stderr)
"""
    status, errors = ended(environ, tmp_path / "graph.dot", code)
    assert (status, errors) == (0, "goes on\n")


def test_a_file_that_can_not_be_written(environ: dict[str, str], tmp_path: Path) -> None:
    status, errors = ended(environ, tmp_path / "no" / "graph.svg", "up(); time.sleep(60)")
    assert status == -signal.SIGTERM
    assert errors.startswith("capriccio_patch: no graph is drawn: [Errno 2]")
    assert errors.count("\n") == 1


def test_a_forked_child_leaves_the_file_of_its_parent_alone(
    environ: dict[str, str], tmp_path: Path
) -> None:
    graph = tmp_path / "graph.svg"
    code = """
pid = os.fork()
if pid:
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
    assert not os.path.exists(sys.argv[1])
    up()
time.sleep(60)
"""
    code = code.replace("sys.argv[1]", repr(str(graph)))
    status, errors = ended(environ, graph, code)
    assert status == -signal.SIGTERM, errors
    assert graph.exists()
