"""A mount namespace of this process's own, in which anybody may mount a FUSE file system.

What is mounted there nobody else sees, and it is gone when the process and its children are.
"""

from __future__ import annotations

import ctypes
import os

__all__ = ["enter", "mount"]

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_PRIVATE = 1 << 18
_MS_REC = 1 << 14
_libc = ctypes.CDLL(None, use_errno=True)


def enter() -> None:
    """Enter one; OSError where that is not possible.  Before a second OS thread is started."""
    user, group = os.getuid(), os.getgid()
    flags = _CLONE_NEWNS | (_CLONE_NEWUSER if user else 0)
    if not hasattr(_libc, "unshare"):
        raise OSError("no mount namespaces here")
    _check(_libc.unshare(flags))
    if user:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None))


def mount(directory: str) -> int:
    """Mount a FUSE file system; the descriptor whose holder is to serve it."""
    descriptor = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={descriptor},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    _check(
        _libc.mount(b"audit", os.fsencode(directory), b"fuse", ctypes.c_ulong(6), options.encode())
    )
    return descriptor


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
