"""open() and the objects of ``io``, the standard streams, print, input, logging."""

from __future__ import annotations

import fileinput
import getpass
import io
import logging
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

from ..scene import Scene, Skip, drain, fill, row

_LARGE = 1_000_000


def _feed(scene: Scene, *parts: bytes) -> int:
    """The reading end of a pipe that gets the first part now, the others when the wait is over, and
    then ends."""
    reader, writer = os.pipe()
    os.write(writer, parts[0])
    for part in parts[1:]:
        scene.after(os.write, writer, part)
    scene.after(os.close, writer)
    return reader


def _full(scene: Scene, count: int) -> int:
    """The writing end of a full pipe, from which `count` bytes more will be taken."""
    reader, writer = os.pipe()
    scene.after(drain, reader, fill(writer) + count)
    return writer


# -- open and io ---------------------------------------------------------------------------------


@row("open (fifo, to read)")
def _(scene: Scene) -> Any:
    path = scene.fifo()
    scene.after(os.open, path, os.O_WRONLY)
    with scene.wait(open, path, "rb", 0) as file:
        return file.mode


@row("open (fifo, to write)")
def _(scene: Scene) -> Any:
    path = scene.fifo()
    scene.after(os.open, path, os.O_RDONLY)
    with scene.wait(open, path, "w") as file:
        return file.mode


@row("pathlib.Path.read_bytes (fifo)")
def _(scene: Scene) -> Any:
    path = Path(scene.fifo())
    scene.after(path.write_bytes, b"abc")
    return scene.wait(path.read_bytes)


@row("io.FileIO.read")
def _(scene: Scene) -> Any:
    with open(_feed(scene, b"", b"abc"), "rb", 0) as file:
        return scene.wait(file.read, 10)


@row("io.FileIO.readall")
def _(scene: Scene) -> Any:
    with io.FileIO(_feed(scene, b"abc", b"def")) as file:
        return scene.wait(file.readall)


@row("io.FileIO.readinto")
def _(scene: Scene) -> Any:
    buffer = bytearray(10)
    with io.FileIO(_feed(scene, b"", b"abc")) as file:
        return scene.wait(file.readinto, buffer), buffer


@row("io.FileIO.write")
def _(scene: Scene) -> Any:
    with io.FileIO(_full(scene, _LARGE), "w") as file:
        return scene.wait(file.write, bytes(_LARGE))


@row("io.BufferedReader.read")
def _(scene: Scene) -> Any:
    with open(_feed(scene, b"abc", b"def"), "rb") as file:
        return scene.wait(file.read, 6)


@row("io.BufferedReader.read1")
def _(scene: Scene) -> Any:
    with open(_feed(scene, b"", b"abc"), "rb") as file:
        return scene.wait(file.read1)


@row("io.BufferedReader.readinto")
def _(scene: Scene) -> Any:
    buffer = bytearray(6)
    with open(_feed(scene, b"abc", b"def"), "rb") as file:
        return scene.wait(file.readinto, buffer), buffer


@row("io.BufferedReader.readline")
def _(scene: Scene) -> Any:
    with open(_feed(scene, b"abc", b"def\nghi"), "rb") as file:
        return scene.wait(file.readline), file.readline()


@row("io.BufferedReader.peek")
def _(scene: Scene) -> Any:
    with open(_feed(scene, b"", b"abc"), "rb") as file:
        return scene.wait(file.peek), file.read()


@row("io.BufferedReader: iteration")
def _(scene: Scene) -> Any:
    with open(_feed(scene, b"abc\n", b"def\n"), "rb") as file:
        return scene.wait(list, file)


@row("io.BufferedReader of two threads")
def _(scene: Scene) -> Any:
    """Who comes second waits for the first to end its call."""
    reader, writer = os.pipe()
    with open(reader, "rb") as file:
        lines: list[bytes] = []
        begun = threading.Event()

        def read() -> None:
            begun.set()
            lines.append(file.readline())
            os.write(writer, b"def\n")

        threading.Thread(target=read).start()
        begun.wait()
        scene.after(os.write, writer, b"abc\n")
        lines.append(scene.wait(file.readline))
        return sorted(lines)


@row("io.BufferedWriter.write")
def _(scene: Scene) -> Any:
    with open(_full(scene, _LARGE), "wb") as file:
        return scene.wait(file.write, bytes(_LARGE))


@row("io.BufferedWriter.flush")
def _(scene: Scene) -> Any:
    with open(_full(scene, 100), "wb") as file:
        file.write(bytes(100))
        return scene.wait(file.flush)


@row("io.BufferedWriter.close")
def _(scene: Scene) -> Any:
    file = open(_full(scene, 100), "wb")  # noqa: SIM115
    file.write(bytes(100))
    return scene.wait(file.close), file.closed


@row("io.BufferedRWPair.read")
def _(scene: Scene) -> Any:
    reader = io.FileIO(_feed(scene, b"abc", b"def"))
    pair = io.BufferedRWPair(reader, io.FileIO(os.pipe()[1], "w"))
    return scene.wait(pair.read, 6)


@row("io.TextIOWrapper.read")
def _(scene: Scene) -> Any:
    with open(_feed(scene, b"abc", b"d\xc3\xa9f"), encoding="utf-8") as file:
        return scene.wait(file.read)


