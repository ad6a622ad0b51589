# ruff: noqa: SIM115 - what is opened here is waited for, shared, and closed when that is done
"""``io``: files, pipes, fifos and terminals as streams; buffered objects shared; ``input()``."""

from __future__ import annotations

import io
import logging
import os
import pty
import select
import signal
import socket
import sys
import textwrap
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.backends.disk import available_disk_backends

AVAILABLE = [n for n, reason in available_disk_backends().items() if reason is None]
BIG = bytes(range(256)) * 4096  # 1 MiB: no pipe holds it


@pytest.fixture(params=["auto", *AVAILABLE])
def scheme(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test over every disk scheme that runs here; it comes before the patch."""
    monkeypatch.setenv("CAPRICCIO_DISKIO", request.param)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's descriptors; the test may close them."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            pass


def run_all(*functions: Callable[[], Any]) -> None:
    """Call each in a thread of its own, and wait for all."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_what_a_tool_finds_in_our_frames_may_be_held(
    scheme: None, ticker: Any, tmp_path: Path
) -> None:
    """As one that looks for leaks does: nothing of ours is resized while others hold it."""
    path = tmp_path / "file"
    held: list[Any] = []

    def look(frame: FrameType, event: str, _: Any) -> None:
        if event == "return" and "capriccio_patch" in frame.f_code.co_filename:
            found = frame.f_locals.values()
            held.extend(each for each in found if type(each) in (memoryview, bytearray))

    with ticker():
        for data in (b"small", BIG + b"x"):
            path.write_bytes(data)
            with open(path, "rb", buffering=0) as file:
                for size in (-1, 3, 100, len(BIG) + 1, 2 * len(BIG)):
                    file.seek(0)
                    sys.setprofile(look)
                    try:
                        found = file.read(size)
                    finally:
                        sys.setprofile(None)
                    assert found == data[: size if size >= 0 else None]
    assert held


# -- waiting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffering", [0, -1])
def test_reading_a_pipe_parks(ticker: Any, pipe: tuple[int, int], buffering: int) -> None:
    reader = open(pipe[0], "rb", buffering=buffering)
    with ticker().at(3, lambda: os.write(pipe[1], b"hello")):
        assert reader.read(5) == b"hello"
    reader.close()


def test_a_file_made_before_the_patch_parks(pipe: tuple[int, int], request: Any) -> None:
    reader = open(pipe[0])
    ticker = request.getfixturevalue("ticker")
    with ticker().at(3, lambda: os.write(pipe[1], b"line\n")):
        assert reader.readline() == "line\n"
    reader.close()


def test_reading_to_the_end_of_a_pipe(ticker: Any, pipe: tuple[int, int]) -> None:
    reader = open(pipe[0], "rb", buffering=0)
    os.write(pipe[1], b"one")
    ticks = ticker().at(2, lambda: os.write(pipe[1], b"two")).at(4, lambda: os.close(pipe[1]))
    with ticks:
        assert reader.read() == b"onetwo"
    reader.close()


def test_readinto_and_lines_of_a_pipe(ticker: Any, pipe: tuple[int, int]) -> None:
    reader = open(pipe[0], "rb")
    buffer = bytearray(4)
    with ticker().at(2, lambda: os.write(pipe[1], b"abcd")):
        assert reader.readinto(buffer) == 4
    assert buffer == b"abcd"
    with ticker().at(2, lambda: os.write(pipe[1], b"1\n2\n")):
        assert next(reader) == b"1\n"
    assert reader.readline() == b"2\n"
    with ticker().at(2, lambda: os.close(pipe[1])):
        assert list(reader) == []
    reader.close()


@pytest.mark.parametrize("buffering", [0, -1])
def test_writing_to_a_full_pipe_parks(ticker: Any, pipe: tuple[int, int], buffering: int) -> None:
    got = bytearray()

    def drain() -> None:
        while data := os.read(pipe[0], 1 << 16):
            got.extend(data)

    drainer = threading.Thread(target=drain)
    writer = open(pipe[1], "wb", buffering=buffering)
    with ticker().at(3, drainer.start):
        assert writer.write(BIG) == len(BIG)
        writer.close()
    drainer.join()
    assert got == BIG


def test_print_and_logging_to_a_full_pipe_park(ticker: Any, pipe: tuple[int, int]) -> None:
    lines = []

    def drain() -> None:
        with open(pipe[0], closefd=False) as reader:
            lines.extend(reader)

    drainer = threading.Thread(target=drain)
    with open(pipe[1], "w") as writer:
        handler = logging.StreamHandler(writer)
        log = logging.Logger("test")
        log.addHandler(handler)
        with ticker().at(3, drainer.start):
            print("x" * 100_000, file=writer)
            log.warning("y" * 100_000)
            print("end", file=writer, flush=True)
    drainer.join()
    assert [len(line) for line in lines] == [100_001, 100_001, 4]


