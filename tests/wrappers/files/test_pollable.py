"""What can only be asked whether it is ready: terminals out of line mode."""

from __future__ import annotations

import os
import pty
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import Any

import pytest

from tests.wrappers.files.ends import (
    BIG,
    Ends,
    in_thread,
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


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere an OS thread writes")
def test_writing_at_a_terminal_takes_no_os_thread(run_script: Any) -> None:
    """A round trip to one would be long enough for what the user types next to come in between."""
    done = run_script(
        """
        import os, pty
        import capriccio_patch
        capriccio_patch.patch_all()
        master, slave = pty.openpty()
        from capriccio_patch.io import os_threads
        start, started = os_threads.start, []
        os_threads.start = lambda *args: (started.append(args), start(*args))[1]
        os.write(slave, b"one\\n")
        os.writev(slave, [b"two", b"\\n"])
        assert not started
        seen = b""
        while seen.count(b"\\n") < 2:
            seen += os.read(master, 100)
        print(seen)
        os.close(master)
        try:
            os.write(slave, b"x")
        except OSError as error:
            print(error.errno)
        """
    )
    assert done.stdout == "b'one\\r\\ntwo\\r\\n'\n5\n", done.stderr


def test_a_terminal_that_is_full(ticker: Any, terminal: Ends) -> None:
    """It takes the rest, in order, as it is read."""
    tty.setraw(terminal.reader)
    got = bytearray()

    def read() -> None:
        while len(got) < len(BIG):
            got.extend(os.read(terminal.writer, 65536))

    reading = in_thread(read)
    assert os.write(terminal.reader, BIG) == len(BIG)
    reading()
    assert got == BIG
