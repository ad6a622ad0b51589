"""Servers in processes of their own, and what asks them."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Connection(http.client.HTTPConnection):
    """HTTP over a socket in the file system, with TLS if asked to."""

    def __init__(self, path: Path, tls: ssl.SSLContext | None = None) -> None:
        super().__init__("localhost", timeout=30)
        self._path, self._tls = path, tls

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname="localhost")

    def ask(self, path: str) -> None:
        """Send a request, whose `answer` is read later."""
        self.request("GET", path)

    def answer(self) -> str:
        """The status and the body."""
        response = self.getresponse()
        return f"{response.status} {response.read().decode().strip()}"

    def get(self, path: str = "/") -> str:
        self.ask(path)
        return self.answer()


class Process:
    """A program that runs while the test does; what it prints is in a file."""

    def __init__(self, command: list[str], directory: Path, environ: dict[str, str]) -> None:
        self._log = directory / "log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=directory,
                env=environ | {"HOME": str(directory)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def text(self) -> str:
        """All that it has printed so far."""
        return self._log.read_text()

    def until(self, holds: Callable[[], Any], limit: float = 45.0) -> None:
        """Wait for something to be so."""
        end = time.monotonic() + limit
        while not holds():
            assert time.monotonic() < end, self.text()
            time.sleep(0.01)

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """It is told to end, and does so with status 0."""
        self.process.send_signal(signum)
        assert self.process.wait(30) == 0, self.text()

    def end(self, others: str = r"\[(\d+)\] \[INFO\]") -> None:
        """Nothing of it is left: neither it nor those whose numbers it has printed."""
        for pid in {self.process.pid, *map(int, re.findall(others, self.text()))}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(30)


def importing(name: str, folder: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What comes of importing a module of `integrations`; what lies in `folder` is found first."""
    return subprocess.run(
        [sys.executable, "-c", f"import capriccio_patch.integrations.{name}"],
        env=environ | {"PYTHONPATH": f"{folder}{os.pathsep}{environ['PYTHONPATH']}"},
        capture_output=True,
        text=True,
    )