@row("io.TextIOWrapper.readline")
def _(scene: Scene) -> Any:
    with open(_feed(scene, b"abc", b"def\r\nghi")) as file:
        return scene.wait(file.readline), file.newlines


@row("io.TextIOWrapper: iteration")
def _(scene: Scene) -> Any:
    with open(_feed(scene, b"abc\n", b"def\n")) as file:
        return scene.wait(list, file)


@row("io.TextIOWrapper.write")
def _(scene: Scene) -> Any:
    with open(_full(scene, _LARGE), "w") as file:
        return scene.wait(file.write, "x" * _LARGE)


@row("shutil.copyfileobj (pipe)")
def _(scene: Scene) -> Any:
    target = io.BytesIO()
    with open(_feed(scene, b"abc", b"def"), "rb") as file:
        return scene.wait(shutil.copyfileobj, file, target), target.getvalue()


# -- the standard streams --------------------------------------------------------------------------


def _as_stdin(descriptor: int) -> None:
    os.dup2(descriptor, 0)


def _full_stdout(scene: Scene, count: int, number: int = 1) -> None:
    os.dup2(_full(scene, count), number)


@row("sys.stdin.readline")
def _(scene: Scene) -> Any:
    _as_stdin(_feed(scene, b"abc", b"def\nghi\n"))
    return scene.wait(sys.stdin.readline), sys.stdin.readline()


@row("sys.stdin.read")
def _(scene: Scene) -> Any:
    _as_stdin(_feed(scene, b"abc", b"def\n"))
    return scene.wait(sys.stdin.read)


@row("sys.stdin: iteration")
def _(scene: Scene) -> Any:
    _as_stdin(_feed(scene, b"abc\n", b"def\n"))
    return scene.wait(list, sys.stdin)


@row("sys.stdin.buffer.read")
def _(scene: Scene) -> Any:
    _as_stdin(_feed(scene, b"abc", b"def"))
    return scene.wait(sys.stdin.buffer.read, 6)


@row("input (pipe)")
def _(scene: Scene) -> Any:
    _as_stdin(_feed(scene, b"abc", b"def\nghi\n"))
    return scene.wait(input), input()


@row("input (terminal)")
def _(scene: Scene) -> Any:
    master, slave = os.openpty()
    os.dup2(slave, 0)
    os.dup2(slave, 1)
    scene.after(os.write, master, b"abc\n")
    answer = scene.wait(input, "Name? ")
    return answer, os.read(master, 100).replace(b"abc\r\n", b"")


@row("fileinput.input")
def _(scene: Scene) -> Any:
    _as_stdin(_feed(scene, b"abc\n", b"def\n"))
    return scene.wait(lambda: list(fileinput.input("-")))


@row("print (full pipe)")
def _(scene: Scene) -> Any:
    _full_stdout(scene, _LARGE + 1)
    return scene.wait(print, "x" * _LARGE, flush=True)


@row("print (to standard error)")
def _(scene: Scene) -> Any:
    _full_stdout(scene, _LARGE + 1, 2)
    return scene.wait(print, "x" * _LARGE, file=sys.stderr)


@row("sys.stdout.write")
def _(scene: Scene) -> Any:
    _full_stdout(scene, _LARGE)
    return scene.wait(sys.stdout.write, "x" * _LARGE)


@row("sys.stdout.flush")
def _(scene: Scene) -> Any:
    _full_stdout(scene, 100)
    sys.stdout.write("x" * 100)
    return scene.wait(sys.stdout.flush)


@row("logging.StreamHandler (full pipe)")
def _(scene: Scene) -> Any:
    _full_stdout(scene, 1000, 2)
    logging.basicConfig(format="%(message)s")
    return scene.wait(logging.warning, "x" * 999)


@row("logging.FileHandler (fifo)")
def _(scene: Scene) -> Any:
    path = scene.fifo()
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    handler = logging.FileHandler(path)
    assert handler.stream
    filled = fill(handler.stream.fileno())
    os.set_blocking(reader, True)
    scene.after(drain, reader, filled + 1000)
    return scene.wait(handler.handle, logging.makeLogRecord({"msg": "x" * 999}))


@row("logging: a handler that another thread holds")
def _(scene: Scene) -> Any:
    handler = logging.StreamHandler(io.StringIO())
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        handler.acquire()
        held.set()
        release.wait()
        handler.release()

    threading.Thread(target=hold).start()
    held.wait()
    scene.after(release.set)
    record = logging.makeLogRecord({"msg": "abc"})
    return bool(scene.wait(handler.handle, record)), handler.stream.getvalue()


@row("input (terminal, with readline)")
def _(scene: Scene) -> Any:
    try:
        import readline  # noqa: F401
    except ImportError:
        raise Skip("no readline here") from None
    master, slave = os.openpty()
    os.dup2(slave, 0)
    os.dup2(slave, 1)
    scene.after(os.write, master, b"abc\n")
    return scene.wait(input, "Name? ")


@row("getpass.getpass (terminal)")
def _(scene: Scene) -> Any:
    master, slave = os.openpty()
    os.dup2(slave, 0)
    scene.after(os.write, master, b"abc\n")
    stream = io.StringIO()
    return scene.wait(getpass.getpass, "Word: ", stream), stream.getvalue()
