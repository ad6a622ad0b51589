"""Celery with the pool of `integrations.celery`: a real worker, and a broker in its own process."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.servers import Process, importing

installed = pytest.mark.skipif(find_spec("celery") is None, reason="Celery is not installed")

POOL = "capriccio_patch.integrations.celery:TaskPool"
TASKS = """\
import os, threading, time
import capriccio_patch
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
app = Celery("tasks", broker="filesystem://", backend="file://results")
os.makedirs("results", exist_ok=True)
os.makedirs("queue", exist_ok=True)
app.conf.broker_transport_options = {
    "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "queue",
    "polling_interval": 0.05,
}
met = threading.Barrier(20)

@app.task
def meet():
    met.wait(60)
    return capriccio_patch.status()["patched_by"]

@app.task
def fail():
    raise ValueError("on purpose")

@app.task(soft_time_limit=0.3)
def soft():
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        return "cleaned up"

@app.task(time_limit=0.3)
def hard():
    time.sleep(60)

@app.task(time_limit=0.3)
def compute():
    while True:
        pass

@app.task
def hold(name):
    try:
        open(f"{name}.began", "w").close()
        while not os.path.exists("release"):
            time.sleep(0.01)
    except BaseException as error:
        open(f"{name}.{type(error).__name__}", "w").close()
        raise
    return name
"""
ASKS = """\
import sys
from tasks import *
def said(result):
    try:
        return result.get(timeout=60, interval=0.02)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
"""


class Worker(Process):
    """A worker that has begun to take tasks."""

    def __init__(self, directory: Path, environ: dict[str, str], *options: str) -> None:
        (directory / "tasks.py").write_text(TASKS)
        self._directory = directory
        self._environ = environ | {"CELERY_CUSTOM_WORKER_POOL": POOL}
        command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "custom"]
        command += ["--without-mingle", "--without-gossip", "--without-heartbeat", *options]
        super().__init__(command, directory, self._environ)
        self.until(lambda: " ready." in self.text())

    def ask(self, program: str) -> str:
        """What a program prints that has the tasks in its namespace."""
        return subprocess.run(
            [sys.executable, "-c", ASKS + program],
            cwd=self._directory,
            env=self._environ,
            capture_output=True,
            text=True,
            check=True,
            timeout=90,
        ).stdout

    def exists(self, name: str) -> Any:
        return (self._directory / name).exists


@pytest.fixture
def worker(tmp_path: Path, environ: dict[str, str]) -> Iterator[Any]:
    """A function: a worker with these options."""
    workers: list[Worker] = []

    def start(*options: str) -> Worker:
        workers.append(Worker(tmp_path, environ, "-l", "info", *options))
        return workers[-1]

    yield start
    for each in workers:
        each.end(others="(?!)")


@installed
def test_tasks_run_at_once_and_end_when_they_have_to(worker: Any) -> None:
    """Twenty that wait for each other; those that have time limits; a failure."""
    run = worker("-c", "40")
    out = run.ask(
        "met = [meet.delay() for _ in range(20)]\n"
        "rest = [task.delay() for task in (fail, soft, hard, compute)]\n"
        "print({said(each) for each in met}, *map(said, rest), sep='\\n')"
    )
    assert out.splitlines() == [
        "{'patch_all()'}",
        "ValueError: on purpose",
        "cleaned up",
        "TimeLimitExceeded: TimeLimitExceeded(0.3,)",
        "TimeLimitExceeded: TimeLimitExceeded(0.3,)",
    ]
    assert run.text().count("Hard time limit (0.3s) exceeded") == 2
    run.stop()


@installed
def test_a_warm_shutdown_waits_for_tasks_and_a_cold_one_ends_them(
    worker: Any, tmp_path: Path
) -> None:
    run = worker("-c", "2", "--max-tasks-per-child", "5")
    assert run.text().count("--max-tasks-per-child has no effect") == 1
    run.ask("hold.delay('first')")
    run.until(run.exists("first.began"))
    run.process.send_signal(signal.SIGTERM)
    run.until(lambda: "Warm shutdown" in run.text())
    (tmp_path / "release").touch()
    assert run.process.wait(30) == 0, run.text()
    assert "succeeded" in run.text()

    (tmp_path / "release").unlink()
    run = worker("-c", "2")
    run.ask("hold.delay('second')")
    run.until(run.exists("second.began"))
    run.process.send_signal(signal.SIGQUIT)
    run.process.wait(30)
    assert "Cold shutdown" in run.text()
    assert run.exists("second._Ended")()


POOL_ALONE = """
import threading, time
from capriccio_patch.integrations.celery import TaskPool
said = []
def failed(info):
    said.append(repr(getattr(info.exception, "exc", info.exception)))
