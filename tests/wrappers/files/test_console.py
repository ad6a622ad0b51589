"""``input()`` at a terminal and of a pipe."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import forks

SESSION = """
    import threading, time
    {imports}
    import capriccio_patch
    capriccio_patch.patch_all()
    turns = 0
    asking = True
    def tick():
        global turns
        while asking:
            turns += 1
            time.sleep(0.001)
    threading.Thread(target=tick).start()
    try:
        before = turns
        print(repr(input("name? ")), turns > before)
        try:
            input("interrupt ")
        except KeyboardInterrupt:
            print("interrupted")
        print(repr(input("again ")))
        try:
            input("end ")
        except EOFError:
            print("ended")
    finally:
        asking = False
"""


@pytest.mark.parametrize("imports", ["", "import readline"])
@forks
def test_input_at_a_terminal(environ: dict[str, str], tmp_path: Path, imports: str) -> None:
    """Each answer is given when its question is there, and other threads run meanwhile."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SESSION).format(imports=imports))
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, [sys.executable, str(script)], environ)
    seen = b""

    def read_until(text: bytes) -> None:
        nonlocal seen
        while text not in seen:
            assert select.select([terminal], [], [], 30)[0], seen
            seen += os.read(terminal, 1000)

    read_until(b"name? ")
    time.sleep(0.1)  # for the thread that counts its turns
    os.write(terminal, b"Bob\n")
    read_until(b"interrupt ")
    time.sleep(0.2)  # readline has asked the terminal for single keys
    os.write(terminal, b"\x03")
    read_until(b"again ")
    os.write(terminal, b"third\n")
    read_until(b"end ")
    time.sleep(0.2)
    os.write(terminal, b"\x04")
    read_until(b"ended")
    os.close(terminal)
    assert os.waitpid(child, 0)[1] in (0, signal.SIGHUP)
    assert b"'Bob' True" in seen
    assert b"interrupted" in seen
    assert b"'third'" in seen


def test_input_and_print_of_pipes(run_script: Callable[..., Any]) -> None:
    code = """
        import capriccio_patch, sys
        capriccio_patch.patch_all()
        print(input("name? ") + "!")
        print(sys.stdin.read())
        try:
            input()
        except EOFError:
            print("end")
    """
    done = run_script(code, stdin="Bob\nmore\nlines")
    assert done.stdout == "name? Bob!\nmore\nlines\nend\n"
