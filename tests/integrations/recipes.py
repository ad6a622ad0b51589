"""The recipes of docs/servers.md: their programs and commands, as they stand there."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.integrations.servers import Connection, Process

__all__ = ["Recipe", "Served", "free_port"]


class Recipe:
    """A program of the page, and the command that runs it."""

    def __init__(self, name: str) -> None:
        page = (ROOT / "docs" / "servers.md").read_text()
        section = re.split(r"^##+ ", page.partition("\n## Recipes\n")[2], flags=re.MULTILINE)
        (text,) = (each for each in section if each.startswith(f"{name}\n"))
        (self.program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        self.command = "".join(re.findall(r"```sh\n(.*?)\n```", text, re.DOTALL))

    def start(
        self, directory: Path, environ: dict[str, str], *options: str, command: str = ""
    ) -> Process:
        """Run it, with what the test adds to its command line, or with another command."""
        name = self.program.partition("\n")[0].removeprefix("# ")
        (directory / name).write_text(self.program)
        shell = f"{command or self.command} {' '.join(options)}"
        assignments = re.match(r"(?:[A-Z_]+=\S+ )*", shell)
        assert assignments is not None
        head = assignments.group()
        path = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
        return Process(
            ["sh", "-c", f"{head}exec {shell.removeprefix(head)}"],
            directory,
            environ | {"PATH": path},
        )


class Served(Connection):
    """HTTP from a port of this machine."""

    def __init__(self, port: int) -> None:
        super().__init__(Path())
        self._number = port

    def connect(self) -> None:
        self.sock = socket.create_connection(("127.0.0.1", self._number), 30)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
