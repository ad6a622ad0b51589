"""What can only be asked whether it is ready: terminals out of line mode."""

from __future__ import annotations

import os
import pty
import termios
import time
import tty
from collections.abc import Iterator
from typing import Any

import pytest

from tests.wrappers.files.ends import (
    Ends,
)


@pytest.fixture
def terminal() -> Iterator[Ends]:
    """A terminal in line mode (the reader) and its master (the writer)."""
    master, slave = pty.openpty()
    made = Ends(slave, master)
    yield made
    made.close()


def test_a_line_from_a_terminal(ticker: Any, terminal: Ends) -> None:
    actions = ticker().at(3, lambda: os.write(terminal.writer, b"ab"))
    with actions.at(6, lambda: os.write(terminal.writer, b"c\n")):
        assert os.read(terminal.reader, 100) == b"abc\n"


@pytest.mark.parametrize(("least", "tenths"), [(0, 0), (0, 1)])
def test_a_terminal_that_answers_without_input(
    ticker: Any, terminal: Ends, least: int, tenths: int
) -> None:
    tty.setraw(terminal.reader)
    mode = termios.tcgetattr(terminal.reader)
    mode[6][termios.VMIN], mode[6][termios.VTIME] = least, tenths
    termios.tcsetattr(terminal.reader, termios.TCSANOW, mode)
    with ticker() as ticks:
        start = time.monotonic()
        assert os.read(terminal.reader, 10) == b""
        assert time.monotonic() - start >= tenths / 10 * 0.9
        if tenths:
            assert ticks.ticks > 1
    # That mode is the terminal's, not its master's.
    with ticker().at(3, lambda: os.write(terminal.reader, b"out")):
        assert os.read(terminal.writer, 10) == b"out"


def test_a_terminal_that_waits_for_several_bytes(ticker: Any, terminal: Ends) -> None:
    tty.setraw(terminal.reader)
    mode = termios.tcgetattr(terminal.reader)
    mode[6][termios.VMIN] = 3
    termios.tcsetattr(terminal.reader, termios.TCSANOW, mode)
    actions = ticker().at(2, lambda: os.write(terminal.writer, b"ab"))
    with actions.at(4, lambda: os.write(terminal.writer, b"c")):
        assert os.read(terminal.reader, 10) == b"abc"
