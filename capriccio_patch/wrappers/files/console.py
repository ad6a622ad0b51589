"""``input()`` at a terminal.  Elsewhere it reads ``sys.stdin``, which is a matter for ``io``.

Facts: at a terminal input() calls C, which writes the prompt to standard error and waits for a line
in fgets, or in GNU readline once that is imported.  In line mode a terminal is readable when fgets
would return.  GNU readline shows the prompt, and wants every key, as soon as it is called.

Decision: without readline the prompt is written here, the terminal is waited for, and C is called
for a line that is there.  With readline C is called on an OS thread of its own.

1. Several threads that ask at once get the lines in turn.
2. A line that an interrupted call has asked readline for goes to the next call: none is lost.

Cost: the audit event ``builtins.input`` of a call without readline has no prompt.
"""

from __future__ import annotations

import sys

from ...contracts.descriptor import READ
from ...contracts.request import Call
from ...cpython import originals
from ...cpython.modules import imported
from ...io import off_thread
from ...io.wait_ready import wait_ready
from ...kernel.loans import Loan
from ..base import Patch, Runtime
from .pollable import Streams
from .transfer import Transfer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_STDIN, _STDOUT, _STDERR = 0, 1, 2


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    kernel = runtime.kernel
    original = originals.input
    write = Transfer(runtime).write
    reading = Streams(runtime).reading
    console = _Console(runtime)

    def input(*args: Any) -> Any:  # noqa: A001
        if len(args) > 1 or not kernel.is_mine() or not _at_terminal():
            return original(*args)
        if imported("readline"):
            return console.ask(*args)
        prompt = _encoded(*args) if args else b""
        if prompt is None:
            return original(*args)
        _flush(sys.stderr)
        _flush(sys.stdout)
        if prompt:
            write(_STDERR, prompt)
        try:
            return reading(_STDIN, line_that_is_there)
        except BlockingIOError:
            return original()  # non-blocking, as the program wants it

    def line_that_is_there() -> Any:
        if not wait_ready(_STDIN, READ, 0):
            raise BlockingIOError
        return original()

    return [Patch("io", "builtins", "input", input)]


def _at_terminal() -> bool:
    """Whether C would ask the terminal itself, rather than ``sys.stdin``."""
    try:
        return (
            sys.stdin.fileno() == _STDIN
            and originals.isatty(_STDIN)
            and sys.stdout.fileno() == _STDOUT
            and originals.isatty(_STDOUT)
        )
    except Exception:  # whatever a replaced stream raises, as in C
        return False


def _encoded(prompt: Any) -> bytes | None:
    """The prompt as C writes it; None if C would refuse it."""
    data = str(prompt).encode(sys.stdout.encoding, sys.stdout.errors or "strict")
    return None if b"\0" in data else data


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except Exception:  # C goes on as well
        pass


class _Console:
    """The terminal, while readline has it: one question at a time."""

    def __init__(self, runtime: Runtime) -> None:
        self._kernel = runtime.kernel
        self._write = Transfer(runtime).write
        self._turn = originals.allocate_lock()
        self._question: Call | None = None
        """The one under way; nobody waits for it if it was given up."""

    def ask(self, *prompt: Any) -> Any:
        """What readline returns or raises, or its answer to a question that was given up."""
        with self._turn:
            question = self._question
            if question is None:
                question = self._question = Call(self._kernel, originals.input, *prompt)
                question.loan = Loan(self._kernel)  # it calls hooks and a completer
                off_thread.begin(question)
            elif prompt:
                self._write(_STDERR, _encoded(*prompt) or b"")
            off_thread.park(self._kernel, question, "input")
            self._question = None
        return question.outcome()
