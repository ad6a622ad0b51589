"""Warnings of C functions name the program's line, whatever stands in between."""

from __future__ import annotations

import ctypes
import fcntl
import io
import os
import sqlite3
import sys
import warnings
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from capriccio_patch.wrappers.caller import as_caller

_warn = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p, ctypes.c_ssize_t)(
    ("PyErr_WarnEx", ctypes.pythonapi)
)


def _replacement(*args: Any) -> Any:
    return as_caller(_warn, *args)


replacement = FunctionType(
    _replacement.__code__, globals() | {"__name__": "capriccio_patch.wrappers.scratch"}
)
"""As a wrapper would be: what is the program's is told by its module's name."""


def line() -> int:
    """That of the caller."""
    return sys._getframe(1).f_lineno


def test_a_warning_names_the_line_of_the_call() -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        replacement(UserWarning, b"told", 1)
        there = line() - 1
    assert [(each.filename, each.lineno) for each in found] == [(__file__, there)]


def test_a_warning_is_counted_where_the_call_is() -> None:
    def call() -> None:
        replacement(UserWarning, b"told once", 1)

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("default")
        call()
        call()
    assert len(found) == 1
    assert ("told once", UserWarning, call.__code__.co_firstlineno + 1) in globals()[
        "__warningregistry__"
    ]


def test_a_warning_that_is_an_error_is_raised() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="told"):
            replacement(UserWarning, b"told", 1)


def stock(call: Any) -> list[tuple[type[Warning], str, str, int]]:
    """What a call warns of, and where; an OSError is part of the game."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        try:
            call()
        except OSError:
            pass
    return [(each.category, str(each.message), each.filename, each.lineno) for each in found]


CALLS = {
    "stat": lambda: os.stat("none", dir_fd=True),
    "stat of a descriptor": lambda: os.stat(True),
    "mkdir": lambda: os.mkdir("/", dir_fd=True),
    "fstat": lambda: os.fstat(True),
    "fsync": lambda: os.fsync(True),
    "rename": lambda: os.rename("none", "nothing", src_dir_fd=True),
    "FileIO": lambda: io.FileIO(False, closefd=False),
    "a stream": lambda: open(False, closefd=False).detach(),  # noqa: SIM115
    "open": lambda: os.open("none", os.O_RDONLY, dir_fd=True),
    "read": lambda: os.read(True, 0),
    "write": lambda: os.write(True, b""),
    "sendfile": lambda: os.sendfile(True, True, 0, 0),
    "flock": lambda: fcntl.flock(True, 1 << 20),
    "lockf": lambda: fcntl.lockf(True, fcntl.LOCK_UN),
    "fcntl": lambda: fcntl.fcntl(True, fcntl.F_GETFD),
}
if sys.version_info < (3, 15):  # which refuses what earlier ones warn of
    CALLS["connect"] = lambda: sqlite3.connect(":memory:", 1.0, 0).close()


@pytest.mark.parametrize("name", CALLS)
def test_warnings_are_those_of_stock(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    expected = stock(CALLS[name])
    request.getfixturevalue("patched")
    assert stock(CALLS[name]) == expected
