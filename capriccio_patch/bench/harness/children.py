"""Child processes: started, spoken with in lines, measured from outside, and ended.

1. Whatever ends the parent, no child stays: `Children` ends what still runs when it is left, and
   each program of ours ends by itself when its parent or its standard input is gone.
2. A child that ends unasked is an error with what it said last, never silence.
3. Each child has a process group of its own: Ctrl-C reaches the parent alone, which decides.  None
   has a session of its own: Linux shares the CPUs among sessions first (autogroup, sched(7)), and a
   server and those that ask it would get other shares than they do in one.
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
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, Self

import psutil

from .runtimes import environment

__all__ = ["Child", "ChildFailed", "Children"]

_LIMIT = 180.0
"""Seconds that a child may take for a line, unless told otherwise."""
_KILL_AFTER = 3.0
"""Seconds that a child has to end by itself."""


class ChildFailed(Exception):
    """A child said that it can't do what it was started for, or ended unasked."""


class Child:
    """One process; `title` is what messages call it."""

    def __init__(self, title: str, command: list[str], settings: Mapping[str, str]) -> None:
        """`settings` are added to its environment."""
        self.title = title
        self._lines: deque[str] = deque()
        self._rest = b""  # what was read of a line so far
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**environment(), **settings},
            process_group=0,
        )
        assert self.process.stdout
        self.output = self.process.stdout
        self.cpu = _cpu_clock(self.pid)
        """The CPU seconds that it has used, its ended threads included."""

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, line: object) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin
        try:
            self.process.stdin.write(f"{line}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            raise ChildFailed(self.failure()) from None

    def line(self, seconds: float = _LIMIT) -> str:
        """The next line of its standard output; ChildFailed after so many seconds without."""
        if not self._lines:
            deadline = time.monotonic() + seconds
            with selectors.DefaultSelector() as selector:
                selector.register(self.output, selectors.EVENT_READ)
                while not self._lines:
                    if not selector.select(max(0.0, deadline - time.monotonic())):
                        raise ChildFailed(f"{self.title}: not done after {seconds:.0f} s")
                    if not self.receive():
                        raise ChildFailed(self.failure())
        return self._lines.popleft()

    def result(self, seconds: float = _LIMIT) -> Any:
        """What it prints as JSON, in one line, before it ends well."""
        line = self.line(seconds)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ChildFailed(f"{self.title}: not done after {seconds:.0f} s") from None
        if status:
            raise ChildFailed(self.failure())
        return json.loads(line)

    def receive(self) -> bool:
        """Take in what it has written; False at its end.  Waits if there is nothing."""
        data = os.read(self.output.fileno(), 1 << 16)
        *complete, self._rest = (self._rest + data).split(b"\n")
        self._lines += (line.decode() for line in complete)
        return bool(data)

    def messages(self) -> Iterator[dict[str, Any]]:
        """The lines taken in and not yet used, of JSON; ChildFailed for one that tells an error."""
        while self._lines:
            message = json.loads(self._lines.popleft())
            if "error" in message:
                raise ChildFailed(f"{self.title}: {message['error']}")
            yield message

    def finish(self, seconds: float) -> None:
        """End its standard input, and wait for it to end for so long at most."""
        assert self.process.stdin
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.process.stdin.close()
            self.process.wait(seconds)

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
        self.output.close()
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

    def start(
        self, title: str, command: list[str], settings: Mapping[str, str] | None = None
    ) -> Child:
        """Start `command`; messages call it `title`; `settings` are added to its environment."""
        child = Child(title, command, settings or {})
        self._children.append(child)
        self._selector.register(child.output, selectors.EVENT_READ, child)
        return child

    def read(self, seconds: float) -> Iterator[tuple[Child, dict[str, Any]]]:
        """What children say within the next `seconds`; ends early when all have ended.

        ChildFailed if one says that it failed, or ends with a status other than 0.
        """
        deadline = time.monotonic() + seconds
        while self._selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                child: Child = key.data
                if not child.receive():
                    self._selector.unregister(key.fileobj)
                    if child.process.wait():
                        raise ChildFailed(child.failure())
                    continue
                for message in child.messages():
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
            if child.output in self._selector.get_map():
                self._selector.unregister(child.output)
            child.close()
        self._children.clear()


def _cpu_clock(pid: int) -> Callable[[], float]:
    # clock_getcpuclockid(3), which `time` has for threads only, computes this number on Linux.
    number = (~pid << 3) | 2
    try:
        time.clock_gettime(number)
    except OSError:
        times = psutil.Process(pid).cpu_times
        return lambda: float(sum(times()[:2]))
    return lambda: time.clock_gettime(number)