def call(pool, target, *args, **limits):
    return pool.apply_async(
        target, args, {}, callback=lambda result: said.append(result),
        error_callback=failed,
        timeout_callback=lambda soft, limit: said.append(("soft" if soft else "hard", limit)),
        accept_callback=lambda pid, when: began.append(pid), **limits)
def until(holds):
    while not holds():
        time.sleep(0.001)
began = []
gate = threading.Event()
pool = TaskPool(2)
pool.start()
"""


ALONE = {
    "as many at once as it is told, more when it grows, fewer when it shrinks": (
        """
for n in range(5): call(pool, gate.wait)
until(lambda: len(began) == 2)
pool.grow(2)
until(lambda: len(began) == 4)
print(pool.info["running"], pool.info["queued"], pool.num_processes)
pool.shrink(3)
gate.set()
until(lambda: len(said) == 5)
until(lambda: pool.info["threads"] == 1)
print(said, pool.num_processes)
""",
        "4 1 4\n[True, True, True, True, True] 1\n",
    ),
    "to revoke a task ends it, even if it catches what is raised": (
        """
def stubborn():
    try: gate.wait()
    except BaseException: gate.wait()
call(pool, stubborn)
call(pool, gate.wait, 0.001)
until(lambda: said == [False])
pool.terminate_job(began[0])
until(lambda: not pool.info["running"])
print(said)
""",
        "[False]\n",
    ),
    "what a task raises past Celery's own net is its failure": (
        """
def leave(): raise SystemExit(3)
call(pool, leave)
until(lambda: said)
print(said)
""",
        "['SystemExit(3)']\n",
    ),
    "no limit is told of for a task that is over": (
        """
call(pool, gate.wait, 0.001, soft_timeout=0.05, timeout=0.1)
call(pool, gate.wait, 5, soft_timeout=0.2, timeout=0.3)
until(lambda: len(said) == 3)
time.sleep(0.2)
print(said)
""",
        "[False, ('soft', 0.2), 'SoftTimeLimitExceeded(0.2)']\n",
    ),
    "what is queued at the end is not begun": (
        """
for n in range(4): call(pool, gate.wait)
until(lambda: len(began) == 2)
threading.Timer(0.05, gate.set).start()
pool.close()
pool.stop()
print(said)
""",
        "[True, True]\n",
    ),
}


@installed
@pytest.mark.parametrize("what", ALONE)
def test_the_pool_alone(run_script: Any, what: str) -> None:
    program, out = ALONE[what]
    assert run_script(POOL_ALONE + program).stdout == out


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("raise ImportError", "Celery is not installed"),
        ("VERSION = (5, 2, 7)", "needs Celery 5.3 or newer"),
    ],
)
def test_a_celery_that_is_missing_or_old_is_told_of(
    tmp_path: Path, environ: dict[str, str], package: str, line: str
) -> None:
    (tmp_path / "celery" / "concurrency").mkdir(parents=True)
    (tmp_path / "celery" / "__init__.py").write_text(package)
    (tmp_path / "celery" / "concurrency" / "__init__.py").touch()
    (tmp_path / "celery" / "concurrency" / "base.py").write_text("BasePool = object")
    done = importing("celery", tmp_path, environ)
    expected = f"capriccio_patch.integrations.celery: {line}\n"
    assert (done.returncode, done.stderr) == (1, expected)


@installed
def test_a_setting_that_is_invalid_is_told_of_in_one_line(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    done = importing("celery", tmp_path, environ | {"CAPRICCIO_SLICE": "soon"})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("capriccio_patch.integrations.celery: CAPRICCIO_SLICE='soon': ")
