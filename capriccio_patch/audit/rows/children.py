"""Child processes: subprocess, and every way in which ``os`` starts one and waits for it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from ..scene import DELAY, Scene, row

_SLEEP = ["sleep", str(DELAY)]
_SLEEP_LONG = ["sleep", "30"]
_SHELL = f"sleep {DELAY}; echo abc; exit 3"
_LARGE = 1_000_000


# -- subprocess ----------------------------------------------------------------------------------


def _expires(scene: Scene, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The exception of a call that times out; its text may tell a time that never is the same."""
    try:
        return scene.wait(call, *args, **kwargs)
    except subprocess.TimeoutExpired as error:
        return type(error), error.cmd, error.output


@row("subprocess.run")
def _(scene: Scene) -> Any:
    done = scene.wait(subprocess.run, _SHELL, shell=True, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@row("subprocess.run (timeout)")
def _(scene: Scene) -> Any:
    return _expires(scene, subprocess.run, _SLEEP_LONG, timeout=DELAY)


@row("subprocess.run (timeout, capturing)")
def _(scene: Scene) -> Any:
    return _expires(scene, subprocess.run, _SLEEP_LONG, timeout=DELAY, capture_output=True)


@row("subprocess.call")
def _(scene: Scene) -> Any:
    return scene.wait(subprocess.call, _SLEEP)


@row("subprocess.check_output")
def _(scene: Scene) -> Any:
    return scene.wait(subprocess.check_output, f"sleep {DELAY}; echo abc", shell=True)


@row("subprocess.getoutput")
def _(scene: Scene) -> Any:
    return scene.wait(subprocess.getoutput, _SHELL)


@row("subprocess.Popen.wait")
def _(scene: Scene) -> Any:
    process = subprocess.Popen(_SLEEP_LONG)
    scene.after(process.terminate)
    return scene.wait(process.wait)


@row("subprocess.Popen.wait (timeout)")
def _(scene: Scene) -> Any:
    process = subprocess.Popen(_SLEEP_LONG)
    return _expires(scene, process.wait, DELAY)


@row("subprocess.Popen.communicate")
def _(scene: Scene) -> Any:
    process = subprocess.Popen(
        f"cat; sleep {DELAY}; echo abc >&2",
        shell=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = scene.wait(process.communicate, bytes(_LARGE))
    return len(output), errors, process.returncode


@row("subprocess.Popen.communicate (timeout)")
def _(scene: Scene) -> Any:
    process = subprocess.Popen(_SLEEP_LONG, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return _expires(scene, process.communicate, timeout=DELAY)


@row("subprocess.Popen.stdout.read")
def _(scene: Scene) -> Any:
    process = subprocess.Popen(_SHELL, shell=True, stdout=subprocess.PIPE)
    assert process.stdout
    return scene.wait(process.stdout.read), process.wait()


@row("subprocess.Popen.stdin.write")
def _(scene: Scene) -> Any:
    command = f"sleep {DELAY}; cat >/dev/null"
    process = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE)
    assert process.stdin
    return scene.wait(process.stdin.write, bytes(_LARGE)), process.communicate()


@row("subprocess.Popen as context manager")
def _(scene: Scene) -> Any:
    def run() -> Any:
        with subprocess.Popen(_SLEEP) as process:
            pass
        return process.returncode

    return scene.wait(run)


# -- os ------------------------------------------------------------------------------------------


def _fork(scene: Scene) -> int:
    """A child that ends with status 3 when the wait is over."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(3)
    os.close(reader)
    scene.after(os.close, writer)
    return child


@row("os.system")
def _(scene: Scene) -> Any:
    return os.waitstatus_to_exitcode(scene.wait(os.system, f"sleep {DELAY}; exit 3"))


@row("os.popen: read")
def _(scene: Scene) -> Any:
    with os.popen(f"sleep {DELAY}; echo abc") as pipe:
        return scene.wait(pipe.read)


@row("os.popen: close")
def _(scene: Scene) -> Any:
    pipe = os.popen(f"exec >&-; sleep {DELAY}; exit 3")
    return os.waitstatus_to_exitcode(scene.wait(pipe.close))


@row("os.fork, os.waitpid")
def _(scene: Scene) -> Any:
    child = _fork(scene)
    pid, status = scene.wait(os.waitpid, child, 0)
    return pid == child, status


@row("os.waitpid (any child)")
def _(scene: Scene) -> Any:
    child = _fork(scene)
    pid, status = scene.wait(os.waitpid, -1, 0)
    return pid == child, status


@row("os.waitpid (of the group)")
def _(scene: Scene) -> Any:
    child = _fork(scene)
    pid, status = scene.wait(os.waitpid, 0, 0)
    return pid == child, status


@row("os.waitpid (stopped child)")
def _(scene: Scene) -> Any:
    process = subprocess.Popen(_SLEEP_LONG)
    scene.after(process.send_signal, signal.SIGSTOP)
    pid, status = scene.wait(os.waitpid, process.pid, os.WUNTRACED)
    process.kill()
    return pid == process.pid, os.WIFSTOPPED(status), process.wait()


@row("os.wait")
def _(scene: Scene) -> Any:
    child = _fork(scene)
    pid, status = scene.wait(os.wait)
    return pid == child, status


@row("os.wait3")
def _(scene: Scene) -> Any:
    child = _fork(scene)
    pid, status, usage = scene.wait(os.wait3, 0)
    return pid == child, status, type(usage)


@row("os.wait4")
def _(scene: Scene) -> Any:
    child = _fork(scene)
    pid, status, usage = scene.wait(os.wait4, child, 0)
    return pid == child, status, type(usage)


@row("os.waitid")
def _(scene: Scene) -> Any:
    scene.need(os, "waitid")
    child = _fork(scene)
    info = scene.wait(os.waitid, os.P_PID, child, os.WEXITED)
    return info.si_pid == child, info.si_status, info.si_code


@row("os.waitid (any child, not reaped)")
def _(scene: Scene) -> Any:
    scene.need(os, "waitid")
    child = _fork(scene)
    info = scene.wait(os.waitid, os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    return info.si_pid == child, info.si_status, os.waitpid(child, 0)[1]


@row("os.waitid (pidfd)")
def _(scene: Scene) -> Any:
    scene.need(os, "pidfd_open", "P_PIDFD")
    child = _fork(scene)
    info = scene.wait(os.waitid, os.P_PIDFD, os.pidfd_open(child), os.WEXITED)
    return info.si_pid == child, info.si_status


@row("os.posix_spawn, os.waitpid")
def _(scene: Scene) -> Any:
    scene.need(os, "posix_spawn")
    child = os.posix_spawn("/bin/sh", ["sh", "-c", _SHELL], os.environ, file_actions=[])
    pid, status = scene.wait(os.waitpid, child, 0)
    return pid == child, status


@row("os.posix_spawnp, os.wait")
def _(scene: Scene) -> Any:
    scene.need(os, "posix_spawnp")
    child = os.posix_spawnp("sleep", _SLEEP, os.environ)
    pid, status = scene.wait(os.wait)
    return pid == child, status


@row("os.spawnlp (P_WAIT)")
def _(scene: Scene) -> Any:
    return scene.wait(os.spawnlp, os.P_WAIT, "sleep", *_SLEEP)


@row("os.forkpty: read")
def _(scene: Scene) -> Any:
    child, master = os.forkpty()
    if child == 0:
        os.execlp("sh", "sh", "-c", _SHELL)
    return scene.wait(os.read, master, 10), os.waitpid(child, 0)[1]


@row("pty.spawn")
def _(scene: Scene) -> Any:
    read: list[bytes] = []

    def master_read(descriptor: int) -> bytes:
        read.append(os.read(descriptor, 100))
        return read[-1]

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    status = scene.wait(pty.spawn, ["sh", "-c", _SHELL], master_read)
    return status, read[0]
