"""python files.py CASE SECONDS: the CPU time of reading what the page cache has, as JSON.

Each case is a function that does `n` operations and returns the CPU seconds that they took.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from parent import say  # type: ignore[import-not-found]
from threads import case, measure, timed, together  # type: ignore[import-not-found]

_BLOCK = 4096
_BLOCKS = 4096
_WHOLE = 1 << 20


def os_read(n: int) -> float:
    """4 KiB by os.read."""
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(os.urandom(_BLOCK) * _BLOCKS)
        fd = file.fileno()
        return _repeat(n, lambda: os.read(fd, _BLOCK), lambda: os.lseek(fd, 0, os.SEEK_SET))


def file_read(n: int) -> float:
    """4 KiB by a file without a buffer."""
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(os.urandom(_BLOCK) * _BLOCKS)
        return _repeat(n, lambda: file.read(_BLOCK), lambda: file.seek(0))


def _repeat(n: int, read: Callable[[], object], rewind: Callable[[], object]) -> float:
    def loop() -> None:
        for done in range(n):
            if not done % _BLOCKS:
                rewind()
            read()

    return float(timed(loop))


def read_whole(n: int, threads: int) -> float:
    """Open a file of 1 MiB and read it whole, by some threads."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(b"x" * _WHOLE)
        name = str(path)

        def loop() -> None:
            for _ in range(n // threads):
                with open(name, "rb") as file:
                    assert len(file.read()) == _WHOLE

        return float(together(*[loop] * threads))


if __name__ == "__main__":
    name = sys.argv[1]
    say(**{name: measure(case(name, globals()), float(sys.argv[2]))})