def test_a_broken_pipe(patched: None, pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    writer = open(pipe[1], "wb", buffering=0, closefd=False)
    with pytest.raises(BrokenPipeError):
        writer.write(b"x")


def test_non_blocking_pipes_give_none(patched: None, pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[0], False)
    os.set_blocking(pipe[1], False)
    reader = open(pipe[0], "rb", buffering=0, closefd=False)
    writer = open(pipe[1], "wb", buffering=0, closefd=False)
    assert reader.read(1) is None
    assert reader.read() is None
    assert reader.readinto(bytearray(1)) is None
    written = writer.write(BIG)
    assert 0 < written < len(BIG)
    while writer.write(BIG):
        pass
    assert writer.write(b"x") is None
    assert reader.read(10) == BIG[:10]


@pytest.mark.parametrize(("mode", "other"), [("rb", os.O_WRONLY), ("wb", os.O_RDONLY)])
def test_opening_a_fifo_parks(
    scheme: None, ticker: Any, tmp_path: Path, mode: str, other: int
) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    opened: list[int] = []
    with ticker().at(3, lambda: opened.append(os.open(path, other))):
        open(path, mode).close()
    os.close(opened.pop())


def test_a_terminal_parks(ticker: Any) -> None:
    master, slave = pty.openpty()
    terminal = open(slave, "rb", buffering=0)
    with ticker().at(3, lambda: os.write(master, b"typed\n")):
        assert terminal.read(100) == b"typed\n"
    terminal.close()
    os.close(master)


def test_writing_to_a_stopped_terminal_parks(ticker: Any) -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    got = []

    def drain() -> None:
        while sum(map(len, got)) < len(BIG):
            got.append(os.read(master, 1 << 16))

    drainer = threading.Thread(target=drain)
    with open(slave, "wb", buffering=0) as terminal:
        with ticker().at(3, drainer.start):
            assert terminal.write(BIG) == len(BIG)
        drainer.join()
    os.close(master)
    assert b"".join(got) == BIG


def test_makefile_of_a_socket_is_shared(ticker: Any) -> None:
    one, other = socket.socketpair()
    lines = []
    with one, other, one.makefile("rb") as reader:

        def read() -> None:
            lines.append(reader.readline())

        threads = [threading.Thread(target=read) for _ in range(5)]
        for thread in threads:
            thread.start()
        with ticker().at(3, lambda: other.sendall(b"1\n2\n3\n4\n5\n")):
            for thread in threads:
                thread.join()
    assert sorted(lines) == [b"1\n", b"2\n", b"3\n", b"4\n", b"5\n"]


def test_closing_wakes_who_waits(patched: None, pipe: tuple[int, int]) -> None:
    reader = open(pipe[0], "rb", buffering=0)
    raised = []
    waiting = threading.Event()

    def read() -> None:
        waiting.set()
        try:
            reader.read(1)
        except (OSError, ValueError) as error:
            raised.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    waiting.wait()
    reader.close()
    thread.join(5)
    assert len(raised) == 1


# -- files ---------------------------------------------------------------------------------------


def test_files_behave_as_stock(scheme: None, ticker: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with ticker():
        with open(path, "w") as text:
            text.write("äöü\n" * 10_000)
            os.fsync(text.fileno())
        with open(path) as text:
            assert text.read() == "äöü\n" * 10_000
        with open(path, "r+b") as both:
            assert both.read(3) == "ä".encode() + "ö".encode()[:1]
            both.seek(-7, os.SEEK_END)
            both.write(b"1234567")
            both.seek(0, os.SEEK_CUR)
            assert both.read() == b""
            both.truncate(10)
            assert both.tell() == 70_000
        with open(path, "ab", buffering=0) as raw:
            assert raw.write(BIG) == len(BIG)
            assert raw.tell() == 10 + len(BIG)
        with open(path, "rb", buffering=0) as raw:
            assert raw.readall()[10:] == BIG
            assert raw.readall() == b""
            raw.seek(10)
            assert raw.read(2 * len(BIG)) == BIG
            raw.seek(10)
            array = memoryview(bytearray(64)).cast("i")
            assert raw.readinto(array) == 64
            assert array.tobytes() == BIG[:64]
        with pytest.raises(FileExistsError):
            open(path, "x")
        assert path.read_bytes()[10:] == BIG


@pytest.mark.parametrize(
    "misuse",
    [
        lambda f: f.read("x"),
        lambda f: f.readinto(b"read-only"),
        lambda f: f.readinto("text"),
        lambda f: f.write(b"x"),
        lambda f: open("/nowhere/at/all"),
        lambda f: open("/"),
        lambda f: open("a\0b"),
        lambda f: open(-1),
        lambda f: io.FileIO("x", "q"),
        lambda f: (f.close(), f.read(1)),
        lambda f: (f.close(), f.readinto(bytearray(1))),
        lambda f: (f.close(), f.write(b"")),
        lambda f: (f.close(), f.readall()),
        lambda f: (f.close(), f.truncate(0)),
    ],
)
def test_misuse_raises_what_stock_raises(misuse: Callable[[Any], Any]) -> None:
    def error() -> tuple[type, str]:
        with open(__file__, "rb", buffering=0) as file:
            try:
                misuse(file)
            except Exception as raised:
                return type(raised), str(raised)
        raise AssertionError("nothing was raised")

    stock = error()
    capriccio_patch.patch_all()
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        assert error() == stock
    finally:
        done.set()
        other.join()
        capriccio_patch.unpatch_all()


def test_a_file_ends_with_its_last_reference(ticker: Any, tmp_path: Path) -> None:
    """Whoever waited for it keeps no reference."""
    with ticker():
        file = open(tmp_path / "file", "wb", buffering=0)
        file.write(b"x")
        file.truncate(10)
        fd = file.fileno()
        with pytest.warns(ResourceWarning):
            del file
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


# -- buffered objects of several threads ---------------------------------------------------------


def test_threads_share_a_reader(ticker: Any, pipe: tuple[int, int]) -> None:
    lines: list[bytes] = []
    with open(pipe[0], "rb") as reader:

        def feed() -> None:
            for i in range(200):
                os.write(pipe[1], b"%d\n" % i)
                if i % 20 == 0:
                    time.sleep(0)
            os.close(pipe[1])

        with ticker().at(3, feed):
            run_all(*[lambda: lines.extend(reader)] * 10)
    assert sorted(map(int, lines)) == list(range(200))


def test_threads_share_a_writer(patched: None, pipe: tuple[int, int]) -> None:
    writer = open(pipe[1], "wb", buffering=100)
    lines = [b"%05d\n" % i for i in range(20_000)]

    def write(part: int) -> None:
        put = writer.write
        for line in lines[part::10]:
            put(line)

    def write_all() -> None:
        run_all(*(lambda part=part: write(part) for part in range(10)))
        writer.close()

    thread = threading.Thread(target=write_all)
    thread.start()
    with open(pipe[0], "rb") as reader:
        assert sorted(reader) == lines
    thread.join()


def test_the_first_to_come_is_the_first_served(ticker: Any, pipe: tuple[int, int]) -> None:
    order = []
    with open(pipe[0], "rb") as reader:

        def read(number: int) -> None:
            reader.read(1)
            order.append(number)

        threads = [threading.Thread(target=read, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()

        def feed() -> None:
            for _ in threads:
                os.write(pipe[1], b"x")
                time.sleep(0.001)

        with ticker().at(3, feed):
            for thread in threads:
                thread.join()
    assert order == sorted(order)


def test_a_waiter_that_is_interrupted_leaves_the_queue(
    patched: None, pipe: tuple[int, int]
) -> None:
    class Alarm(Exception):
        pass

    def ring(*_: Any) -> None:
        raise Alarm

    writer = open(pipe[1], "wb", buffering=10)
    blocked = threading.Thread(target=lambda: writer.write(BIG))
    blocked.start()
    time.sleep(0)
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        with pytest.raises(Alarm):
            writer.flush()
    finally:
        signal.signal(signal.SIGALRM, before)
    size = 0
    while size < len(BIG):
        size += len(os.read(pipe[0], 1 << 16))
    blocked.join()
    writer.close()


def test_a_handler_that_reenters_is_refused(patched: None, pipe: tuple[int, int]) -> None:
    """As in stock: the interrupted thread would wait for itself."""
    writer = open(pipe[1], "wb", buffering=10)

    def ring(*_: Any) -> None:
        writer.write(b"z" * 100)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        with pytest.raises(RuntimeError, match="reentrant call inside"):
            writer.write(BIG)
    finally:
        signal.signal(signal.SIGALRM, before)
    os.set_blocking(pipe[1], False)
    while select.select([pipe[0]], [], [], 0)[0]:
        os.read(pipe[0], 1 << 16)
    writer.close()


def test_a_reentrant_raw_file_is_refused(patched: None) -> None:
    class Raw(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            return len(reader.read(1))

    reader = io.BufferedReader(Raw())
    with pytest.raises(RuntimeError, match="reentrant call inside"):
        reader.read(1)


def test_iteration_of_subclasses_uses_their_readline(patched: None) -> None:
    class Lines(io.BufferedReader):
        def readline(self, size: int = -1, /) -> bytes:
            return super().readline(size).upper()

    assert all(line == line.upper() for line in Lines(io.FileIO(__file__)))


# -- input ---------------------------------------------------------------------------------------

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
        print(repr(input("name? ")), turns > before + 3)
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
