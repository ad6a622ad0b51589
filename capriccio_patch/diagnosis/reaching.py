"""How `ps` reaches a running program: at the socket that it has opened, or by the interpreter.

From CPython 3.14 on an interpreter runs a file in another process (``sys.remote_exec``): when that
gets to a safe point of its main OS thread.  A program that sits in a poll does not get there; but
one that the runtime serves takes a signal of the runtime's own, which nobody else is told of, and
looks then.  Nothing of this works while C code blocks the main OS thread; the socket does.

Raises `Unreachable` with what a person is to know.  Any program, patched or not.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator

from ..preemption.tick import spare_numbers
from .answers import directory, path_of, peer_uid
from .requests import ANSWERED

__all__ = ["Unreachable", "ask", "programs"]

_NO_PROCESS = 1 << 31
_PATIENCE = 15.0
_REMOTE_PATIENCE = 5.0
_BEFORE_A_SIGNAL = 0.2

# The interpreter gives it a namespace of its own; by this name its frames are not the program's.
_SCRIPT = """\
__name__ = "capriccio_patch.asked"
import sys
attach = sys.modules.get("capriccio_patch.diagnosis.attach")
if attach is not None:
    attach.answer_into({path!r}, {request!r})
else:
    with open({path!r}, "w") as file:
        file.write("error: the program is not patched\\n\\0")
"""


class Unreachable(Exception):
    """A program can't be asked; the message says why."""


def ask(pid: int, request: str) -> str:
    """The answer of a process to a request."""
    path = path_of(pid)
    if not 0 < pid < _NO_PROCESS:
        raise Unreachable(f"{pid} is not the number of a process")
    try:
        is_there = os.path.lexists(path)
        os.kill(pid, 0)
    except ProcessLookupError:
        raise Unreachable(f"there is no process {pid}") from None
    except PermissionError:
        if not is_there:
            raise Unreachable(f"process {pid} is another user's") from None
    if is_there:
        text = _at_socket(path, request)
    elif hasattr(sys, "remote_exec"):
        text = _by_the_interpreter(pid, request)
    else:
        raise Unreachable(
            f"process {pid} has opened no socket; a patched program does with CAPRICCIO_PS=1 in "
            "its environment"
        )
    if text.startswith("error: "):
        raise Unreachable(f"process {pid}: {text.removeprefix('error: ').strip()}")
    return text


def _at_socket(path: str, request: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PATIENCE)
        try:
            connection.connect(path)
            if peer_uid(connection) not in (None, 0, os.getuid()):
                raise Unreachable(f"{path} is another user's")
            connection.sendall(f"{request}\n".encode())
            parts = []
            while part := connection.recv(1 << 16):
                parts.append(part)
        except ConnectionRefusedError:
            raise Unreachable(f"nobody listens at {path}: that process has gone") from None
        except TimeoutError:
            raise Unreachable("the program does not answer: C code keeps the GIL") from None
        except OSError as error:
            raise Unreachable(f"{path}: {error}") from None
    return b"".join(parts).decode("utf-8", "replace")


def _by_the_interpreter(pid: int, request: str) -> str:
    with tempfile.TemporaryDirectory(prefix="capriccio_patch-") as folder:
        script, answer = os.path.join(folder, "ask.py"), os.path.join(folder, "answer")
        with open(answer, "w"), open(script, "w") as file:
            file.write(_SCRIPT.format(path=answer, request=request))
        try:
            sys.remote_exec(pid, script)  # type: ignore[attr-defined]
        except (OSError, RuntimeError, ValueError) as error:
            raise Unreachable(
                f"process {pid} can't be asked by the interpreter ({error}); it answers at a "
                "socket with CAPRICCIO_PS=1 in its environment"
            ) from None
        deadline = time.monotonic() + _REMOTE_PATIENCE
        signalled = time.monotonic() + _BEFORE_A_SIGNAL
        while time.monotonic() < deadline:
            with open(answer, encoding="utf-8", errors="replace") as file:
                text = file.read()
            if text.endswith(ANSWERED):
                return text.removesuffix(ANSWERED)
            if signalled and time.monotonic() > signalled:
                signalled = 0.0
                _wake(pid)
            time.sleep(0.01)
    raise Unreachable(
        f"process {pid} does not get to a point where it could answer; it answers at a socket with "
        "CAPRICCIO_PS=1 in its environment"
    )


def _wake(pid: int) -> None:
    """Send a process the runtime's own signal, if it has a handler for it."""
    try:
        with open(f"/proc/{pid}/status") as file:
            line = next((line for line in file if line.startswith("SigCgt:")), "SigCgt: 0")
    except OSError:
        return
    caught = int(line.split()[1], 16)
    for signum in spare_numbers():
        if caught >> signum - 1 & 1:
            os.kill(pid, signum)
            return
        if signum != signal.SIGURG:
            return  # the first that is spare is the one


def programs() -> Iterator[tuple[int, str, str]]:
    """The patched programs of this user: number, command, and how they can be asked."""
    sockets = set()
    try:
        sockets = {int(name) for name in os.listdir(directory()) if name.isdigit()}
    except OSError:
        pass  # none has ever been opened
    other = "by the interpreter" if hasattr(sys, "remote_exec") else "not at all"
    for pid in sorted(sockets | set(_by_command())):
        command = _command(pid)
        if not command:
            continue
        way = "at its socket" if pid in sockets else other
        yield pid, command, way


def _by_command() -> Iterator[int]:
    """Processes whose command or environment says that they are patched, where there is /proc."""
    try:
        numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return
    for pid in numbers:
        command = _command(pid)
        if pid == os.getpid() or " -m capriccio_patch.ps" in command:
            continue
        if " -m capriccio_patch " in command or _environment_asks(pid):
            yield pid


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            text = file.read().replace(b"\0", b" ").decode("utf-8", "replace")
            return " ".join("".join(each if each.isprintable() else " " for each in text).split())
    except OSError:
        return "" if os.path.isdir("/proc/self") else str(pid)


def _environment_asks(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return b"CAPRICCIO_PATCH=1" in file.read().split(b"\0")
    except OSError:
        return False
