"""Patching and undoing again and again: nothing of a patch outlives it."""

from __future__ import annotations

import pytest

from capriccio_patch import known_schedulers
from tests.conftest import SCHEMES, RunScript, with_scheme

_CYCLES = """
import gc
import sys
from collections import Counter
import capriccio_patch

{imports}
{threads}
def use():
    {use}

def cycles(number):
    for _ in range(number):
        capriccio_patch.patch_all({settings})
        use()
        capriccio_patch.unpatch_all()
    gc.collect()
    return Counter(type(each).__qualname__ for each in gc.get_objects())

cycles(3)
modules = None
while modules != set(sys.modules):  # a report of the watchdog's imports what it needs
    modules = set(sys.modules)
    kinds = cycles(3)
    more = cycles(20)
more.subtract(kinds)
print({{kind: number for kind, number in more.items() if number >= 10}})
"""

THREADS = """
def both(*functions):
    threads = [threading.Thread(target=function) for function in functions]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
"""
USES = {
    "nothing": ("", "pass"),
    "threads": ("import threading", "both(*[lambda: threading.Event().wait(0.001)] * 20)"),
    "sockets": (
        "import socket, threading",
        "a, b = socket.socketpair(); both(lambda: b.recv(1), lambda: a.send(b'x'))",
    ),
    "files": ("", "file = open(__file__); file.read(); file.close()"),
    "queues": (
        "import queue, threading",
        "it = queue.Queue(); both(it.get, lambda: it.put(1))",
    ),
    "processes": ("import subprocess", "subprocess.run(['true'])"),
    "databases": (
        "import sqlite3, threading",
        "both(lambda: sqlite3.connect('').execute('select 1'))",
    ),
    "loops": ("import asyncio", "asyncio.run(asyncio.sleep(0.001))"),
    "TLS": ("import ssl", "ssl.create_default_context()"),
    "signals": (
        "import signal",
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN); signal.raise_signal(signal.SIGUSR1)",
    ),
    "computing": (
        "import threading, time",
        "both(lambda: time.sleep(0), lambda: sum(range(10**6)))",
    ),
}


def cycles(run_script: RunScript, use: str = "nothing", settings: str = "", **environ: str) -> None:
    """Assert that a cycle leaves no object behind."""
    imports, code = USES[use]
    code = _CYCLES.format(imports=imports, use=code, settings=settings, threads=THREADS)
    assert run_script(code, env=environ).stdout == "{}\n"


@pytest.mark.parametrize("use", USES)
def test_nothing_is_left_of_what_was_used(run_script: RunScript, use: str) -> None:
    cycles(run_script, use)


@pytest.mark.parametrize("scheduler", known_schedulers())
def test_nothing_is_left_of_a_scheduler(run_script: RunScript, scheduler: str) -> None:
    cycles(run_script, "threads", f"scheduler={scheduler!r}")


@pytest.mark.parametrize("sockio", SCHEMES)
def test_nothing_is_left_of_a_scheme(run_script: RunScript, sockio: str) -> None:
    cycles(run_script, "sockets", **with_scheme(sockio))


@pytest.mark.parametrize("diskio", ["workers", "io_uring", "nowait", "blocking"])
def test_nothing_is_left_of_a_disk_scheme(run_script: RunScript, diskio: str) -> None:
    cycles(run_script, "files", CAPRICCIO_DISKIO=diskio)


def test_nothing_is_left_of_what_was_offloaded(run_script: RunScript) -> None:
    cycles(run_script, "nothing", "offload=['textwrap.dedent', 'sqlite3.Connection.execute']")


def test_nothing_is_left_of_a_recording(run_script: RunScript) -> None:
    cycles(run_script, "threads", "graph='/dev/null/graph.svg', exclude=['ssl']")
