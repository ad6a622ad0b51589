"""Dumps: asked for by a signal, by the program, and while C code blocks."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.config import Settings
from capriccio_patch.contracts.thread import Thread
from capriccio_patch.cpython import frames
from capriccio_patch.diagnosis import snapshot
from capriccio_patch.errors import ConfigError, PatchError
from capriccio_patch.preemption.stall_report import _is_at_search
from tests.conftest import RunScript, let_others_park
from tests.inside import applied

PROGRAM = """
import ctypes, os, sys, threading, queue
import capriccio_patch
capriccio_patch.patch_all()
jobs = queue.Queue()
def work():
    jobs.get()
for number in range(3):
    threading.Thread(target=work, name=f"worker-{number}", daemon=True).start()
lock = threading.Lock()
def want():
    with lock:
        pass
lock.acquire()
threading.Thread(target=want, name="wants", daemon=True).start()
while not capriccio_patch.blocking_graph().nodes[-1].kind == "lock":
    threading.Event().wait(0.001)
print("ready", flush=True)
if sys.argv[1] == "C":
    ctypes.CDLL(None).sleep(60)
elif sys.argv[1] == "busy":
    while True:
        sum(range(100))
elif sys.argv[1] == "fork":
    pid = os.fork()
    print(pid or os.getpid(), flush=True)
