# ruff: noqa: SIM115 - what is opened here is waited for, shared, and closed when that is done
"""``io``: files, pipes, fifos and terminals as streams."""

from __future__ import annotations

import io
import logging
import os
import pty
import socket
import subprocess
import sys
import threading
import tty
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.backends.disk import available_disk_backends
from tests.wrappers.files.ends import BIG

AVAILABLE = [n for n, reason in available_disk_backends().items() if reason is None]


@pytest.fixture(params=["auto", *AVAILABLE])
def scheme(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test over every disk scheme that runs here; it comes before the patch."""
    monkeypatch.setenv("CAPRICCIO_DISKIO", request.param)


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
    assert held or capriccio_patch.status()["core"] == "compiled"  # C has no frames


# -- waiting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffering", [0, -1])
def test_reading_a_pipe_parks(ticker: Any, pipe_ends: tuple[int, int], buffering: int) -> None:
    reader = open(pipe_ends[0], "rb", buffering=buffering)
    with ticker().at(3, lambda: os.write(pipe_ends[1], b"hello")):
        assert reader.read(5) == b"hello"
    reader.close()


def test_a_file_made_before_the_patch_parks(pipe_ends: tuple[int, int], request: Any) -> None:
    reader = open(pipe_ends[0])
    ticker = request.getfixturevalue("ticker")
    with ticker().at(3, lambda: os.write(pipe_ends[1], b"line\n")):
        assert reader.readline() == "line\n"
    reader.close()


def test_reading_to_the_end_of_a_pipe(ticker: Any, pipe_ends: tuple[int, int]) -> None:
    reader = open(pipe_ends[0], "rb", buffering=0)
    os.write(pipe_ends[1], b"one")
    ticks = (
        ticker().at(2, lambda: os.write(pipe_ends[1], b"two")).at(4, lambda: os.close(pipe_ends[1]))
    )
    with ticks:
        assert reader.read() == b"onetwo"
    reader.close()


def test_readinto_and_lines_of_a_pipe(ticker: Any, pipe_ends: tuple[int, int]) -> None:
    reader = open(pipe_ends[0], "rb")
    buffer = bytearray(4)
    with ticker().at(2, lambda: os.write(pipe_ends[1], b"abcd")):
        assert reader.readinto(buffer) == 4
    assert buffer == b"abcd"
    with ticker().at(2, lambda: os.write(pipe_ends[1], b"1\n2\n")):
        assert next(reader) == b"1\n"
    assert reader.readline() == b"2\n"
    with ticker().at(2, lambda: os.close(pipe_ends[1])):
        assert list(reader) == []
    reader.close()


@pytest.mark.parametrize("buffering", [0, -1])
def test_writing_to_a_full_pipe_parks(
    ticker: Any, pipe_ends: tuple[int, int], buffering: int
) -> None:
    got = bytearray()

    def drain() -> None:
        while data := os.read(pipe_ends[0], 1 << 16):
            got.extend(data)

    drainer = threading.Thread(target=drain)
    writer = open(pipe_ends[1], "wb", buffering=buffering)
    with ticker().at(3, drainer.start):
        assert writer.write(BIG) == len(BIG)
        writer.close()
    drainer.join()
    assert got == BIG


def test_print_and_logging_to_a_full_pipe_park(ticker: Any, pipe_ends: tuple[int, int]) -> None:
    lines = []

    def drain() -> None:
        with open(pipe_ends[0], closefd=False) as reader:
            lines.extend(reader)

    drainer = threading.Thread(target=drain)
    with open(pipe_ends[1], "w") as writer:
        handler = logging.StreamHandler(writer)
        log = logging.Logger("test")
        log.addHandler(handler)
        with ticker().at(3, drainer.start):
            print("x" * 100_000, file=writer)
            log.warning("y" * 100_000)
            print("end", file=writer, flush=True)
    drainer.join()
    assert [len(line) for line in lines] == [100_001, 100_001, 4]


def test_a_broken_pipe(patched: None, pipe_ends: tuple[int, int]) -> None:
    os.close(pipe_ends[0])
    writer = open(pipe_ends[1], "wb", buffering=0, closefd=False)
    with pytest.raises(BrokenPipeError):
        writer.write(b"x")


def test_non_blocking_pipes_give_none(patched: None, pipe_ends: tuple[int, int]) -> None:
    os.set_blocking(pipe_ends[0], False)
    os.set_blocking(pipe_ends[1], False)
    reader = open(pipe_ends[0], "rb", buffering=0, closefd=False)
    writer = open(pipe_ends[1], "wb", buffering=0, closefd=False)
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


def test_closing_wakes_who_waits(patched: None, pipe_ends: tuple[int, int]) -> None:
    reader = open(pipe_ends[0], "rb", buffering=0)
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


@pytest.mark.skipif(sys.version_info < (3, 13), reason="it does not warn of a bool")
def test_a_refused_descriptor_stays_open(patched: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(RuntimeWarning, match="bool"):
            io.FileIO(True)
    os.fstat(1)


def with_writer(name: str, *args: Any) -> None:
    with open(os.devnull, "wb", buffering=0) as file:
        getattr(file, name)(*args)


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
        lambda f: with_writer("readall"),
        lambda f: with_writer("read"),
        lambda f: with_writer("readinto", bytearray(1)),
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


@pytest.mark.parametrize("size", [100, len(BIG), (3 << 20) + 7])
def test_what_is_cached_is_read_without_a_request(
    ticker: Any, requests: list[Any], tmp_path: Path, size: int
) -> None:
    """At any size, by any number of threads."""
    if "nowait" not in AVAILABLE:
        pytest.skip("what is cached can't be asked for here")
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    path = tmp_path / "file"
    path.write_bytes(data)
    found: list[bytes] = []

    def read() -> None:
        with open(path, "rb") as file:
            found.append(file.read())
        with open(path, "rb", buffering=0) as raw:
            found.append(raw.read(size + 1))
        fd = os.open(path, os.O_RDONLY)
        found.append(os.read(fd, size))
        found.append(os.pread(fd, size, 0))
        os.close(fd)

    threads = [threading.Thread(target=read) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 64
    assert all(each == data for each in found)
    assert not requests


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the page cache can't be told")
@pytest.mark.parametrize(
    "code",
    [
        "sys.stdin.read()",
        "sys.stdin.buffer.read()",
        "sys.stdin.buffer.read(100_000)",
        "sys.stdin.buffer.raw.readall()",
        "sys.stdin.buffer.raw.read(100_000)",
        "os.read(0, 100_000)",
    ],
)
def test_standard_input_that_is_half_cached(
    code: str, tmp_path: Path, environ: dict[str, str]
) -> None:
    """What is there at once is no sign that the file ends."""
    path = tmp_path / "input"
    path.write_bytes(b"x" * 100_000)
    with path.open("rb", buffering=0) as file:
        os.fsync(file)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        os.pread(file.fileno(), 40_000, 0)
        program = ["-m", "capriccio_patch", "-c", f"import os, sys; print(len({code}))"]
        command = [sys.executable, *program]
        said = subprocess.check_output(command, stdin=file, env=environ, cwd=tmp_path)
    assert said == b"100000\n"
