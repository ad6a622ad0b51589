"""What a container does to a system call: a seccomp filter that answers EPERM.  Linux."""

from __future__ import annotations

import ctypes
import errno

IO_URING_SETUP = 425

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ERRNO, _ALLOW = 0x00050000, 0x7FFF0000


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("code", ctypes.POINTER(_Instruction))]


def deny(number: int) -> None:
    """From now on a system call fails in this process and its children."""
    code = (_Instruction * 4)(
        (_LOAD, 0, 0, 0),
        (_JUMP_IF_EQUAL, 0, 1, number),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    )
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    zero, one = ctypes.c_ulong(0), ctypes.c_ulong(1)
    if prctl(_PR_SET_NO_NEW_PRIVS, one, zero, zero, zero) or prctl(
        _PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(_Program(4, code)), zero, zero
    ):
        raise OSError(ctypes.get_errno(), "no seccomp filter could be set")
