"""Running the cases of `bench peers`, so that all runtimes meet the same moments of the machine.

A round runs each runtime once, in an order that turns from round to round.  Servers live through
all rounds of their case and are idle while another has its turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from .peer_cases import Run

__all__ = [
    "PeerError",
    "Service",
    "available",
    "command",
    "environment",
    "growth",
    "measure_run",
]

_PROGRAMS = Path(__file__).parent / "cases"
_PACKAGE = Path(__file__).parents[2]
_LIMIT = 180.0
"""Seconds that one run of a program may take."""
_GIB = 1 << 30
_STARTS = 5
_NEEDED = {"capriccio": "greenlet", "stock": "sys", "asyncio": "asyncio"}
"""The module that a runtime needs, where it is not its own name."""
_MILLION_BYTES = 10_000
"""A thread of ``crowd.py`` takes less."""

Values = dict[str, dict[str, list[float]]]
"""By key of the case and runtime: a value for each round."""


class PeerError(Exception):
    """A runtime can't run a case; the text says why."""


def available(runtime: str) -> str | None:
    """Why a runtime can't be measured here; None if it can."""
    import importlib.util

    module = _NEEDED.get(runtime, runtime)
    if importlib.util.find_spec(module) is None:
        return f"{module} is not installed"
    return None


def command(runtime: str, program: str, *args: str) -> list[str]:
    """The command that runs one of our programs under a runtime."""
    launch = str(_PROGRAMS / "launch.py")
    return [sys.executable, "-P", launch, runtime, str(_PROGRAMS / program), *args]


def environment() -> dict[str, str]:
    """The programs find this package, and no setting of the caller's."""
    names = ("CAPRICCIO_", "PYTHON", "GEVENT", "EVENTLET")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    return kept | {"PYTHONPATH": str(_PACKAGE)}


def measure_run(
    run: Run,
    runtimes: list[str],
    rounds: int,
    seconds: float,
    failed: Callable[[str, str], None],
) -> Values:
    """The values of a run under those of its runtimes that are among `runtimes`.

    `seconds` is about what each round takes.  `failed(runtime, why)` is called for a runtime that
    is left out.
    """
    values: Values = {}
    turns: dict[str, Callable[[], dict[str, float]]] = {}
    ends: list[Callable[[], None]] = []
    try:
        for runtime in run.runtimes:
            if runtime in runtimes:
                try:
                    turns[runtime] = _turn(run, runtime, seconds, ends)
                except PeerError as error:
                    failed(runtime, str(error))
        for number in range(rounds):
            order = list(turns)
            order = order[number % len(order) :] + order[: number % len(order)] if order else []
            for runtime in order:
                try:
                    measured = turns[runtime]()
                except PeerError as error:
                    failed(runtime, str(error))
                    del turns[runtime]
                    for by_runtime in values.values():
                        by_runtime.pop(runtime, None)
                    continue
                for key, value in measured.items():
                    values.setdefault(key, {}).setdefault(runtime, []).append(value)
    finally:
        for end in ends:
            end()
    return values


def _turn(
    run: Run, runtime: str, seconds: float, ends: list[Callable[[], None]]
) -> Callable[[], dict[str, float]]:
    """What a runtime does once a round."""
    if run.kind == "startup":
        return lambda: {"": _startup(runtime)}
    if run.kind == "server":
        service = Service(run, runtime)
        ends.append(service.close)
        service.open(seconds)
        return service.turn
    if run.args[1] == "parked":
        _check_memory(run.size)
        return lambda: _program(command(runtime, *run.args))
    if runtime in ("asyncio", "uvloop"):
        return lambda: _program(command(runtime, "loops.py", *run.args[1:], str(seconds)))
    return lambda: _program(command(runtime, *run.args, str(seconds)))


def _check_memory(threads: int) -> None:
    free = psutil.virtual_memory().available
    if free < threads * _MILLION_BYTES * 1.2:
        raise PeerError(f"{threads:,} threads need more memory than the {free >> 20:,} MiB free")


