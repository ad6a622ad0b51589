"""Child processes that tell of themselves in lines of JSON.

1. Whatever ends the parent, no child stays: `Children` kills what still runs when it is left, and
   each program of ours ends by itself when its parent is gone.
2. A child that ends unasked is an error with what it said last, never silence.
3. Children have a session of their own, so that Ctrl-C reaches the parent alone, which decides.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import IO, Any, Self

from .runtimes import environ

_KILL_AFTER = 3.0  # seconds that a child has to end by itself


class ChildFailed(Exception):
    """A child said that it can't do what it was started for, or ended unasked."""


class Child:
    """One process; `title` is what messages call it."""

    def __init__(self, title: str, command: list[str]) -> None:
        self.title = title
        self.rest = b""  # what was read of a line so far
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environ(),
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def said(self) -> str:
        """The last line of what it wrote on standard error, but for lines of code."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").rstrip().splitlines()
        return next((line for line in reversed(lines) if line[:1].strip()), "")

    def failure(self) -> str:
        """How it ended, with what it said last."""
        status = self.process.wait()
        how = f"ended with status {status}"
        if status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
        if status == -signal.SIGKILL:
            how += " (as the kernel does when memory is out)"
        said = self.said()
        return f"{self.title} {how}" + (f": {said}" if said else "")

    def close(self) -> None:
        """Release its files; it must have ended."""
        if self.process.stdin:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        if self.process.stdout:
            self.process.stdout.close()
        self._errors.close()


class Children:
    """The children of one experiment; a context manager that leaves none behind."""

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._selector.close()

    def start(self, title: str, command: list[str]) -> Child:
        """Start `command`; messages call it `title`."""
        child = Child(title, command)
        self._children.append(child)
        assert child.process.stdout
        self._selector.register(child.process.stdout, selectors.EVENT_READ, child)
        return child

    def read(self, seconds: float) -> Iterator[tuple[Child, dict[str, Any]]]:
        """What children say within the next `seconds`; ends early when all have ended.

        ChildFailed if one says that it failed, or ends with a status other than 0.
        """
        deadline = time.monotonic() + seconds
        while self._selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                child: Child = key.data
                data = os.read(key.fd, 1 << 16)
                if not data:
                    self._selector.unregister(key.fileobj)
                    if child.process.wait():
                        raise ChildFailed(child.failure())
                    continue
                *complete, child.rest = (child.rest + data).split(b"\n")
                for line in complete:
                    message = json.loads(line)
                    if "error" in message:
                        raise ChildFailed(f"{child.title}: {message['error']}")
                    yield child, message

    def running(self) -> bool:
        """Whether there is a child that may still say something."""
        return bool(self._selector.get_map())

    def stop(self) -> None:
        """End all children: by SIGTERM, and after a while by SIGKILL."""
        for child in self._children:
            if child.process.poll() is None:
                child.process.terminate()
        deadline = time.monotonic() + _KILL_AFTER
        for child in self._children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            if child.process.stdout and child.process.stdout in self._selector.get_map():
                self._selector.unregister(child.process.stdout)
            child.close()
        self._children.clear()
