"""What the tests of the benchmarks share: commands as a user runs them, which leave nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest


class Bench:
    """Runs a command in an empty directory, which is so afterwards."""

    def __init__(self, directory: Path, environ: dict[str, str]) -> None:
        self._where: dict[str, Any] = {"cwd": directory, "env": environ}

    def __call__(
        self, *args: object, status: int = 0, settings: dict[str, str] | None = None, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """What a command prints until it ends with `status`; `settings` are for its environment."""
        where = self._where | {"env": self._where["env"] | (settings or {})}
        done = subprocess.run(
            self.command(*args), capture_output=True, text=True, timeout=100, **where, **more
        )
        assert done.returncode == status, done.stderr + done.stdout
        return done

    def start(self, *args: object) -> subprocess.Popen[str]:
        """The command's process, whose output is in pipes."""
        return subprocess.Popen(
            self.command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            **self._where,
        )  # fmt: skip

    @staticmethod
    def command(*args: object) -> list[str]:
        return [sys.executable, "-m", "capriccio_patch.bench", *map(str, args)]


@pytest.fixture
def bench(
    tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]
) -> Iterator[Callable[..., Any]]:
    directory = tmp_path_factory.mktemp("working")
    yield Bench(directory, environ)
    assert not list(directory.iterdir())


@pytest.fixture
def no_children() -> Iterator[None]:
    """The test leaves no process behind."""
    before = set(psutil.Process().children(recursive=True))
    yield
    deadline = time.monotonic() + 5
    while left := set(psutil.Process().children(recursive=True)) - before:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