def _program(command: list[str]) -> dict[str, float]:
    """What a program prints."""
    try:
        done = subprocess.run(
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PeerError(f"not done after {_LIMIT:.0f} s") from None
    if done.returncode:
        raise PeerError(_last_line(done.stderr) or f"exit status {done.returncode}")
    values: dict[str, float] = json.loads(done.stdout)
    return values


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def _startup(runtime: str) -> float:
    """CPU seconds that a runtime takes to start, over a bare interpreter; the least of several."""
    patch = {
        "capriccio": "import capriccio_patch; capriccio_patch.patch_all()",
        "gevent": "from gevent import monkey; monkey.patch_all()",
        "eventlet": "import eventlet; eventlet.monkey_patch()",
    }[runtime]
    bare, patched = [], []
    for _ in range(_STARTS):
        bare.append(_cpu_of("pass"))
        patched.append(_cpu_of(patch))
    return min(patched) - min(bare)


def _cpu_of(code: str) -> float:
    pid = os.posix_spawn(
        sys.executable, [sys.executable, "-P", "-W", "ignore", "-c", code], environment()
    )
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise PeerError(f"{code!r} fails")
    return usage.ru_utime + usage.ru_stime


def cpu_clock(process: subprocess.Popen[str]) -> Callable[[], float]:
    """A clock of the CPU seconds of a process, its ended threads among them."""
    # clock_getcpuclockid(3), which `time` has for threads only, computes this number on Linux.
    number = (~process.pid << 3) | 2
    try:
        time.clock_gettime(number)
    except OSError:
        times = psutil.Process(process.pid).cpu_times
        return lambda: float(sum(times()[:2]))
    return lambda: time.clock_gettime(number)


class Service:
    """A server and who asks it."""

    def __init__(self, run: Run, runtime: str, settings: Mapping[str, str] | None = None) -> None:
        """`settings` are variables of the server's environment."""
        self._run = run
        self._settings = dict(settings or {})
        self._kind = run.args[0]
        program = "loops.py" if runtime in ("asyncio", "uvloop") else "servers.py"
        self._server = self._start(command(runtime, program, self._kind))
        self._clock = cpu_clock(self._server)
        self._load: subprocess.Popen[str] | None = None
        self._idle: subprocess.Popen[str] | None = None
        self._work = 0

    def _start(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            env=environment() | self._settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def open(self, seconds: float, idle: int = 0) -> None:
        """Connect, and find out how much is a round of about `seconds`.

        So many connections more are open and `idle`.
        """
        port = self._answer(self._server)
        if idle:
            self._idle = self._ask_from(port, idle)
        self._load = self._ask_from(port, self._run.size)
        if self._kind == "stream":
            self._work = _GIB if seconds >= 0.5 else _GIB // 8
            return
        self._work = 2 * self._run.size
        while True:
            started = time.monotonic()
            self._ask(self._work)
            took = time.monotonic() - started
            if took >= seconds / 4:
                self._work = max(self._work, int(self._work * seconds / took))
                return
            self._work *= 2

    def _ask_from(self, port: str, connections: int) -> subprocess.Popen[str]:
        load = str(_PROGRAMS / "load.py")
        process = self._start([sys.executable, "-P", load, self._kind, port, str(connections)])
        if self._answer(process) != "ready":
            process.kill()
            raise PeerError("it does not answer")
        return process

    def turn(self) -> dict[str, float]:
        """The server's CPU seconds for one request, or for a GiB."""
        work = self._work
        before = self._clock()
        self._ask(-work if self._run.args[-1] == "receive" else work)
        spent = self._clock() - before
        return {"": spent / (work / _GIB if self._kind == "stream" else work)}

    def _ask(self, work: int) -> None:
        assert self._load is not None
        assert self._load.stdin is not None
        self._load.stdin.write(f"{work}\n")
        self._load.stdin.flush()
        self._answer(self._load)

    def _answer(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            which = "the server" if process is self._server else "its load"
            raise PeerError(f"{which} has ended")
        return line

    def close(self) -> None:
        """End both."""
        for process in (self._load, self._idle, self._server):
            if process is not None:
                process.kill()
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        pipe.close()


def growth(
    runtimes: list[str],
    sizes: list[int],
    rounds: int,
    seconds: float,
    failed: Callable[[str, str], None],
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """By operation, runtime and number of waiting threads: CPU seconds, for each round."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for size in sizes:
        run = Run("program", ("crowd.py", "growth", str(size)), tuple(runtimes), size)
        for key, by_runtime in measure_run(run, runtimes, rounds, seconds, failed).items():
            for runtime, values in by_runtime.items():
                found.setdefault(key, {}).setdefault(runtime, {})[str(size)] = values
    return found
