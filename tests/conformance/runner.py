"""Runs a module of the ``test`` package in a child process and watches it from outside.

1. The child tells of each event in a file.  When nothing is told for `Options.hang` seconds it is
   asked for its stacks (SIGUSR1, `faulthandler`) and killed with all its descendants; the test that
   was running is a ``hang``, and what has not been run yet goes on in a new child.  A child that
   dies in a test makes that a ``crash`` in the same way.
2. What failed, or hung, is run once more, alone with its like: who passes then is ``again``.
3. The process that runs a module becomes the subreaper of all that the module leaves behind, and,
   as root, has a network of its own with nothing but loopback.
4. Each excused test has a child of its own, whose end does not count: it may leave a thread that
   waits for a day.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sets import LOOPBACK, PASSED_OVER, RESOURCES
from table import EXIT, PASSED

__all__ = ["Options", "repeat_module", "run_module"]

EXCUSED_HANG = 10.0
"""Seconds without a word that an excused test, and the end of its process, are given."""
_CHILD = Path(__file__).with_name("child.py")
_GIVE_UP = 12
"""Hangs and crashes of one module."""
_CLONE_NEWNET = 0x40000000
_PR_SET_CHILD_SUBREAPER = 36
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


@dataclass
class Options:
    """How a module is run; times in seconds."""

    python: str
    mode: str
    modules: list[str]
    """The whole set, for the mode ``late``."""
    hang: float = 120.0
    limit: float = 900.0
    log: Path = Path(os.devnull)
    excused: frozenset[str] = frozenset()
    """Tests that are not waited for long, and not run again."""


@dataclass
class Run:
    """What one child did."""

    why: str = ""
    """``done``, ``hang``, ``crash`` or ``limit``."""
    detail: str | None = None
    current: str | None = None
    phase: tuple[str, str] = ("start", "")
    outcomes: dict[str, list[Any]] = field(default_factory=dict)
    exit: int | str = 0
    """``hang``, or its status, where it ended otherwise than by 0 after all tests."""


class Module:
    """One module under way."""

    def __init__(self, name: str, options: Options) -> None:
        self.name = name
        self.options = options
        self.ids: list[str] | None = None
        self.tests: dict[str, list[Any]] = {}
        self.fixtures: list[list[Any]] = []
        self.record: dict[str, Any] = {"name": name, "mode": options.mode}
        self.passed_over = list(PASSED_OVER.get(name, ()))
        self.lost_classes: list[str] = []

    def run(self) -> dict[str, Any]:
        started = time.monotonic()
        troubles = 0
        while troubles < _GIVE_UP:
            run = self._one(None, started)
            self.tests.update(run.outcomes)
            if run.exit:
                self.record["exit"] = run.exit
            if run.why == "done" or (run.why == "limit" and run.current is None):
                break
            if run.current is not None:
                self.tests[run.current] = [run.why, run.detail]
            elif not self._lose_phase(run):
                break
            if run.why == "limit":
                break
            troubles += 1
        self._excused(started)
        self._fill_in()
        self._again(started)
        self.record["seconds"] = round(time.monotonic() - started, 1)
        self.record["tests"] = {
            name: outcome[0] if outcome[0] == "ok" else outcome
            for name, outcome in sorted(self.tests.items())
        }
        return self.record

    def repeat(self, tests: list[str]) -> dict[str, Any]:
        """Run `tests` alone, once; how the process ends can only be seen after all of them."""
        started = time.monotonic()
        if EXIT in tests:
            self.run()
            exit_ = self.record.get("exit")
            self.tests[EXIT] = ["ok" if not exit_ else "hang" if exit_ == "hang" else "error"]
        else:
            self.tests = {each: ["fail", None] for each in tests}
            self._again(started)
        absent = ["absent", None]
        found = {name: self.tests.get(name, absent) for name in tests}
        self.record["tests"] = {
            name: "ok" if result[0] in PASSED else result for name, result in found.items()
        }
        self.record["seconds"] = round(time.monotonic() - started, 1)
        return self.record

    def _excused(self, started: float) -> None:
        for each in self.ids or ():
            if each in self.options.excused and each not in self.tests:
                run = self._one([each], started)
                self.tests[each] = run.outcomes.get(each, [run.why, run.detail])

    def _lose_phase(self, run: Run) -> bool:
        """The child ended between tests: what that takes with it; whether to go on."""
        phase, name = run.phase
        self.record.setdefault("notes", []).append(f"{run.why} in {phase} {name}: {run.detail}")
        if phase == "class":
            prefix = name.removeprefix(f"test.{self.name}.") + "."
            self.lost_classes.append(prefix)
            for each in self.ids or ():
                if each.startswith(prefix):
                    self.tests.setdefault(each, [run.why, "in setUpClass"])
            return True
        for each in self.ids or ():
            self.tests.setdefault(each, [run.why, f"in {phase}"])
        self.record["module"] = [run.why, f"in {phase}: {run.detail}"]
        return False

    def _fill_in(self) -> None:
        """Tests that never started: their fixture failed or skipped, or the time was over."""
        for each in self.ids or ():
            if each in self.tests or each.startswith(tuple(PASSED_OVER.get(self.name, ("\0",)))):
                continue
            self.tests[each] = ["limit", None]
            for what, outcome, message in self.fixtures:
                kind, _, name = what.rstrip(")").partition(" (")
                name = name.removeprefix(f"test.{self.name}").lstrip(".")
                if kind in ("setUpModule", "setUpClass") and each.startswith(name):
                    self.tests[each] = [outcome, f"{what}: {message}"]
                    break
        for what, outcome, message in self.fixtures:
            if outcome != "skip":
                self.record.setdefault("notes", []).append(f"{what}: {outcome} {message}")

    def _again(self, started: float) -> None:
        bad = ("fail", "error", "hang", "crash")
        left = [name for name, outcome in self.tests.items() if outcome[0] in bad]
        left = [name for name in left if name not in self.options.excused]
        for _ in range(4):
            if not left:
                return
            run = self._one(left, started)
            for name, outcome in run.outcomes.items():
                if outcome[0] == "ok":
                    self.tests[name] = ["again", *self.tests[name]]
            left = [name for name in left if name not in run.outcomes and name != run.current]
            if run.why == "limit" or (run.why != "done" and run.current is None):
                return

    def _one(self, only: list[str] | None, started: float) -> Run:
        options = self.options
        folder = Path(tempfile.mkdtemp(prefix="conformance-"))
        try:
            (folder / "tmp").mkdir()
            (folder / "cwd").mkdir()
            events = folder / "events"
            events.touch()
            config = {
                "name": self.name,
                "mode": options.mode,
                "modules": options.modules,
                "resources": RESOURCES + (["network"] if self.name in LOOPBACK else []),
                "only": only,
                "done": [] if only is not None else [*self.tests, *options.excused],
                "passed_over": self.passed_over + self.lost_classes,
            }
            (folder / "config").write_text(json.dumps(config))
            dropped = ("PYTHON", "CAPRICCIO_", "PYTEST")
            environ = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
            with open(options.log, "ab") as log:
                child = subprocess.Popen(
                    [options.python, _CHILD, folder / "config", events],
                    cwd=folder / "cwd",
                    env=environ | {"TMPDIR": str(folder / "tmp")},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                excused = only is not None and options.excused.issuperset(only)
                hang = min(options.hang, EXCUSED_HANG) if excused else options.hang
                return self._watch(child, events, started + options.limit, hang)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _watch(self, child: subprocess.Popen[bytes], events: Path, end: float, hang: float) -> Run:
        run = Run()
        ended: dict[int, int] = {}
        rest = b""
        last = time.monotonic()
        done = False
        with open(events, "rb") as file:
            while not run.why:
                gone = _reap(child.pid, ended)
                if chunk := file.read():
                    last = time.monotonic()
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        done = self._take(run, json.loads(line)) or done
                    continue
                now = time.monotonic()
                if gone:
                    status = ended[child.pid]
                    run.why = "done" if done else "crash"
                    run.detail = f"status {status}"
                    if done and status:
                        run.exit = status
                elif now - last > hang:
                    os.kill(child.pid, signal.SIGUSR1)
                    time.sleep(1.0)
                    run.why = "done" if done else "hang"
                    if done:
                        run.exit = "hang"
                elif now > end and not done:
                    run.why = "limit"
                else:
                    time.sleep(0.05)
        _kill_all(child.pid, ended)
        child.returncode = ended.get(child.pid, -9)
        return run

    def _take(self, run: Run, event: dict[str, Any]) -> bool:
        kind = event["e"]
        if kind == "start":
            run.current = event["t"]
        elif kind == "end":
            run.outcomes[event["t"]] = [event["o"], event["m"]]
            run.current, run.phase = None, ("after a test", event["t"])
        elif kind == "phase" and event["p"] != "subtest":
            run.phase = event["p"], event.get("c", "")
        elif kind == "fixture":
            self.fixtures.append([event["d"], event["o"], event["m"]])
        elif kind == "loaded":
            self.ids = self.ids or event["ids"]
        elif kind == "module":
            self.record["module"] = [event["o"], event["m"]]
        return bool(kind == "done")


def _reap(pid: int, ended: dict[int, int]) -> bool:
    while True:
        try:
            status = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            break
        if status is None:
            break
        exited = status.si_code == os.CLD_EXITED
        ended[status.si_pid] = status.si_status if exited else -status.si_status
    return pid in ended


def _kill_all(pid: int, ended: dict[int, int]) -> None:
    """The child, and what it left: this process is the subreaper."""
    if pid not in ended:
        try:
            os.killpg(pid, signal.SIGKILL)
        except OSError:
            pass
    for _ in range(100):
        left = _descendants()
        for each in left:
            try:
                os.kill(each, signal.SIGKILL)
            except OSError:
                pass
        _reap(pid, ended)
        if not left:
            return
        time.sleep(0.05)


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_bytes().rsplit(b")", 1)[1].split()
            except OSError:
                continue
            if stat[0] != b"Z":
                children.setdefault(int(stat[1]), []).append(int(entry))
    found: list[int] = []
    left = [os.getpid()]
    while left:
        found += (more := children.get(left.pop(), []))
        left += more
    return found


def _isolate() -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        if libc.unshare(_CLONE_NEWNET) == 0:
            _raise_loopback()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:  # of a shell's background job: inherited
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)


def _raise_loopback() -> None:
    import fcntl
    import socket
    import struct

    with socket.socket() as probe:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        flags = struct.unpack("16sH14s", fcntl.ioctl(probe, _SIOCGIFFLAGS, request))[1]
        request = struct.pack("16sH14s", b"lo", flags | _IFF_UP, b"")
        fcntl.ioctl(probe, _SIOCSIFFLAGS, request)


def run_module(name: str, options: Options) -> dict[str, Any]:
    """Run one module; its record.  The calling process is changed for good: see point 3."""
    _isolate()
    return Module(name, options).run()


def repeat_module(name: str, options: Options, tests: list[str]) -> dict[str, Any]:
    """Run some tests of a module by themselves; as `run_module`."""
    _isolate()
    return Module(name, options).repeat(tests)