sys.stdin.read()
"""


class Program:
    """A program that runs."""

    def __init__(self, environ: dict[str, str], path: Path, how: str, **more: str) -> None:
        script = path / "program.py"
        script.write_text(PROGRAM)
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script), how],
            env=environ | more,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self.pid = self.process.pid

    def read_until(self, word: str) -> str:
        """What comes on standard error, to the first line that has the word."""
        assert self.process.stderr is not None
        text = ""
        for line in self.process.stderr:
            text += line
            if word in line:
                return text
        raise AssertionError(text)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def programs(environ: dict[str, str], tmp_path: Path) -> Iterator[type[Program]]:
    """Makes programs, and ends them."""
    made: list[Program] = []

    class Made(Program):
        def __init__(self, how: str, **more: str) -> None:
            super().__init__(environ | {"XDG_RUNTIME_DIR": str(tmp_path)}, tmp_path, how, **more)
            made.append(self)

    yield Made  # type: ignore[misc]
    for program in made:
        program.end()


@pytest.mark.parametrize("how", ["idle", "C", "busy"])
def test_a_signal_has_all_threads_dumped(programs: type[Program], how: str) -> None:
    program = programs(how, CAPRICCIO_DUMP="quit")  # type: ignore[call-arg,arg-type]
    for _ in (1, 2):
        program.process.send_signal(signal.SIGQUIT)
        text = program.read_until("in want")
        assert f"process {program.pid}: 5 threads" in text
        assert "worker-0" in text
        assert "3 threads (worker-0, worker-1, worker-2): waiting for Queue.get" in text
        assert "seems to be held by MainThread since program.py:" in text


def ask(*args: str, status: int = 0) -> str:
    environ = dict(os.environ) | {"XDG_RUNTIME_DIR": os.environ.get("TEST_RUNTIME", "")}
    done = subprocess.run(
        [sys.executable, "-m", "capriccio_patch.ps", *args],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("how", ["idle", "C", "busy"])
def test_ps_asks_at_the_socket(
    programs: type[Program], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    monkeypatch.setenv("TEST_RUNTIME", str(tmp_path))
    program = programs(how, CAPRICCIO_PS="1")  # type: ignore[call-arg,arg-type]
    pid = str(program.pid)
    assert (tmp_path / "capriccio_patch").stat().st_mode & 0o777 == 0o700
    assert f"{pid}  at its socket" in ask()
    shown = ask(pid)
    assert "held by" in shown.splitlines()[2]
    assert any(
        line.split()[0] == "wants" and "MainThread" in line for line in shown.splitlines()[3:]
    )
    tree = ask(pid, "--tree")
    assert "\n    wants: waiting lock.acquire" in tree
    data = json.loads(ask(pid, "--json"))
    assert {row["name"] for row in data["rows"]} >= {"MainThread", "worker-2", "wants"}
    if how == "idle":
        ask(pid, "--graph", str(tmp_path / "graph.svg"))
        assert "<svg" in (tmp_path / "graph.svg").read_text()
        assert "ends in .svg" in ask(pid, "--graph", "graph.png", status=1)


@pytest.mark.skipif(not hasattr(sys, "remote_exec"), reason="from CPython 3.14 on")
def test_ps_asks_by_the_interpreter(
    programs: type[Program], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEST_RUNTIME", str(tmp_path))
    program = programs("busy")  # type: ignore[call-arg,arg-type]
    try:
        text = ask(str(program.pid), "--stacks")
    except AssertionError as error:
        if "can't be asked by the interpreter" in str(error):
            pytest.skip("not allowed here")
        raise
    assert "worker-0" in text
    assert "<string>" not in text  # what asks is not the program's


def test_a_forked_child_answers_for_itself(
    programs: type[Program], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEST_RUNTIME", str(tmp_path))
    program = programs("fork", CAPRICCIO_PS="1", CAPRICCIO_DUMP="QUIT")  # type: ignore[call-arg,arg-type]
    assert program.process.stdout is not None
    numbers = {int(program.process.stdout.readline()) for _ in (1, 2)}
    [child] = numbers - {program.pid} or {program.pid}
    try:
        while not (tmp_path / "capriccio_patch" / str(child)).exists():
            time.sleep(0.01)
        assert f"process {child}: 1 threads" in ask(str(child))
        assert f"process {program.pid}: 5 threads" in ask(str(program.pid))
        os.kill(child, signal.SIGQUIT)
        assert f"process {child}: 1 threads" in program.read_until(f"process {child}")
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_fork_is_not_warned_of_what_answers(run_script: RunScript, tmp_path: Path) -> None:
    code = """
        import os, warnings
        warnings.simplefilter("error")
        for _ in range(5):
            pid = os.fork()
            if not pid:
                os._exit(0)
            os.waitpid(pid, 0)
        """
    env = {"XDG_RUNTIME_DIR": str(tmp_path), "CAPRICCIO_PS": "1"}
    run_script(code, options=("-m", "capriccio_patch"), env=env)


def test_who_can_not_be_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEST_RUNTIME", str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert f"there is no process {gone.pid}" in ask(str(gone.pid), status=1)
    (tmp_path / "capriccio_patch").mkdir(mode=0o700)
    place = tmp_path / "capriccio_patch" / str(os.getpid())
    place.write_text("in the way")
    assert "capriccio_patch.ps: " in ask(str(os.getpid()), status=1)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["0"], "0 is not the number of a process"),
        (["9" * 30], "is not the number of a process"),
        (["--tree"], "PID is missing"),
        (["1", "--watch", "nan"], "invalid _period value"),
    ],
)
def test_what_makes_no_sense(args: list[str], words: str) -> None:
    status = 1 if args[0].isdigit() and len(args) == 1 else 2
    assert words in ask(*args, status=status).splitlines()[-1]


@pytest.mark.parametrize("end", ["| head -n 1", ">/dev/full", ">&-"])
def test_output_that_ends_early(
    programs: type[Program], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: str
) -> None:
    program = programs("idle", CAPRICCIO_PS="1")  # type: ignore[call-arg,arg-type]
    environ = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    command = f"{sys.executable} -m capriccio_patch.ps {program.pid} {end}"
    done = subprocess.run(command, shell=True, env=environ, capture_output=True, text=True)
    assert (done.stdout + done.stderr).count("\n") == (0 if end == ">&-" else 1)
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="needs another user")
def test_another_user_is_told_nothing(run_script: RunScript, tmp_path: Path) -> None:
    code = """
        import os, sys
        import capriccio_patch
        from capriccio_patch.diagnosis.reaching import Unreachable, ask
        pid, place = os.getpid(), sys.argv[1]
        capriccio_patch.patch_all()
        refused, opened = os.pipe(), os.pipe()
        if not os.fork():
            capriccio_patch.unpatch_all()
            os.setuid(65534)
            for _ in range(2):
                try:
                    print(ask(pid, "threads"), flush=True)
                except Unreachable as error:
                    print(error, flush=True)
                os.write(refused[1], b"!")
                os.read(opened[0], 1)
            os._exit(0)
        os.read(refused[0], 1)
        for path in (place, f"{place}/capriccio_patch", f"{place}/capriccio_patch/{pid}"):
            os.chmod(path, 0o777)
        os.write(opened[1], b"!!")
        os.wait()
        """
    place = tmp_path / "place"
    place.mkdir(mode=0o700)
    for folder in tmp_path.parents:
        if folder.stat().st_mode & 0o005 != 0o005 and len(folder.parts) > 2:
            folder.chmod(0o755)
    tmp_path.chmod(0o755)
    done = run_script(
        code, str(place), env={"XDG_RUNTIME_DIR": str(place), "CAPRICCIO_PS": "1"}, timeout=30
    )
    first, second = done.stdout.splitlines()
    assert first.endswith("is another user's")
    assert second.endswith("another user's")


def test_what_is_in_the_way_of_the_socket(run_script: RunScript, tmp_path: Path) -> None:
    folder = tmp_path / "capriccio_patch"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    code = "import capriccio_patch; capriccio_patch.patch_all()"
    env = {"XDG_RUNTIME_DIR": str(tmp_path), "CAPRICCIO_PS": "1"}
    assert "not a directory of this user's alone" in run_script(code, env=env, status=1).stderr


def test_the_program_asks_itself(patched: None) -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait, name="asked-for")
    thread.start()
    let_others_park()
    text = io.StringIO()
    capriccio_patch.dump(text)
    assert "asked-for" in text.getvalue()
    assert "MainThread" in text.getvalue()
    assert "running" in text.getvalue()
    reader, writer = os.pipe()
    capriccio_patch.dump(writer)
    os.close(writer)
    with open(reader) as file:
        assert "asked-for" in file.read()
    over.set()
    thread.join()


def test_a_thread_whose_handler_runs_is_running(patched: None) -> None:
    found: list[Any] = []

    def handle(*_: object) -> None:
        found.append(snapshot.snapshot(applied().runtime.kernel))
        done.set()

    done = threading.Event()
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        assert done.wait(30)
    finally:
        signal.signal(signal.SIGUSR1, before)
    [row] = [row for row in found[0]["rows"] if row["ident"] == threading.get_ident()]
    assert (row["state"], row["object"], row["deadline"]) == ("running", "", None)
    assert row["place"][2] == "handle"


def test_a_dump_is_no_call_that_blocks(patched: None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def top_records(_: object) -> list[Any]:
        found.append(_is_at_search(sys._getframe(1)))
        return []

    monkeypatch.setattr(snapshot, "top_records", top_records)
    capriccio_patch.dump(io.StringIO())
    assert found == [True]


def test_the_way_through_the_runtime_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "frame_of", lambda *_: sys._getframe(2))  # who asks
    kernel: Any = SimpleNamespace(current=Thread(), blocking=True)
    record, keys = Thread(), []

    @frames.register
    def plain() -> None:
        keys.append(snapshot._key(kernel, record, {}))

    @frames.register
    def roundabout() -> None:
        plain()

    for way in (plain, roundabout):
        way()
    plain()  # elsewhere
    assert keys[0] == keys[1] != keys[2]


def test_without_a_patch_there_is_nothing_to_dump() -> None:
    with pytest.raises(PatchError):
        capriccio_patch.dump()


def test_a_signal_has_a_name() -> None:
    assert Settings.load({"CAPRICCIO_DUMP": "usr1"}).dump == signal.SIGUSR1
    with pytest.raises(ConfigError, match="the name of a signal"):
        Settings.load({"CAPRICCIO_DUMP": "SIG_DFL"})
