"""signalfd(2): a descriptor that is readable while one of a set of signals is pending.

Facts: its readiness is that of the OS thread that polls, so the scheduler's sees what is pending
for the process and what was sent to this OS thread in particular.  Being told takes nothing: a
signal is pending until somebody takes it with sigtimedwait(2).

Decision: wait for readiness, then take.  A wait that is given up has taken nothing, so it can't
lose a signal.  The C library is called through ctypes, since the standard library lacks the call.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

__all__ = ["is_available", "open_signalfd"]

_SIGSET_SIZE = 128  # glibc and musl


def is_available() -> bool:
    """Whether the C library has the call."""
    return hasattr(_libc(), "signalfd")


def open_signalfd(signums: Iterable[int]) -> int:
    """A new descriptor, not inherited, for `signums`.  OSError when there are no more."""
    libc = _libc()
    kept = ctypes.get_errno()  # the program's
    mask = ctypes.create_string_buffer(_SIGSET_SIZE)
    libc.sigemptyset(mask)
    for signum in signums:
        libc.sigaddset(mask, signum)
    fd: int = libc.signalfd(-1, mask, os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0:
        error = ctypes.set_errno(kept)
        raise OSError(error, os.strerror(error))
    return fd


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
