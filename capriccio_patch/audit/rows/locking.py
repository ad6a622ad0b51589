"""Locks on files, which another process holds, and leases, which it must give up first."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable
from typing import Any

from ..scene import Scene, row

_HOLD = "; print(flush=True); sys.stdin.read()"
_FLOCK = "import fcntl, sys; file = open('locked', 'w'); fcntl.flock(file, fcntl.LOCK_EX)"
_LOCKF = "import fcntl, sys; file = open('locked', 'w'); fcntl.lockf(file, fcntl.LOCK_EX)"
_LEASE = (
    "import fcntl, signal, sys; signal.signal(signal.SIGIO, signal.SIG_IGN);"
    "file = open('leased', 'w+'); file.write('abc'); file.flush();"
    "fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)"
)


def _held(scene: Scene, code: str, call: Callable[..., Any], *args: Any) -> Any:
    """``call(descriptor, *args)`` has to wait for the process that runs `code`."""
    holder = scene.process(code + _HOLD)
    assert holder.stdin
    scene.after(holder.stdin.close)
    with open("locked", "r+") as file:
        return scene.wait(call, file.fileno(), *args)


@row("fcntl.flock")
def _(scene: Scene) -> Any:
    return _held(scene, _FLOCK, fcntl.flock, fcntl.LOCK_EX)


@row("fcntl.flock (of the same process)")
def _(scene: Scene) -> Any:
    with open("locked", "w") as held, open("locked") as wanted:
        fcntl.flock(held, fcntl.LOCK_EX)
        scene.after(fcntl.flock, held, fcntl.LOCK_UN)
        return scene.wait(fcntl.flock, wanted, fcntl.LOCK_SH)


@row("fcntl.lockf")
def _(scene: Scene) -> Any:
    return _held(scene, _LOCKF, fcntl.lockf, fcntl.LOCK_EX)


@row("os.lockf")
def _(scene: Scene) -> Any:
    scene.need(os, "lockf")
    return _held(scene, _LOCKF, os.lockf, os.F_LOCK, 0)


def _flock_record() -> bytes:
    """A lock for writing on the whole file (struct flock, of 64-bit Linux)."""
    return struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


@row("fcntl.fcntl (F_SETLKW)")
def _(scene: Scene) -> Any:
    return type(_held(scene, _LOCKF, fcntl.fcntl, fcntl.F_SETLKW, _flock_record()))


@row("fcntl.fcntl (F_OFD_SETLKW)")
def _(scene: Scene) -> Any:
    scene.need(fcntl, "F_OFD_SETLKW")
    return type(_held(scene, _LOCKF, fcntl.fcntl, fcntl.F_OFD_SETLKW, _flock_record()))


def _leased(scene: Scene) -> str:
    scene.need(fcntl, "F_SETLEASE")
    holder = scene.process(_LEASE + _HOLD)
    assert holder.stdin
    scene.after(holder.stdin.close)
    return "leased"


@row("os.open (leased file)")
def _(scene: Scene) -> Any:
    path = _leased(scene)
    return os.read(scene.wait(os.open, path, os.O_RDONLY), 10)


@row("open (leased file)")
def _(scene: Scene) -> Any:
    path = _leased(scene)
    with scene.wait(open, path) as file:
        return file.read()


@row("os.truncate (leased file)")
def _(scene: Scene) -> Any:
    path = _leased(scene)
    return scene.wait(os.truncate, path, 1), os.stat(path).st_size
